/*
 * From a device's interrupt line to a vCPU: each line is an eventfd bound to a GSI (irqfd), and
 * each GSI has a message in KVM's routing table, which the guest sets through the IOAPIC. A raise
 * is one write() in any thread; no thread of ours takes part in the delivery.
 */
#pragma once

#include <linux/kvm.h>

#include "base/irq_line.h"
#include "vmm/kvm.h"
#include "vmm/legacy/ioapic.h"

struct irqfd_line {
	struct irq_line line;
	int fd;
	_Atomic uint64_t raised; /* so often; read by any thread */
	_Atomic bool has_route;	 /* in KVM's table. Written under the IOAPIC's lock */
};

/* Laid out as struct kvm_irq_routing, whose entries have no number. */
struct irq_table {
	uint32_t nr;
	uint32_t flags;
	struct kvm_irq_routing_entry entries[LAYOUT_IOAPIC_PINS];
};

struct irq_routes {
	struct kvm *kvm;
	struct ioapic ioapic;
	struct irqfd_line lines[LAYOUT_IOAPIC_PINS];

	_Atomic uint64_t updates; /* of routes; read by any thread */
	struct irq_table table;	  /* KVM takes all of it at each change. Under the IOAPIC's lock */
};

/* No system call: kvm is used from the first line or route on, after kvm_create_irqchip(). */
void irq_routes_init(struct irq_routes *routes, struct kvm *kvm);
void irq_routes_fini(struct irq_routes *routes);

/* Makes the line of a GSI, which must be below LAYOUT_IOAPIC_PINS and not in use. It lives as long
 * as the routes. */
must_check int irq_routes_line(struct irq_routes *routes, unsigned int gsi, struct irq_line **out,
			       struct error *err);
