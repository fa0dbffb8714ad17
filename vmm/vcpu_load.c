/* A vCPU's state, set. */
#include <asm/kvm_para.h>
#include <string.h>
#include <sys/ioctl.h>

#include "vmm/vcpu_state.h"

static int failed(const struct vcpu *vcpu, const char *call, struct error *err)
{
	return error_set_errno(err, errno, "vCPU %u: %s", vcpu->index, call);
}

/* Has the vCPU these bytes of its state already? What lies between two fields may differ: then they are set once more. */
static bool has(const struct vcpu_load *load, size_t offset, size_t size)
{
	return load->has && memcmp((const uint8_t *)load->has + offset,
				   (const uint8_t *)load->state + offset, size) == 0;
}

#define HAS(load, part) has(load, offsetof(struct vcpu_state, part), sizeof((load)->state->part))

static int load_cpuid(const struct vcpu *vcpu, const struct cpuid *table, struct error *err)
{
	struct cpuid *mine cleanup_free = NULL;

	if (!table)
		return 0;
	mine = malloc(sizeof(*mine));
	if (!mine)
		return error_set(err, ENOMEM, "vCPU %u: out of memory", vcpu->index);
	*mine = *table;
	cpuid_set_vcpu(mine, vcpu->index);
	return ioctl(vcpu->fd, KVM_SET_CPUID2, mine) < 0 ? failed(vcpu, "KVM_SET_CPUID2", err) : 0;
}

#define TSC_TOLERANCE_PPM 250u /* what the guest's own clock correction absorbs */

bool vcpu_tsc_is_close(uint32_t saved_khz, uint32_t host_khz)
{
	int64_t difference = (int64_t)saved_khz - host_khz;

	return (difference < 0 ? -difference : difference) * 1000000 <=
	       (int64_t)saved_khz * TSC_TOLERANCE_PPM;
}

/* A guest that measured its counter once relies on the frequency for good. */
static int load_tsc_frequency(const struct vcpu *vcpu, const struct vcpu_load *load,
			      struct error *err)
{
	const int now = vcpu->tsc_khz;
	const uint32_t saved = load->state->tsc_khz;
	const uint32_t khz = saved == 0 && now > 0 ? (uint32_t)now : saved;

	if (now <= 0 || (khz == (uint32_t)now && !load->again))
		return 0;
	if (ioctl(vcpu->fd, KVM_SET_TSC_KHZ, khz) == 0)
		return 0;
	if (vcpu_tsc_is_close(khz, (uint32_t)now))
		return 0;
	return error_set(err, ENOTSUP,
			 "vCPU %u: its time-stamp counter runs at %u kHz, this host's at %d, and "
			 "the host cannot scale it",
			 vcpu->index, khz, now);
}

static int load_sregs(const struct vcpu *vcpu, const struct vcpu_state *state, struct error *err)
{
	struct kvm_sregs old = { 0 };

	if (kvm_check_extension(vcpu->host->kvm, KVM_CAP_SREGS2))
		return ioctl(vcpu->fd, KVM_SET_SREGS2, &state->sregs) < 0
			       ? failed(vcpu, "KVM_SET_SREGS2", err)
			       : 0;
	memcpy(&old, &state->sregs, offsetof(struct kvm_sregs, interrupt_bitmap));
	return ioctl(vcpu->fd, KVM_SET_SREGS, &old) < 0 ? failed(vcpu, "KVM_SET_SREGS", err) : 0;
}

static int load_xcrs(const struct vcpu *vcpu, const struct vcpu_load *load, struct error *err)
{
	const struct vcpu_state *state = load->state;
	struct kvm_xcrs xcrs = { .nr_xcrs = state->xcr_count };

	memcpy(xcrs.xcrs, state->xcrs, sizeof(state->xcrs));
	if (xcrs.nr_xcrs == 0 || (HAS(load, xcr_count) && HAS(load, xcrs)))
		return 0;
	return ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0 ? failed(vcpu, "KVM_SET_XCRS", err) : 0;
}

static int load_extended(const struct vcpu *vcpu, const struct vcpu_load *load, struct error *err)
{
	const struct vcpu_state *state = load->state;
	int ret = load_xcrs(vcpu, load, err);
	int size;

	if (ret < 0 || (HAS(load, xsave_size) && HAS(load, xsave)))
		return ret;
	size = kvm_check_extension(vcpu->host->kvm, KVM_CAP_XSAVE2);
	/* KVM reads as much as it writes, whatever we have. */
	if (size > (int)sizeof(state->xsave) || state->xsave_size < sizeof(struct kvm_xsave))
		return error_set(err, EINVAL, "vCPU %u: extended state of an impossible size",
				 vcpu->index);
	return ioctl(vcpu->fd, KVM_SET_XSAVE, state->xsave) < 0 ? failed(vcpu, "KVM_SET_XSAVE", err)
								: 0;
}

/* By its offset to the host's counter where the machine could work it out; else the value, the same for
 * all vCPUs: KVM takes writes that are close together for an attempt to synchronise them. */
static int load_tsc(const struct vcpu *vcpu, const struct vcpu_load *load, struct error *err)
{
	struct kvm_device_attr offset = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uintptr_t)&load->tsc_offset,
	};

	if (load->has_tsc_offset)
		return ioctl(vcpu->fd, KVM_SET_DEVICE_ATTR, &offset) < 0
			       ? failed(vcpu, "KVM_VCPU_TSC_OFFSET", err)
			       : 0;
	return vcpu_set_msr(vcpu, MSR_TSC, load->tsc) < 0
		       ? error_set(err, EINVAL, "vCPU %u: its time-stamp counter", vcpu->index)
		       : 0;
}

/* The local APIC, then what refers to it. */
static int load_apic(const struct vcpu *vcpu, const struct vcpu_load *load, struct error *err)
{
	const struct vcpu_state *state = load->state;
	int ret = 0;

	if (ioctl(vcpu->fd, KVM_SET_LAPIC, &state->lapic) < 0)
		return failed(vcpu, "KVM_SET_LAPIC", err);
	if (!HAS(load, msr_count) || !HAS(load, msrs))
		ret = vcpu_write_msrs(vcpu, state->msrs, state->msr_count, err);
	if (ret == 0)
		ret = load_tsc(vcpu, load, err);
	if (ret < 0)
		return ret;
	if ((state->tsc_deadline || load->again) &&
	    vcpu_set_msr(vcpu, MSR_TSC_DEADLINE, state->tsc_deadline) < 0 && state->tsc_deadline)
		return error_set(err, EINVAL, "vCPU %u: the deadline of its timer", vcpu->index);
	return 0;
}

/* A guest without it has nothing to be told. */
static bool has_kvmclock(const struct vcpu_state *state)
{
	for (uint32_t i = 0; i < state->msr_count; i++)
		if ((state->msrs[i].index == MSR_KVM_SYSTEM_TIME_NEW ||
		     state->msrs[i].index == MSR_KVM_SYSTEM_TIME) &&
		    state->msrs[i].value & KVM_MSR_ENABLED)
			return true;
	return false;
}

static int load_rest(const struct vcpu *vcpu, const struct vcpu_load *load, struct error *err)
{
	const struct vcpu_state *state = load->state;
	struct kvm_mp_state mp = { .mp_state = state->mp_state };

	if (!HAS(load, events) && ioctl(vcpu->fd, KVM_SET_VCPU_EVENTS, state->events) < 0)
		return failed(vcpu, "KVM_SET_VCPU_EVENTS", err);
	if (!HAS(load, mp_state) && ioctl(vcpu->fd, KVM_SET_MP_STATE, &mp) < 0)
		return failed(vcpu, "KVM_SET_MP_STATE", err);
	/* The guest was away: no lockup of its own. */
	if (has_kvmclock(state))
		(void)ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0);
	return 0;
}

/*
 * The order.
 *   CPUID            what KVM lets all the others be: bits of CR4 and XCR0, which MSRs there are
 *   TSC frequency    before any value of the TSC
 *   SREGS            EFER and CR4; the APIC base: whether the APIC's page is in x2APIC's layout
 *   REGS             clears pending exceptions, so before the events
 *   XCRS, XSAVE
 *   LAPIC            starts its timer, so after the APIC base; its mode (the timer's LVT entry) decides
 *                    whether there is a deadline
 *   MSRs             kvmclock's name guest memory, which is there by now
 *   TSC              before the deadline, which is in its units
 *   TSC deadline     KVM drops it unless the APIC's timer is in that mode; may expire at once
 *   events           after REGS and SREGS, which touch what is pending
 *   MP state         last: SREGS may make a halted first vCPU runnable
 *
 * What a vCPU was made with and is to have is left out: by nothing above is it lost. SREGS and REGS themselves, the APIC
 * and the TSC are always set.
 */
int vcpu_load(struct vcpu *vcpu, void *arg, struct error *err)
{
	const struct vcpu_load *load = arg;
	const struct vcpu_state *state = load->state;
	int ret;

	if ((ret = load_cpuid(vcpu, load->cpuid, err)) < 0 ||
	    (ret = load_tsc_frequency(vcpu, load, err)) < 0 ||
	    (ret = load_sregs(vcpu, state, err)) < 0)
		return ret;
	if (ioctl(vcpu->fd, KVM_SET_REGS, &state->regs) < 0)
		return failed(vcpu, "KVM_SET_REGS", err);
	ret = load_extended(vcpu, load, err);
	if (ret < 0)
		return ret;
	if (!HAS(load, debugregs) && ioctl(vcpu->fd, KVM_SET_DEBUGREGS, &state->debugregs) < 0)
		return failed(vcpu, "KVM_SET_DEBUGREGS", err);
	ret = load_apic(vcpu, load, err);
	return ret < 0 ? ret : load_rest(vcpu, load, err);
}
