/*
 * What a snapshot holds of a vCPU. Saving and loading run as tasks on the thread of the parked vCPU
 * (vmm/vcpu.h); the order of the calls, and why it must be so, is in vmm/vcpu_save.c and vmm/vcpu_load.c.
 */
#pragma once

#include <linux/kvm.h>

#include "snapshot/state_desc.h"
#include "vmm/vcpu.h"

#define VCPU_MSRS_MAX 512u
#define VCPU_XSAVE_MAX 16384u

struct vcpu_msr {
	uint32_t index;
	uint64_t value;
};

struct vcpu_state {
	uint32_t mp_state; /* KVM_MP_STATE_* */
	uint32_t tsc_khz;
	uint64_t tsc; /* when it was read */
	bool has_tsc_offset;
	uint64_t tsc_offset; /* to the host's */
	uint64_t tsc_deadline;
	struct kvm_regs regs;
	struct kvm_sregs2 sregs; /* flags and pdptrs are zero where KVM does not tell them */
	struct kvm_debugregs debugregs;
	uint32_t xcr_count;
	struct kvm_xcr xcrs[KVM_MAX_XCRS];
	uint32_t xsave_size;
	uint8_t xsave[VCPU_XSAVE_MAX];
	struct kvm_lapic_state lapic;
	uint32_t msr_count;
	struct vcpu_msr msrs[VCPU_MSRS_MAX]; /* without the TSC and its deadline */
	uint8_t events[sizeof(struct kvm_vcpu_events)];
};

extern const struct state_desc vcpu_state_desc;

/* A vcpu_task: arg is a struct vcpu_state to fill in. */
int vcpu_save(struct vcpu *vcpu, void *state, struct error *err);

/* What loading needs beside the state. */
struct vcpu_load {
	const struct vcpu_state *state;
	const struct vcpu_state *has; /* what it was made with, and has; NULL: who knows */
	const struct cpuid *cpuid;    /* of all vCPUs; NULL: the one that it has is right */
	uint64_t tsc;		      /* one value for all vCPUs, where there is no offset */
	bool has_tsc_offset;
	uint64_t tsc_offset;
	bool again; /* after a load that failed: what that one set, if this one has nothing to set there, goes */
};

/* A vcpu_task: arg is a struct vcpu_load. The state is untrusted; KVM refuses what cannot be. */
int vcpu_load(struct vcpu *vcpu, void *load, struct error *err);

/* May a guest that had a counter of the one frequency go on with the other, where the host cannot scale? */
bool vcpu_tsc_is_close(uint32_t saved_khz, uint32_t host_khz);

/*
 * The model-specific registers that KVM can save and that a guest of ours has (vmm/vcpu_msrs.c). Reads all
 * that can be read into msrs[]; -errno with *err.
 */
must_check int vcpu_read_msrs(const struct vcpu *vcpu, struct vcpu_msr *msrs, uint32_t *count,
			      struct error *err);

/* Sets those that differ from what the vCPU has: most are as they were made. -EINVAL names the one that
 * cannot be set here. */
must_check int vcpu_write_msrs(const struct vcpu *vcpu, const struct vcpu_msr *msrs, uint32_t count,
			       struct error *err);

/* One by its number, which every KVM has. */
must_check int vcpu_get_msr(const struct vcpu *vcpu, uint32_t index, uint64_t *value);
must_check int vcpu_set_msr(const struct vcpu *vcpu, uint32_t index, uint64_t value);

#define MSR_TSC 0x10u
#define MSR_TSC_DEADLINE 0x6e0u
