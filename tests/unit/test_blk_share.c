/* A drive whose guest asks for all it can leaves the loop to the others. */
#include <time.h>

#include "tests/unit/blk_driver.h"

#define BIG_BYTES MIB(15)

static struct fake_driver second;

/* Beside the first, on the same loop: a drive with one sector asked for. */
static void a_second_drive_waits(void)
{
	static const struct fake_buffer buffers[] = { { HEADER, 16, false },
						      { DATA, 512, true },
						      { STATUS, 1, true } };
	struct virtio_device *first = fake.dev;
	struct error err = { 0 };

	second = fake;
	cr_assert_eq(
		virtio_blk_create(&second.dev,
				  &(struct virtio_blk_params){ .name = "vdb", .fd = dup(file) },
				  &fake.mem, fake.loop, &fake.irq, &err),
		0, "%s", err.text);
	fake_place_rings_at(&second, 0x7000, 16);
	cr_assert(fake_negotiate(&second, 1ull << VIRTIO_F_VERSION_1 | FEATURE(FLUSH)));
	cr_assert(fake_setup_queue(&second));
	fake_write(&second, VIRTIO_MMIO_STATUS, 15);
	fake.dev = first;
	set_header(HEADER, VIRTIO_BLK_T_IN, 5);
	fake_chain(&second, buffers, ARRAY_SIZE(buffers));
}

/* `n` reads of `count` times `len` bytes, all into the same place. */
static void ask_for(unsigned int n, unsigned int count, uint32_t len)
{
	struct fake_buffer buffers[64] = { { HEADER, 16, false } };

	for (unsigned int i = 0; i < count; i++)
		buffers[1 + i] = (struct fake_buffer){ FAKE_HIGH, len, true };
	buffers[1 + count] = (struct fake_buffer){ STATUS + 1, 1, true };
	for (unsigned int i = 0; i < n; i++)
		fake_indirect(&fake, DATA + 0x1000 + i * 1024, buffers, count + 2);
}

static uint64_t thread_cpu_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The page cache could give everything at once: 256 times 256 KiB. */
ENGINES_IN("/dev/shm", blk_share, lie_storm_of_cached_reads, .queue_size = 256)
{
	const _Atomic uint64_t *read_bytes = &fake.dev->counters[BLK_READ_BYTES];
	struct vring_used_elem elem;
	unsigned int turns = 0;
	uint64_t before = 0;

	a_second_drive_waits();
	ask_for(256, 4, KIB(64));
	fake_kick(&fake);
	fake_kick(&second);
	for (; !fake_used(&second, &elem) && turns < 20; turns++) {
		event_loop_run_once(fake.loop, false);
		cr_expect_leq(*read_bytes - before, MIB(4), "a turn");
		before = *read_bytes;
	}
	cr_expect_leq(turns, 3);
	for (unsigned int i = 0; i < 256; i++)
		cr_assert(fake_wait_used(&fake, &elem));
	virtio_device_destroy(second.dev);
}

static void make_the_file_big(void)
{
	char *data = calloc(1, BIG_BYTES);
	struct error err = { 0 };

	cr_assert_eq(pwrite(file, data, BIG_BYTES, 0), BIG_BYTES);
	free(data);
	cr_assert_eq(virtio_blk_set_backing(fake.dev, NULL, dup(file), &err), 0, "%s", err.text);
}

/* As one of them is copied. */
static void copy_it_all(void)
{
	struct iovec iov[15];

	for (unsigned int i = 0; i < ARRAY_SIZE(iov); i++)
		iov[i] = (struct iovec){ fake_ptr(&fake, FAKE_HIGH, MIB(1)), MIB(1) };
	cr_assert_eq(preadv(file, iov, ARRAY_SIZE(iov), 0), BIG_BYTES);
}

/* One request may be for gigabytes: it moves in the background, not in the loop's time. */
Test(blk_share, lie_requests_of_many_mebibytes)
{
	struct vring_used_elem elem;
	uint64_t copying, serving;
	unsigned int done = 0;

	begin(EVENT_LOOP_URING, "/tmp", (struct virtio_blk_params){ 0 });
	make_the_file_big();
	copy_it_all();
	copying = thread_cpu_ns();
	copy_it_all();
	copying = thread_cpu_ns() - copying;

	ask_for(16, 15, MIB(1));
	serving = thread_cpu_ns();
	fake_kick(&fake);
	while (done < 16) {
		event_loop_run_once(fake.loop, true);
		while (fake_used(&fake, &elem))
			done++;
	}
	serving = thread_cpu_ns() - serving;
	cr_expect_eq(*(uint8_t *)fake_ptr(&fake, STATUS + 1, 1), VIRTIO_BLK_S_OK);
	cr_expect_lt(serving, 8 * copying, "%lu us for the loop, %lu for one copy", serving / 1000,
		     copying / 1000);
	end();
}

/* What the layer moves itself -----------------------------------------------------------------------*/

static struct blk_io *held;
static unsigned int ended;

static void hold(struct blk_backend *backend, struct blk_io *io)
{
	(void)backend;
	held = io;
}

static void leave(struct blk_backend *backend)
{
	(void)backend;
}

static void count_end(struct blk_io *io, int ret)
{
	(void)io;
	cr_expect_eq(ret, 0);
	ended++;
}

/* By the layer itself, not by its engine? */
static bool is_moved_at_once(struct blk_backend *layer, enum blk_op kind, size_t bytes, bool alone)
{
	static char data[MIB(1)];
	struct iovec iov = { data, bytes };
	struct blk_io io = {
		.kind = kind, .alone = alone, .iov = &iov, .iov_count = 1, .done = count_end
	};

	held = NULL;
	blk_backend_submit(layer, &io);
	return !held;
}

static bool is_written_at_once(struct blk_backend *layer)
{
	return is_moved_at_once(layer, BLK_WRITE, 512, true);
}

/* A layer of the drive's file over an engine that does nothing. */
static struct blk_backend *make_layer(void)
{
	static const struct blk_backend_ops ops = { .name = "held",
						    .submit = hold,
						    .destroy = leave };
	static struct blk_backend engine;
	struct blk_backend *layer;
	struct error err = { 0 };

	engine = (struct blk_backend){ &ops, drive()->file, fake.loop };
	cr_assert_eq(blk_inline_create(&layer, &engine, &err), 0, "%s", err.text);
	return layer;
}

/* A ring that has the page cache's data at once is better for many small requests, and for no large one. */
Test(blk_share, of_a_batch_the_small_ones_are_the_rings)
{
	struct blk_backend *layer;

	begin(EVENT_LOOP_URING, "/tmp", (struct virtio_blk_params){ 0 });
	layer = make_layer();
	cr_expect(is_moved_at_once(layer, BLK_READ, KIB(4), true));
	cr_expect_not(is_moved_at_once(layer, BLK_READ, KIB(32), false));
	cr_expect(is_moved_at_once(layer, BLK_READ, KIB(128), false));
	cr_expect_not(is_moved_at_once(layer, BLK_READ, KIB(512), false), "too much for a loop");
	blk_backend_destroy(layer);
	end();
}

/* A small write beside it is the engine's, where a thread may sleep on that lock. */
Test(blk_share, nothing_is_written_at_once_beside_a_long_change)
{
	static const enum blk_op kinds[] = { BLK_DISCARD, BLK_PUNCH, BLK_ZERO, BLK_WRITE };
	static char data[MIB(1)];
	struct blk_backend *layer;

	begin(EVENT_LOOP_EPOLL, "/dev/shm", (struct virtio_blk_params){ 0 });
	layer = make_layer();
	is_written_at_once(layer); /* finds out how */
	cr_assert(is_written_at_once(layer));
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct iovec iov = { data, sizeof(data) };
		struct blk_io change = { .kind = kinds[i], .length = MIB(1), .done = count_end };

		if (kinds[i] == BLK_WRITE) {
			change.iov = &iov;
			change.iov_count = 1;
		}
		blk_backend_submit(layer, &change);
		cr_assert_eq(held, &change);
		cr_expect_not(is_written_at_once(layer), "kind %d", kinds[i]);
		ended = 0;
		change.done(&change, 0);
		cr_expect_eq(ended, 1);
		cr_expect(is_written_at_once(layer), "kind %d", kinds[i]);
	}
	blk_backend_destroy(layer);
	end();
}
