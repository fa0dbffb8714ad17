/*
 * The IOAPIC (Intel 82093AA), as far as edge-triggered lines need it: KVM runs with a split
 * irqchip, so the local APICs are in the kernel and this, the only chip in front of them, is ours.
 * It delivers nothing itself: each redirection entry becomes an MSI route, and the devices' irqfds
 * send through that route without waking us.
 *
 * Registers are used by vCPU threads, under the chip's lock.
 */
#pragma once

#include <pthread.h>

#include "base/util.h"
#include "vmm/layout.h"

struct bus_ops;

/* What an entry tells the local APICs: a message to write. */
struct msi_message {
	uint64_t address;
	uint32_t data;
};

struct ioapic {
	/* Called with the lock held, on a vCPU thread, when the message of a pin changed. */
	void (*route)(struct ioapic *ioapic, unsigned int pin, const struct msi_message *msg);

	pthread_mutex_t lock;
	uint8_t id;
	uint8_t select; /* IOREGSEL */
	uint8_t *page;	/* where the guest reads the registers without us; NULL: nowhere */
	uint64_t entries[LAYOUT_IOAPIC_PINS];
};

extern const struct bus_ops ioapic_ops;

void ioapic_init(struct ioapic *ioapic,
		 void (*route)(struct ioapic *, unsigned int, const struct msi_message *));

/*
 * Where the hypervisor shows the guest a page that it may only read: a read is then no exit. The page (zeroes, PAGE_SIZE
 * bytes, alive as long as the guest runs) has from now on what ioapic_ops.read() would say. Before the guest runs.
 */
void ioapic_show(struct ioapic *ioapic, void *page);

/* Who changed the state from outside says so, with the lock held. */
void ioapic_refresh(struct ioapic *ioapic);

/* A line comes to this pin, which must be below LAYOUT_IOAPIC_PINS. Before the guest runs. */
void ioapic_connect(struct ioapic *ioapic, unsigned int pin);
