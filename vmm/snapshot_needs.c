#include "vmm/snapshot_needs.h"

#include <stdio.h>

#define APIC_BASE_X2APIC (1u << 10)

#define NAMED(capability)               \
	{                               \
		capability, #capability \
	}

static const struct {
	uint32_t capability;
	const char *name;
} names[] = {
	NAMED(KVM_CAP_USER_MEMORY),    NAMED(KVM_CAP_IRQFD),
	NAMED(KVM_CAP_IOEVENTFD),      NAMED(KVM_CAP_SPLIT_IRQCHIP),
	NAMED(KVM_CAP_IMMEDIATE_EXIT), NAMED(KVM_CAP_MP_STATE),
	NAMED(KVM_CAP_VCPU_EVENTS),    NAMED(KVM_CAP_DEBUGREGS),
	NAMED(KVM_CAP_XSAVE),	       NAMED(KVM_CAP_XCRS),
	NAMED(KVM_CAP_XSAVE2),	       NAMED(KVM_CAP_SREGS2),
	NAMED(KVM_CAP_X2APIC_API),     NAMED(KVM_CAP_VCPU_ATTRIBUTES),
	NAMED(KVM_CAP_ADJUST_CLOCK),   NAMED(KVM_CAP_TSC_DEADLINE_TIMER),
};

const char *capability_name(uint32_t capability, char text[static CAPABILITY_TEXT])
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].capability == capability)
			return names[i].name;
	snprintf(text, CAPABILITY_TEXT, "capability %u", capability);
	return text;
}

static bool has(const struct snapshot_info *info, uint32_t capability)
{
	for (uint32_t i = 0; i < info->capability_count; i++)
		if (info->capabilities[i] == capability)
			return true;
	return false;
}

static void need(struct snapshot_info *info, uint32_t capability)
{
	if (!has(info, capability) && info->capability_count < SNAPSHOT_CAPABILITIES_MAX)
		info->capabilities[info->capability_count++] = capability;
}

void snapshot_need_basics(struct snapshot_info *info)
{
	static const uint32_t basics[] = {
		KVM_CAP_USER_MEMORY,   KVM_CAP_IRQFD,	       KVM_CAP_IOEVENTFD,
		KVM_CAP_SPLIT_IRQCHIP, KVM_CAP_IMMEDIATE_EXIT, KVM_CAP_MP_STATE,
		KVM_CAP_VCPU_EVENTS,   KVM_CAP_DEBUGREGS,      KVM_CAP_XSAVE,
		KVM_CAP_ADJUST_CLOCK,
	};

	for (size_t i = 0; i < ARRAY_SIZE(basics); i++)
		need(info, basics[i]);
}

/* What older kernels do without where a guest does too is not needed by one that does. */
void snapshot_need_vcpu(struct snapshot_info *info, const struct vcpu_state *state)
{
	if (state->xcr_count > 0)
		need(info, KVM_CAP_XCRS);
	if (state->xsave_size > sizeof(struct kvm_xsave))
		need(info, KVM_CAP_XSAVE2);
	if (state->sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		need(info, KVM_CAP_SREGS2);
	if (state->sregs.apic_base & APIC_BASE_X2APIC) /* ids of 32 bits in its local APIC */
		need(info, KVM_CAP_X2APIC_API);
	if (state->has_tsc_offset)
		need(info, KVM_CAP_VCPU_ATTRIBUTES);
	if (state->tsc_deadline)
		need(info, KVM_CAP_TSC_DEADLINE_TIMER);
}

void snapshot_find_capabilities(const struct kvm *kvm, struct snapshot_info *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (kvm_check_extension(kvm, (int)names[i].capability) > 0)
			need(out, names[i].capability);
}

unsigned int snapshot_missing_capabilities(const struct snapshot_info *info, const struct kvm *kvm,
					   const struct snapshot_info *known,
					   void (*missing)(void *opaque, const char *name),
					   void *opaque)
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < info->capability_count; i++) {
		char text[CAPABILITY_TEXT];

		if ((known && has(known, info->capabilities[i])) ||
		    kvm_check_extension(kvm, (int)info->capabilities[i]) > 0)
			continue;
		missing(opaque, capability_name(info->capabilities[i], text));
		count++;
	}
	return count;
}
