/*
 * VMGenID: a random number in guest memory that is another in every clone, and an interrupt that says so.
 * Linux mixes it into its random number generator at once, so that clones of one snapshot draw different numbers.
 * (Microsoft, "Virtual Machine Generation ID", 2012; the ACPI side is in vmm/boot/dsdt.c.)
 *
 * Control thread, while no vCPU runs.
 */
#pragma once

#include "base/error.h"
#include "base/guest_memory.h"
#include "base/irq_line.h"
#include "snapshot/state_desc.h"

#define VMGENID_SIZE 16u /* bytes */

struct vmgenid {
	struct irq_line *irq;
	uint64_t gpa; /* of the number; 0: this guest has none, as it has no ACPI tables */
};

/* Section "vmgenid"; a snapshot without one is of a guest without the device. */
struct vmgenid_state {
	uint64_t gpa;
};

extern const struct state_desc vmgenid_state_desc;

/* A new number; nothing where the guest has none. -EINVAL when it lies outside of guest memory. */
must_check int vmgenid_renew(const struct vmgenid *gen, struct guest_memory *mem,
			     struct error *err);

/* Tells a guest that has run before. */
void vmgenid_notify(const struct vmgenid *gen);
