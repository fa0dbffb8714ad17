#include "vmm/clock_state.h"

#include <sys/ioctl.h>

static const struct state_field fields[] = {
	STATE_FIELD(struct clock_state, has_host_tsc, STATE_BOOL, 1),
	STATE_FIELD(struct clock_state, has_realtime, STATE_BOOL, 1),
	STATE_FIELD(struct clock_state, ns, STATE_U64, 1),
	STATE_FIELD(struct clock_state, host_tsc, STATE_U64, 1),
	STATE_FIELD(struct clock_state, realtime, STATE_U64, 1),
};

const struct state_desc clock_state_desc = STATE_DESC("clock", struct clock_state, 1, fields);

int clock_save(const struct kvm *kvm, struct clock_state *state, struct error *err)
{
	struct kvm_clock_data data = { 0 };

	if (ioctl(kvm->vm, KVM_GET_CLOCK, &data) < 0)
		return error_set_errno(err, errno, "KVM_GET_CLOCK");
	*state = (struct clock_state){
		.has_host_tsc = data.flags & KVM_CLOCK_HOST_TSC,
		.has_realtime = data.flags & KVM_CLOCK_REALTIME,
		.ns = data.clock,
		.host_tsc = data.host_tsc,
		.realtime = data.realtime,
	};
	return 0;
}

int clock_load(const struct kvm *kvm, const struct clock_state *state, bool realtime,
	       struct error *err)
{
	struct kvm_clock_data data = {
		.clock = state->ns,
		.flags = realtime ? KVM_CLOCK_REALTIME : 0,
		.realtime = realtime ? state->realtime : 0,
	};

	if (realtime && !state->has_realtime)
		return error_set(err, ENOTSUP,
				 "clock_realtime: the snapshot's host did not tell the time of day "
				 "that goes with the guest's clock");
	if (ioctl(kvm->vm, KVM_SET_CLOCK, &data) < 0)
		return error_set_errno(err, errno, "KVM_SET_CLOCK");
	return 0;
}

/*
 * The guest's TSC at the guest's time t must be on one line before and after:
 *   ofs_dst = ofs_src - (guest_src - guest_dst) * frequency + (tsc_src - tsc_dst)
 * All in 64 bits that wrap, but for the product.
 */
bool clock_tsc_offset(const struct kvm *kvm, const struct clock_state *state, uint64_t offset,
		      uint32_t tsc_khz, uint64_t *out)
{
	struct clock_state here = { 0 };
	__int128 ticks;

	if (!state->has_host_tsc || !tsc_khz || clock_save(kvm, &here, NULL) < 0 ||
	    !here.has_host_tsc)
		return false;
	ticks = (__int128)((int64_t)(here.ns - state->ns)) * tsc_khz / 1000000;
	*out = offset + (uint64_t)ticks + (state->host_tsc - here.host_tsc);
	return true;
}
