/*
 * Which capabilities of KVM a machine's state needs to be taken up again: those that every machine of ours is made with,
 * and those that what was saved makes use of. By their numbers in linux/kvm.h, in the section "snapshot".
 */
#pragma once

#include "vmm/kvm.h"
#include "vmm/snapshot_info.h"
#include "vmm/vcpu_state.h"

/* Adds what every machine needs. Pure. */
void snapshot_need_basics(struct snapshot_info *info);

/* Adds what this vCPU's state needs. Pure. */
void snapshot_need_vcpu(struct snapshot_info *info, const struct vcpu_state *state);

/* Adds those of the capabilities that this file knows which the host has. Control thread. */
void snapshot_find_capabilities(const struct kvm *kvm, struct snapshot_info *out);

/* Calls missing() for each that this host has not, with its name ("KVM_CAP_XSAVE2", or "capability 208" of one that is
 * not known here); returns how many. info is untrusted. `known` lists what KVM need not be asked for; may be NULL.
 * Control thread. */
unsigned int snapshot_missing_capabilities(const struct snapshot_info *info, const struct kvm *kvm,
					   const struct snapshot_info *known,
					   void (*missing)(void *opaque, const char *name),
					   void *opaque);

/* As above. Pure; `text` is for those without a name. */
#define CAPABILITY_TEXT 32
const char *capability_name(uint32_t capability, char text[static CAPABILITY_TEXT]);
