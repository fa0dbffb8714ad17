/*
 * What a snapshot holds of the guest's time: kvmclock, and what ties it to the host's counters. See
 * Documentation/virt/kvm/devices/vcpu.rst, KVM_VCPU_TSC_OFFSET, for the algorithm.
 *
 * Control thread, while the vCPUs are paused.
 */
#pragma once

#include "snapshot/state_desc.h"
#include "vmm/kvm.h"

struct clock_state {
	bool has_host_tsc, has_realtime;
	uint64_t ns;	   /* kvmclock */
	uint64_t host_tsc; /* when kvmclock was read, if the host's clock is its TSC */
	uint64_t realtime; /* the same, CLOCK_REALTIME nanoseconds */
};

extern const struct state_desc clock_state_desc;

must_check int clock_save(const struct kvm *kvm, struct clock_state *state, struct error *err);

/* kvmclock goes on where it stood; with `realtime`, by as much later as the wall clock is since. */
must_check int clock_load(const struct kvm *kvm, const struct clock_state *state, bool realtime,
			  struct error *err);

/*
 * After clock_load(): the offset of a vCPU's TSC here that goes with what kvmclock says here, from the one
 * that it had; false when the two hosts' clocks do not tell.
 */
bool clock_tsc_offset(const struct kvm *kvm, const struct clock_state *state, uint64_t offset,
		      uint32_t tsc_khz, uint64_t *out);
