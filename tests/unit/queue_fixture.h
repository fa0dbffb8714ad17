/* One queue on a fake driver's rings, for the tests of the queue alone. Each that includes it has its own. */
#pragma once

#include <criterion/criterion.h>

#include "tests/unit/fake_driver.h"

#define IOVS 32
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)

static struct fake_driver fake;
static struct virtqueue vq;
static struct virtqueue_chain chain;
static struct iovec iov[IOVS];

static void enable(uint16_t size, uint64_t features)
{
	fake_place_rings(&fake, size);
	vq = (struct virtqueue){ 0 };
	cr_assert_eq(virtqueue_enable(&vq, &fake.layout, 256, &fake.mem, features), 0);
}

static void init(void)
{
	fake_init(&fake, EVENT_LOOP_EPOLL);
	enable(16, INDIRECT);
}

static void fini(void)
{
	fake_fini(&fake);
}

static int pop(void)
{
	return virtqueue_pop(&vq, &chain, iov, IOVS);
}
