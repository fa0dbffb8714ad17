/*
 * A guest without a guest: a driver that writes real rings into real guest memory and real
 * registers, well-behaved or not, with no KVM. One queue (several:
 * a copy of the driver for each); it knows no test framework and aborts
 * when the machine (not the device) lets it down, so fuzzers and benches use it too.
 *
 * With MAYFLY_FAKE_AUDIT in the environment, as `make check` has it, each page that the device changes in a turn of the
 * loop must have been noted for a save of what has changed (base/guest_dirty.h): whatever a test is about.
 *
 *   0x0000_0000  1 MiB of memory: rings at the bottom, data from FAKE_DATA
 *   0x0010_0000  the hole
 *   0x0040_0000  1 MiB of memory
 */
#pragma once

#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <stdatomic.h>

#include "virtio/virtio_mmio.h"

#define FAKE_DESC 0x1000u
#define FAKE_AVAIL 0x5000u
#define FAKE_USED 0x6000u
#define FAKE_DATA 0x10000u
#define FAKE_LOW_END 0x100000u
#define FAKE_HIGH 0x400000u
#define FAKE_HIGH_END 0x500000u

struct fake_driver {
	struct guest_memory mem;
	struct event_loop *loop;
	struct irq_line irq;
	atomic_int interrupts;
	struct virtio_device *dev; /* the test's; destroyed by fake_fini() */

	unsigned int queue; /* which one the rings are for */
	struct virtqueue_layout layout;
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t next_desc; /* descriptors are used in turn; nobody frees them */
	uint16_t last_used;
};

/* One buffer of a chain. */
struct fake_buffer {
	uint64_t gpa;
	uint32_t len;
	bool write; /* by the device */
};

/* Memory, and a loop that the caller turns by hand. */
void fake_init(struct fake_driver *fake, enum event_loop_kind kind);
/* The same with a loop that has a thread. */
void fake_init_started(struct fake_driver *fake, enum event_loop_kind kind);
void fake_fini(struct fake_driver *fake);

/* Where the rings lie by default, and zeroes there. */
void fake_place_rings(struct fake_driver *fake, uint16_t size);
/* A ring for another queue, all of it from `gpa` on: for a copy of the driver with its own
 * fake->queue, which shares the rest. */
void fake_place_rings_at(struct fake_driver *fake, uint64_t gpa, uint16_t size);

/* Registers. */
uint32_t fake_read(struct fake_driver *fake, uint64_t offset);
void fake_write(struct fake_driver *fake, uint64_t offset, uint32_t value);

/* Reset, acknowledge, accept `features`, FEATURES_OK; true if the device agreed. */
bool fake_negotiate(struct fake_driver *fake, uint64_t features);
/* Writes fake->layout into the registers of fake->queue and says ready; true if the device agreed. */
bool fake_setup_queue(struct fake_driver *fake);
/* All of it: the driver of a book. Aborts when the device does not agree. */
void fake_drive(struct fake_driver *fake, uint64_t features, uint16_t size);

/* Rings. */
void fake_desc(struct fake_driver *fake, uint16_t at, struct vring_desc desc);
void fake_offer(struct fake_driver *fake, uint16_t head);
/* Writes a chain of descriptors and offers it; returns its head. */
uint16_t fake_chain(struct fake_driver *fake, const struct fake_buffer *buffers, unsigned int n);
/* The same by an indirect table at `table`. */
uint16_t fake_indirect(struct fake_driver *fake, uint64_t table, const struct fake_buffer *buffers,
		       unsigned int n);
void fake_kick(struct fake_driver *fake);

/* Takes the next used chain, if there is one. */
bool fake_used(struct fake_driver *fake, struct vring_used_elem *elem);
/* Turns the loop until there is one; false after some seconds. Not with a started loop. */
bool fake_wait_used(struct fake_driver *fake, struct vring_used_elem *elem);
/* Turns the loop until nothing happens any more. */
void fake_settle(struct fake_driver *fake);

/* For a test in which somebody else writes to memory meanwhile, that adds memory, or that asks which pages are there.
 * No loop of its own turns. */
void fake_end_audit(struct fake_driver *fake);

void *fake_ptr(struct fake_driver *fake, uint64_t gpa, uint64_t len);
