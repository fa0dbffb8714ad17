/*
 * The guest's CPUID: what KVM supports here, minus what a guest of ours must not have, plus its
 * own topology: N vCPUs in one package, one or two to a core, the APIC id being the vCPU's number.
 */
#pragma once

#include <linux/kvm.h>
#include <pthread.h>

#include "base/error.h"

#define CPUID_ENTRIES_MAX 128

struct cpuid {
	uint32_t nent;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX]; /* laid out as struct kvm_cpuid2 */
};

/* Removes performance counters, nested virtualization, power and debug facilities, and every feature
 * with state that is not saved; sets the topology. With smt two threads make a core, but for a single vCPU. */
void cpuid_filter(struct cpuid *cpuid, unsigned int vcpu_count, bool smt, bool tsc_deadline);

/* Sets the fields that differ from vCPU to vCPU. */
void cpuid_set_vcpu(struct cpuid *cpuid, unsigned int index);

struct cpu_template;

/* One reading of the host for all vCPUs of a machine: the first that asks does it. */
struct cpuid_source {
	int kvm; /* /dev/kvm */
	unsigned int vcpu_count;
	bool smt, tsc_deadline;
	const struct cpu_template *cpu; /* NULL: as the host's */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool was_tried; /* to read it */
	bool is_read;
	struct cpuid table;
};

void cpuid_source_init(struct cpuid_source *source, int kvm, unsigned int vcpu_count, bool smt,
		       bool tsc_deadline, const struct cpu_template *cpu);

/* The CPUID of one vCPU. Any thread. */
must_check int cpuid_source_get(struct cpuid_source *source, unsigned int index, struct cpuid *out,
				struct error *err);

/*
 * The same for a thread that may not ask KVM (it is armed) or need not: waits until one that gets it, which has to be on
 * its way, has tried. -ENOTSUP when that failed; why, it was told.
 */
must_check int cpuid_source_wait(struct cpuid_source *source, unsigned int index, struct cpuid *out,
				 struct error *err);
