/*
 * What a snapshot holds of interrupt delivery in front of the local APICs: the IOAPIC's registers, and the
 * routes that KVM has, which are not always what the registers say (a masked pin keeps its route).
 *
 * Control thread, while the vCPUs are paused.
 */
#pragma once

#include "snapshot/state_desc.h"
#include "vmm/irq_routes.h"

struct irq_route_state {
	uint32_t gsi;
	uint64_t address;
	uint32_t data;
};

struct irq_state {
	uint8_t id, select;
	uint64_t entries[LAYOUT_IOAPIC_PINS];
	uint32_t route_count;
	struct irq_route_state routes[LAYOUT_IOAPIC_PINS];
};

extern const struct state_desc irq_state_desc;

void irq_save(struct irq_routes *routes, struct irq_state *state);

/* -EINVAL for a route that cannot be; KVM's errno when it refuses the table. */
must_check int irq_load(struct irq_routes *routes, const struct irq_state *state,
			struct error *err);
