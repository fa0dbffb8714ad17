/*
 * A fake driver with a balloon that has everything: what the tests of the balloon share. A ring for each queue; pages
 * of the high region from PAGES on are written before, so that one sees which went.
 */
#pragma once

#include <criterion/criterion.h>
#include <sys/mman.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_balloon_priv.h"

#define RINGS 0x60000u	/* the other queues', 64 KiB each */
#define LIST FAKE_DATA	/* what buffers are made of */
#define PAGES FAKE_HIGH /* the region's all 256 */
#define PFN(n) ((uint32_t)(PAGES >> 12) + (n))
#define FEATURE(name) (1ull << VIRTIO_BALLOON_F_##name)

static struct fake_driver fake;				/* inflate */
static struct fake_driver deflate, stats, hint, report; /* the others, on the same device */

static inline struct virtio_balloon *balloon(void)
{
	return balloon_of(fake.dev);
}

static inline void create_with(struct virtio_balloon_params params)
{
	struct error err = { 0 };

	params.name = "balloon";
	cr_assert_eq(
		virtio_balloon_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err), 0,
		"%s", err.text);
}

static inline void setup(struct fake_driver *other, unsigned int index)
{
	*other = fake;
	other->queue = index;
	fake_place_rings_at(other, RINGS + 0x8000 * index, 64);
	cr_assert(fake_setup_queue(other));
}

/* All queues are ready before DRIVER_OK, as a driver does it. */
static inline void drive_all(void)
{
	const uint64_t features = fake.dev->features;

	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	fake_place_rings(&fake, 64);
	cr_assert(fake_negotiate(&fake, features));
	cr_assert(fake_setup_queue(&fake));
	setup(&deflate, 1);
	setup(&stats, 2);
	setup(&hint, 3);
	setup(&report, 4);
	fake_write(&fake, VIRTIO_MMIO_STATUS,
		   fake_read(&fake, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void touch_pages(void)
{
	memset(fake_ptr(&fake, PAGES, MIB(1)), 0xaa, MIB(1));
}

static inline void begin(enum event_loop_kind kind)
{
	log_set_level(LOG_ERROR);
	fake_init(&fake, kind);
	create_with((struct virtio_balloon_params){ .stats_interval_s = 1,
						    .reporting = true,
						    .hinting = true,
						    .deflate_on_oom = true });
	drive_all();
	fake_end_audit(&fake); /* it looks at pages, which are there then */
	touch_pages();
}

static inline void end(void)
{
	fake_fini(&fake);
}

static inline uint64_t counter(enum balloon_counter which)
{
	return fake.dev->counters[which];
}

static inline bool is_there(unsigned int page)
{
	return *(uint8_t *)fake_ptr(&fake, PAGES + page * PAGE_SIZE, 1) == 0xaa;
}

/* Pages of the high region that still have what was written to them. */
static inline unsigned int pages_there(void)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < 256; i++)
		count += is_there(i);
	return count;
}

/* Resident pages of the high region: what the host has to keep. */
static inline unsigned int pages_resident(void)
{
	unsigned char map[256];
	unsigned int count = 0;

	cr_assert_eq(mincore(fake_ptr(&fake, PAGES, MIB(1)), MIB(1), map), 0);
	for (unsigned int i = 0; i < 256; i++)
		count += map[i] & 1;
	return count;
}

/* Offers the chain and turns the loop until it is used. */
static inline void send(struct fake_driver *queue, const struct fake_buffer *buffers,
			unsigned int count)
{
	struct vring_used_elem elem = { 0 };
	const uint16_t head = fake_chain(queue, buffers, count);

	fake_kick(queue);
	cr_assert(fake_wait_used(queue, &elem));
	cr_assert_eq(elem.id, head);
	cr_assert_eq(elem.len, 0);
}

static inline void inflate(const uint32_t *pfns, unsigned int count)
{
	const struct fake_buffer list = { LIST, count * 4, false };

	memcpy(fake_ptr(&fake, LIST, count * 4), pfns, count * 4);
	send(&fake, &list, 1);
}

static inline uint32_t config_read(size_t offset)
{
	return fake_read(&fake, VIRTIO_MMIO_CONFIG + offset);
}

static inline uint32_t device_status(void)
{
	return fake_read(&fake, VIRTIO_MMIO_STATUS);
}
