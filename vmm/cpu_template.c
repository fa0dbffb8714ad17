#include "vmm/cpu_template.h"

#include "vmm/cpuid.h"

static struct kvm_cpuid_entry2 *find_entry(struct cpuid *cpuid,
					   const struct cpuid_modifier *modifier)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		bool has_index = entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

		if (entry->function == modifier->leaf &&
		    (has_index ? entry->index : 0) == modifier->subleaf)
			return entry;
	}
	return NULL;
}

static void modify(uint32_t *value, const struct bit_modifier *modifier)
{
	*value = (uint32_t)bit_modifier_apply(modifier, *value);
}

int cpu_template_apply_cpuid(const struct cpu_template *cpu, struct cpuid *cpuid, struct error *err)
{
	for (unsigned int i = 0; i < cpu->cpuid_count; i++) {
		const struct cpuid_modifier *modifier = &cpu->cpuid[i];
		struct kvm_cpuid_entry2 *entry = find_entry(cpuid, modifier);

		if (!entry)
			return error_set(err, ENOENT,
					 "CPU template: this host has no CPUID leaf %#x, subleaf "
					 "%#x",
					 modifier->leaf, modifier->subleaf);
		modify(&entry->eax, &modifier->registers[CPUID_EAX]);
		modify(&entry->ebx, &modifier->registers[CPUID_EBX]);
		modify(&entry->ecx, &modifier->registers[CPUID_ECX]);
		modify(&entry->edx, &modifier->registers[CPUID_EDX]);
	}
	return 0;
}
