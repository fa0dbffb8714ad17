/* A limited drive: what waits stays in the ring, comes in time and in turn, and adds up. */
#include <sys/random.h>

#include "base/clock.h"
#include "tests/unit/blk_driver.h"

#define MS 1000000ull
#define BOTH(name, ...) ENGINES(blk_rate, name, .rate = { __VA_ARGS__ })

static const struct bucket_config none;

/* A request by a copy of the driver for another queue, or by the one for the first; not waited for. */
static void offer(struct fake_driver *queue, uint32_t type, uint64_t sector, uint32_t len)
{
	put_request(queue, type, sector, DATA, len);
	fake_kick(queue);
}

static unsigned int used_now(struct fake_driver *queue)
{
	struct vring_used_elem elem;
	unsigned int count = 0;

	fake_settle(&fake);
	while (fake_used(queue, &elem))
		count++;
	return count;
}

static uint64_t counter(enum blk_counter which)
{
	return atomic_load(&fake.dev->counters[which]);
}

BOTH(every_request_is_an_operation, .ops = { 3, 1, 3600000 })
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 20, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(77, 0, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
	offer(&fake, VIRTIO_BLK_T_FLUSH, 0, 0);
	cr_expect_eq(used_now(&fake), 0);
	cr_expect_eq(drive()->in_flight, 0);
	cr_expect_eq(fake.dev->queues[0].ring.in_flight, 0);
	cr_expect_eq(counter(BLK_THROTTLED), 1);
	cr_expect_eq(counter(BLK_REMAINING_REQS), 1);
}

BOTH(only_data_is_bytes, .bytes = { 8192, 0, 3600000 })
{
	memset(fake_ptr(&fake, DATA, 4096), 'x', 4096);
	for (int i = 0; i < 10; i++)
		cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 4096, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 4096, NULL), VIRTIO_BLK_S_OK);
	offer(&fake, VIRTIO_BLK_T_IN, 0, 512);
	cr_expect_eq(used_now(&fake), 0);
}

/* Each when its token is there: none early, and the one whose timer was least late at once. */
BOTH(what_waits_comes_in_time, .ops = { 1, 0, 20 })
{
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);
	uint64_t soonest = UINT64_MAX;
	struct vring_used_elem elem;

	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	for (uint64_t i = 1; i <= 10; i++) {
		uint64_t due;

		offer(&fake, VIRTIO_BLK_T_IN, i, 512);
		do {
			due = drive()->limiter.due;
			event_loop_run_once(fake.loop, true);
		} while (!fake_used(&fake, &elem));
		cr_expect_geq(clock_now_ns(CLOCK_MONOTONIC), start + i * 20 * MS, "request %lu", i);
		if (due) /* 0: the machine stopped for so long that there was nothing to wait for */
			soonest = MIN(soonest, clock_now_ns(CLOCK_MONOTONIC) - due);
		cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), i);
	}
	cr_expect_lt(soonest, 5 * MS);
	cr_expect_geq(counter(BLK_RATE_LIMITER_EVENTS), 1);
}

/* Eight requests of 4 KiB at a time. */
struct flow {
	uint64_t bytes;
	uint64_t now;
	uint64_t stops; /* ns in which a busy machine did not let the loop run */
	bool settled;	/* all tokens are spent, and it has only just been so */
};

static void turn(struct flow *flow)
{
	const uint64_t before = flow->now;
	struct vring_used_elem elem;

	event_loop_run_once(fake.loop, true);
	while (fake_used(&fake, &elem)) {
		flow->bytes += 4096;
		offer(&fake, VIRTIO_BLK_T_IN, 0, 4096);
	}
	flow->now = clock_now_ns(CLOCK_MONOTONIC);
	if (flow->now - before > 20 * MS)
		flow->stops += flow->now - before;
	flow->settled = rate_limiter_waits(&drive()->limiter) && flow->now - before < 5 * MS;
}

/* 6.25 MiB/s: within 3 % over a second, whatever each timer does. Only stops, in which the bucket of
 * 80 ms may be full, take what no timer can give back. */
BOTH(the_rate_is_what_was_asked_for, .bytes = { 524288, 65536, 80 })
{
	const double rate = 524288.0 / 80 / (double)MS;
	struct flow flow = { .now = clock_now_ns(CLOCK_MONOTONIC) };
	uint64_t start, elapsed;

	for (unsigned int i = 0; i < 8; i++)
		offer(&fake, VIRTIO_BLK_T_IN, 0, 4096);
	while (flow.bytes < 524288 + 65536 || !flow.settled)
		turn(&flow);
	start = flow.now;
	flow.bytes = flow.stops = 0;
	do {
		turn(&flow);
		elapsed = flow.now - start;
	} while (elapsed < 10000 * MS && (elapsed < 1000 * MS + flow.stops || !flow.settled));
	cr_expect_leq((double)flow.bytes, rate * (double)elapsed * 1.03, "%lu in %lu ns",
		      flow.bytes, elapsed);
	cr_expect_geq((double)flow.bytes, rate * (double)(elapsed - flow.stops) * 0.97,
		      "%lu in %lu ns, stopped for %lu of them", flow.bytes, elapsed, flow.stops);
}

BOTH(larger_than_the_bucket_is_neither_refused_nor_free, .bytes = { 4096, 0, 20 })
{
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);

	/* The first finds it full; the second waits until 12 KiB are paid off and it is full again. */
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 16384, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(counter(BLK_THROTTLED), 0);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 16384, NULL), VIRTIO_BLK_S_OK);
	cr_expect_geq(clock_now_ns(CLOCK_MONOTONIC) - start, 80 * MS);
}

BOTH(zeroes_that_become_data_are_paid_for, .bytes = { 65536, 0, 3600000 })
{
	drive()->no_punch = drive()->no_zero_range = true;
	cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 1024, 0), VIRTIO_BLK_S_OK);
	/* Some bytes were paid off meanwhile: 18 a second. */
	cr_expect_leq(drive()->limiter.bytes.level.debt, 1024 * 512 - 65536);
	cr_expect_gt(drive()->limiter.bytes.level.debt, 1024 * 512 - 65536 - 2048);
	offer(&fake, VIRTIO_BLK_T_FLUSH, 0, 0);
	cr_expect_eq(used_now(&fake), 0);
}

BOTH(a_reset_forgets_what_waits, .ops = { 1, 0, 3600000 })
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	offer(&fake, VIRTIO_BLK_T_IN, 0, 512);
	cr_expect_eq(used_now(&fake), 0);
	fake_drive(&fake, offered(), 256);
	cr_expect_not(rate_limiter_waits(&drive()->limiter));
	/* What was used is used: a reset gives no tokens. */
	offer(&fake, VIRTIO_BLK_T_IN, 0, 512);
	cr_expect_eq(used_now(&fake), 0);
	cr_assert_eq(virtio_blk_set_rate(fake.dev, NULL, &none, NULL), 0);
	fake_settle(&fake);
	cr_expect_eq(used_now(&fake), 1);
	cr_expect_eq(device_status(), 15);
}

BOTH(a_pause_leaves_what_waits_in_the_ring, .ops = { 1, 0, 3600000 })
{
	struct vring_used_elem elem;

	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	offer(&fake, VIRTIO_BLK_T_IN, 5, 512);
	fake_settle(&fake);
	virtio_device_pause(fake.dev);
	cr_expect_eq(fake.dev->queues[0].ring.state.next_avail, 1);
	cr_expect_null(drive()->limiter.timer.loop, "a watch is left");
	virtio_device_resume(fake.dev);
	cr_assert_eq(virtio_blk_set_rate(fake.dev, NULL, &none, NULL), 0);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), 5);
}

BOTH(a_new_limit_frees_what_waits, .bytes = { 512, 0, 3600000 })
{
	const struct bucket_config fast = { 1u << 20, 0, 1 };

	offer(&fake, VIRTIO_BLK_T_IN, 0, 512);
	offer(&fake, VIRTIO_BLK_T_IN, 0, 512);
	cr_expect_eq(used_now(&fake), 1);
	cr_assert_eq(virtio_blk_set_rate(fake.dev, &fast, NULL, NULL), 0);
	fake_settle(&fake);
	cr_expect_eq(used_now(&fake), 1);
	cr_expect_eq(counter(BLK_UPDATE_COUNT), 1);
}

/* A limit where there was none, while requests come. */
BOTH(a_limit_from_now_on, .ops = { 0, 0, 0 })
{
	const struct bucket_config slow = { 2, 0, 3600000 };

	for (int i = 0; i < 100; i++)
		cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_assert_eq(virtio_blk_set_rate(fake.dev, NULL, &slow, NULL), 0);
	for (int i = 0; i < 5; i++)
		offer(&fake, VIRTIO_BLK_T_IN, 0, 512);
	cr_expect_eq(used_now(&fake), 2);
	fake_drive(&fake, offered(), 256);
	cr_expect_eq(counter(BLK_READ_COUNT), 102);
	cr_expect_eq(counter(BLK_READ_BYTES), 102 * 512);
}

/* One queue asks for much at once, the other for little all the time; both get something. */
ENGINES(blk_rate, no_queue_starves, .num_queues = 2, .rate.bytes = { 16384, 0, 4 })
{
	struct fake_driver other = fake;
	unsigned int large = 0, small = 0;
	struct vring_used_elem elem;

	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	fake_place_rings(&fake, 256);
	cr_assert(fake_negotiate(&fake, offered()));
	other.queue = 1;
	fake_place_rings_at(&other, FAKE_HIGH, 256);
	cr_assert(fake_setup_queue(&fake));
	cr_assert(fake_setup_queue(&other));
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15);

	offer(&fake, VIRTIO_BLK_T_IN, 0, 16384);
	for (int i = 0; i < 16; i++)
		offer(&other, VIRTIO_BLK_T_IN, 0, 512);
	/* What fits into 200 ms, however long it takes here. */
	while (large * 16384 + small * 512 < 50 * 16384) {
		event_loop_run_once(fake.loop, true);
		while (fake_used(&fake, &elem)) {
			large++;
			offer(&fake, VIRTIO_BLK_T_IN, 0, 16384);
		}
		while (fake_used(&other, &elem)) {
			small++;
			offer(&other, VIRTIO_BLK_T_IN, 0, 512);
		}
	}
	cr_expect_geq(large, 10);
	cr_expect_geq(small, 200);
}
