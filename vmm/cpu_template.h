/*
 * A custom CPU: which bits of CPUID and of MSRs a guest sees otherwise than the host would have it.
 * Plain data and pure functions.
 */
#pragma once

#include "base/error.h"

struct cpuid;

/* For each bit: as it is, or a value of ours. */
struct bit_modifier {
	uint64_t filter; /* bits that are set anew */
	uint64_t value;	 /* what to; within filter */
};

enum cpuid_register {
	CPUID_EAX,
	CPUID_EBX,
	CPUID_ECX,
	CPUID_EDX,
	CPUID_REGISTERS,
};

struct cpuid_modifier {
	uint32_t leaf, subleaf;
	struct bit_modifier registers[CPUID_REGISTERS];
};

struct msr_modifier {
	uint32_t index;
	struct bit_modifier bits;
};

struct cpu_template {
	struct cpuid_modifier *cpuid; /* the owner's, as all arrays here */
	unsigned int cpuid_count;
	struct msr_modifier *msrs;
	unsigned int msr_count;
	uint32_t *capabilities; /* KVM_CAP_*, which this host must have */
	unsigned int capability_count;
};

static inline uint64_t bit_modifier_apply(const struct bit_modifier *modifier, uint64_t value)
{
	return (value & ~modifier->filter) | modifier->value;
}

/* -ENOENT, with the leaf's number, when the host's CPUID lacks one that is to be modified. */
must_check int cpu_template_apply_cpuid(const struct cpu_template *cpu, struct cpuid *cpuid,
					struct error *err);
