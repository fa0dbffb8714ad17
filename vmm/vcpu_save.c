/* A vCPU's state, read. */
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/vcpu_state.h"

static int failed(const struct vcpu *vcpu, const char *call, struct error *err)
{
	return error_set_errno(err, errno, "vCPU %u: %s", vcpu->index, call);
}

/* Both structures are the same up to what comes after apic_base. */
_Static_assert(offsetof(struct kvm_sregs, interrupt_bitmap) == offsetof(struct kvm_sregs2, flags),
	       "the two layouts of the special registers have parted");

/* The newer call has the page-directory pointers, which a guest in PAE mode keeps in the processor. */
static int save_sregs(const struct vcpu *vcpu, struct vcpu_state *state, struct error *err)
{
	struct kvm_sregs old;

	if (kvm_check_extension(vcpu->host->kvm, KVM_CAP_SREGS2))
		return ioctl(vcpu->fd, KVM_GET_SREGS2, &state->sregs) < 0
			       ? failed(vcpu, "KVM_GET_SREGS2", err)
			       : 0;
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &old) < 0)
		return failed(vcpu, "KVM_GET_SREGS", err);
	memcpy(&state->sregs, &old, offsetof(struct kvm_sregs, interrupt_bitmap));
	return 0;
}

static int save_xsave(const struct vcpu *vcpu, struct vcpu_state *state, struct error *err)
{
	int size = kvm_check_extension(vcpu->host->kvm, KVM_CAP_XSAVE2);

	if (size > (int)sizeof(state->xsave))
		return error_set(err, ENOTSUP,
				 "vCPU %u: %d bytes of extended state are more than the %u that "
				 "a snapshot holds",
				 vcpu->index, size, VCPU_XSAVE_MAX);
	state->xsave_size = size > 0 ? (uint32_t)size : (uint32_t)sizeof(struct kvm_xsave);
	if (ioctl(vcpu->fd, size > 0 ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, state->xsave) < 0)
		return failed(vcpu, "KVM_GET_XSAVE", err);
	return 0;
}

static int save_xcrs(const struct vcpu *vcpu, struct vcpu_state *state, struct error *err)
{
	struct kvm_xcrs xcrs = { 0 };

	if (ioctl(vcpu->fd, KVM_GET_XCRS, &xcrs) < 0)
		return failed(vcpu, "KVM_GET_XCRS", err);
	state->xcr_count = MIN(xcrs.nr_xcrs, (uint32_t)KVM_MAX_XCRS);
	memcpy(state->xcrs, xcrs.xcrs, sizeof(state->xcrs));
	return 0;
}

static int save_tsc(const struct vcpu *vcpu, struct vcpu_state *state, struct error *err)
{
	struct kvm_device_attr offset = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&state->tsc_offset,
	};
	int khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ);

	state->tsc_khz = khz > 0 ? (uint32_t)khz : 0;
	state->has_tsc_offset = ioctl(vcpu->fd, KVM_GET_DEVICE_ATTR, &offset) == 0;
	if (vcpu_get_msr(vcpu, MSR_TSC, &state->tsc) < 0)
		return failed(vcpu, "its time-stamp counter", err);
	/* A guest without it has nothing there. */
	if (vcpu_get_msr(vcpu, MSR_TSC_DEADLINE, &state->tsc_deadline) < 0)
		state->tsc_deadline = 0;
	return 0;
}

/*
 * The order. KVM_GET_MP_STATE first: it makes KVM take a pending INIT or start-up call, which changes
 * registers and events. The deadline of the timer before the local APIC: were it the other way round, a
 * timer that expires in between would be in neither. Events last: they are what is left after all else.
 */
int vcpu_save(struct vcpu *vcpu, void *arg, struct error *err)
{
	struct vcpu_state *state = arg;
	struct kvm_mp_state mp;
	int ret;

	if (ioctl(vcpu->fd, KVM_GET_MP_STATE, &mp) < 0)
		return failed(vcpu, "KVM_GET_MP_STATE", err);
	state->mp_state = mp.mp_state;
	if (ioctl(vcpu->fd, KVM_GET_REGS, &state->regs) < 0)
		return failed(vcpu, "KVM_GET_REGS", err);
	if ((ret = save_sregs(vcpu, state, err)) < 0 || (ret = save_xcrs(vcpu, state, err)) < 0 ||
	    (ret = save_xsave(vcpu, state, err)) < 0)
		return ret;
	if (ioctl(vcpu->fd, KVM_GET_DEBUGREGS, &state->debugregs) < 0)
		return failed(vcpu, "KVM_GET_DEBUGREGS", err);
	ret = vcpu_read_msrs(vcpu, state->msrs, &state->msr_count, err);
	if (ret == 0)
		ret = save_tsc(vcpu, state, err);
	if (ret < 0)
		return ret;
	if (ioctl(vcpu->fd, KVM_GET_LAPIC, &state->lapic) < 0)
		return failed(vcpu, "KVM_GET_LAPIC", err);
	if (ioctl(vcpu->fd, KVM_GET_VCPU_EVENTS, state->events) < 0)
		return failed(vcpu, "KVM_GET_VCPU_EVENTS", err);
	return 0;
}
