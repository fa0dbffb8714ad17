/* What a drive says of itself, how it is cached, several queues, and a size that changes. */
#include <linux/fs.h>
#include <sys/ioctl.h>

#include "tests/unit/blk_driver.h"
#include "tests/unit/loop_disk.h"

#define BOTH(name, ...) ENGINES(virtio_blk_config, name, __VA_ARGS__)

static struct virtio_blk_config config(void)
{
	struct virtio_blk_config copy;

	virtio_mmio_read(fake.dev, VIRTIO_MMIO_CONFIG, &copy, sizeof(copy));
	return copy;
}

/* Features ---------------------------------------------------------------------------------------*/

BOTH(a_cached_file, .num_queues = 1)
{
	const uint64_t has = FEATURE(SEG_MAX) | FEATURE(SIZE_MAX) | FEATURE(BLK_SIZE) |
			     FEATURE(TOPOLOGY) | FEATURE(FLUSH) | FEATURE(DISCARD) |
			     FEATURE(WRITE_ZEROES);

	cr_expect_eq(offered() & 0xffffff, has);
	cr_expect_eq(config().capacity, SECTORS);
	cr_expect_eq(config().seg_max, BLK_SEG_MAX);
	cr_expect_eq(config().blk_size, 512);
	cr_expect_eq(config().physical_block_exp, 3);
	cr_expect_eq(config().min_io_size, 8);
	cr_expect_eq(config().max_discard_seg, 1);
	cr_expect_eq(config().discard_sector_alignment, 8);
	cr_expect_eq(config().write_zeroes_may_unmap, 1);
}

BOTH(read_only, .read_only = true)
{
	cr_expect_eq(offered() & (FEATURE(RO) | FEATURE(DISCARD) | FEATURE(WRITE_ZEROES)),
		     FEATURE(RO));
	cr_expect_eq(config().max_discard_sectors, 0);
}

Test(virtio_blk_config, a_device_speaks_for_itself)
{
	int image;

	make_file_in("/tmp");
	image = file;
	file = loop_disk_attach(image, 4096);
	fake_init(&fake, EVENT_LOOP_URING);
	create_with((struct virtio_blk_params){ 0 });
	cr_expect_eq(config().capacity, SECTORS);
	cr_expect_eq(config().blk_size, 4096);
	cr_expect_eq(config().physical_block_exp, 0);
	cr_expect_eq(config().min_io_size, 1);
	end();
	close(image);
}

/* To be told when it is opened, not by each write that fails. */
Test(virtio_blk_config, a_device_that_is_read_only_says_so)
{
	struct virtio_blk_params params = { .name = "vda", .fd = -1 };
	struct error err = { 0 };
	char path[32];
	int image;

	make_file_in("/tmp");
	image = file;
	file = loop_disk_attach(image, 512);
	cr_assert_eq(ioctl(file, BLKROSET, &(int){ 1 }), 0);
	fake_init(&fake, EVENT_LOOP_URING);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	params.path = path;
	cr_expect_lt(virtio_blk_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err),
		     0);
	cr_expect_eq(strncmp(err.text, "drive vda: ", 11), 0, "%s", err.text);
	cr_expect(strstr(err.text, ":ro"), "%s", err.text);
	create_with((struct virtio_blk_params){ .read_only = true });
	cr_expect(offered() & FEATURE(RO));
	end();
	close(image);
}

Test(virtio_blk_config, a_small_ring_promises_no_more_than_it_holds)
{
	make_file_in("/tmp");
	fake_init(&fake, EVENT_LOOP_EPOLL);
	create_with((struct virtio_blk_params){ .queue_size = 16 });
	cr_expect_eq(config().seg_max, 14);
	end();
}

/* Durability: what the engine is asked for, seen by a layer in between -------------------------*/

static enum blk_op asked[8];
static bool durable[8];
static unsigned int asked_count;
static struct blk_backend *below;

static void watch_submit(struct blk_backend *backend, struct blk_io *io)
{
	(void)backend;
	asked[asked_count % 8] = io->kind;
	durable[asked_count++ % 8] = io->durable;
	blk_backend_submit(below, io);
}

static void watch_destroy(struct blk_backend *backend)
{
	(void)backend;
	blk_backend_destroy(below);
}

static void watch_stop(struct blk_backend *backend)
{
	(void)backend;
	blk_backend_stop(below);
}

static int watch_start(struct blk_backend *backend)
{
	(void)backend;
	return blk_backend_start(below);
}

static void watch(void)
{
	static const struct blk_backend_ops ops = { .submit = watch_submit,
						    .start = watch_start,
						    .stop = watch_stop,
						    .destroy = watch_destroy };
	static struct blk_backend watcher = { .ops = &ops };

	below = drive()->backend;
	drive()->backend = &watcher;
}

BOTH(a_driver_that_can_flush_writes_to_the_cache, .num_queues = 1)
{
	watch();
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 8, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_OK);
	cr_expect(asked_count == 2 && asked[0] == BLK_WRITE && !durable[0]);
	cr_expect_eq(asked[1], BLK_FLUSH);
}

BOTH(a_driver_that_cannot_flush_writes_to_the_disk, .num_queues = 1)
{
	fake_drive(&fake, FEATURE(WRITE_ZEROES), 64);
	watch();
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 8, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect(asked_count == 1 && durable[0]);
	cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
	cr_expect(asked_count == 3 && asked[1] == BLK_ZERO && asked[2] == BLK_FLUSH);
}

BOTH(unsafe_promises_nothing, .unsafe = true)
{
	cr_expect_not(offered() & FEATURE(FLUSH));
	watch();
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 8, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 0), VIRTIO_BLK_S_OK);
	cr_expect(asked_count == 2 && !durable[0]);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_UNSUPP);
}

/* Queues -----------------------------------------------------------------------------------------*/

BOTH(queues_of_1024, .queue_size = 1024)
{
	struct vring_used_elem elem;

	fake_drive(&fake, INDIRECT | FEATURE(FLUSH), 1024);
	for (unsigned int i = 0; i < 1024; i++) {
		const struct fake_buffer buffers[] = { { HEADER + 0x2000 + i * 16, 16, false },
						       { DATA + i * 512, 512, true },
						       { STATUS + i, 1, true } };

		set_header(HEADER + 0x2000 + i * 16, VIRTIO_BLK_T_IN, i);
		fake_indirect(&fake, FAKE_HIGH + i * 64, buffers, 3);
	}
	fake_kick(&fake);
	for (unsigned int i = 0; i < 1024; i++)
		cr_assert(fake_wait_used(&fake, &elem));
	for (unsigned int i = 0; i < 1024; i++)
		cr_assert_eq(*(uint64_t *)fake_ptr(&fake, DATA + i * 512, 8), i);
}

/* A second and a third queue beside the first: copies of the driver with rings of their own. */
static struct fake_driver other_queue(unsigned int queue)
{
	struct fake_driver other = fake;

	fake_place_rings_at(&other, FAKE_DESC + 0x8000 + queue * 0x1000, 64);
	other.queue = queue;
	return other;
}

BOTH(several_queues, .num_queues = 3, .queue_size = 64)
{
	struct fake_driver second, third;
	struct fake_driver *queues[3] = { &fake, &second, &third };
	struct vring_used_elem elem;

	cr_expect(offered() & FEATURE(MQ));
	cr_expect_eq(config().num_queues, 3);
	fake_place_rings(&fake, 64);
	cr_assert(fake_negotiate(&fake, FEATURE(MQ) | FEATURE(FLUSH) | INDIRECT |
						1ull << VIRTIO_F_VERSION_1));
	second = other_queue(1);
	third = other_queue(2);
	for (unsigned int i = 0; i < 3; i++)
		cr_assert(fake_setup_queue(queues[i]));
	fake_write(&fake, VIRTIO_MMIO_QUEUE_SEL, 3);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15);

	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 3 * 64; i++) {
			struct fake_driver *queue = queues[i % 3];
			const struct fake_buffer buffers[] = { { HEADER + 0x2000 + i * 16, 16,
								 false },
							       { DATA + i * 512, 512, true },
							       { STATUS + i, 1, true } };

			set_header(HEADER + 0x2000 + i * 16, VIRTIO_BLK_T_IN, i + round);
			fake_indirect(queue, FAKE_HIGH + i * 64, buffers, 3);
			if (i >= 3 * 63)
				fake_kick(queue);
		}
		for (unsigned int i = 0; i < 3 * 64; i++)
			cr_assert(fake_wait_used(queues[i % 3], &elem));
		for (unsigned int i = 0; i < 3 * 64; i++)
			cr_assert_eq(*(uint64_t *)fake_ptr(&fake, DATA + i * 512, 8), i + round);
	}
	cr_expect_eq(device_status(), 15);
}

/* A device that nobody uses costs no memory for its requests, however large its queues. */
Test(virtio_blk_config, idle_requests_are_not_there)
{
	unsigned char *resident;
	size_t pages, touched = 0;

	make_file_in("/tmp");
	fake_init(&fake, EVENT_LOOP_EPOLL);
	create_with((struct virtio_blk_params){ .num_queues = 32, .queue_size = 1024 });
	fake_drive(&fake, FEATURE(FLUSH), 256);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	pages = align_up(drive()->requests_bytes, PAGE_SIZE) / PAGE_SIZE;
	resident = calloc(pages, 1);
	cr_assert_eq(mincore(drive()->requests, drive()->requests_bytes, resident), 0);
	for (size_t i = 0; i < pages; i++)
		touched += resident[i] & 1;
	cr_expect_leq(touched, 3, "%lu of %lu pages", touched, pages);
	free(resident);
	end();
}

/* Size -------------------------------------------------------------------------------------------*/

/* The same file again, as a client does whose image has another size now. */
static int look_again(struct error *err)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	return virtio_blk_set_backing(fake.dev, path, -1, err);
}

BOTH(a_file_that_has_grown, .num_queues = 1)
{
	const uint32_t generation = fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION);
	struct error err = { 0 };

	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);

	cr_assert_eq(ftruncate(file, (SECTORS + 8) * 512), 0);
	cr_expect_eq(look_again(&err), 0, "%s", err.text);
	cr_expect_eq(config().capacity, SECTORS + 8);
	cr_expect_neq(fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	cr_expect(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS + 7, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS + 8, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
}

BOTH(a_file_that_has_shrunk, .num_queues = 1)
{
	struct error err = { 0 };

	cr_assert_eq(ftruncate(file, 100 * 512 + 17), 0);
	cr_expect_eq(look_again(&err), 0, "%s", err.text);
	cr_expect_eq(config().capacity, 100);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 99, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 100, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
}

/* Where it goes by pages: a filesystem in memory, since Linux 6.6. */
ENGINES_IN("/dev/shm", virtio_blk_config, a_size_that_direct_io_cannot_reach, .num_queues = 1)
{
	struct error err = { 0 };

	drive()->file->direct = true;
	cr_assert_eq(ftruncate(file, (SECTORS + 1) * 512), 0);
	cr_expect_eq(look_again(&err), -EINVAL);
	if (!strstr(err.text, "has no direct I/O"))
		cr_expect(strstr(err.text, "no multiple of 4096, the unit of direct I/O"), "%s",
			  err.text);
	cr_expect_eq(config().capacity, SECTORS);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS - 1, DATA, 512, NULL), VIRTIO_BLK_S_OK);
}
