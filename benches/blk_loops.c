/*
 * Two busy drives on one I/O thread and on two: 4 KiB reads of page-cache-hot files over real
 * rings. No guest: what answers the interrupt offers the next batch, on the drive's own thread, so
 * nothing but the I/O threads runs.
 *
 *   blk_loops FOLDER RUNS      where the files are made; prints `loops=N iops=N` for each run, in turn
 */
#include <err.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "benches/cached_file.h"
#include "tests/unit/fake_driver.c" /* the library holds no test code */
#include "virtio/virtio_blk.h"

#define DEPTH 32u
#define RUN_US 300000u
#define SETTLE_US 20000u
#define DRIVES 2

#define HEADERS FAKE_DATA
#define STATUSES 0x9000u

struct drive {
	struct fake_driver fake;
	int fd;
	uint32_t random;
	unsigned int in_flight;
	atomic_bool stopping;
	atomic_ulong completed;
};

static struct drive drives[DRIVES];

static void offer_batch(struct drive *drive)
{
	struct fake_driver *fake = &drive->fake;

	for (unsigned int i = 0; i < DEPTH; i++) {
		struct virtio_blk_outhdr *header = fake_ptr(fake, HEADERS + i * 16, 16);

		drive->random = drive->random * 1664525u + 1013904223u;
		header->sector = (uint64_t)((drive->random >> 8) % BLOCKS) * (BLOCK / 512);
		fake_offer(fake, (uint16_t)(i * 3));
	}
	drive->in_flight = DEPTH;
	fake_kick(fake);
}

/* On the drive's loop: there is no event index, so each batch of answers is told. */
static void answered(struct irq_line *line)
{
	struct drive *drive = container_of(line, struct drive, fake.irq);
	struct vring_used_elem elem;

	while (fake_used(&drive->fake, &elem)) {
		drive->in_flight--;
		atomic_fetch_add_explicit(&drive->completed, 1, memory_order_relaxed);
	}
	if (drive->in_flight == 0 && !atomic_load(&drive->stopping))
		offer_batch(drive);
}

/* Header, data, status, the same descriptors each time. */
static void prepare_slots(struct fake_driver *fake)
{
	for (unsigned int i = 0; i < DEPTH; i++) {
		const uint16_t at = (uint16_t)(i * 3);

		fake_desc(fake, at,
			  (struct vring_desc){ HEADERS + i * 16, 16, VRING_DESC_F_NEXT,
					       (uint16_t)(at + 1) });
		fake_desc(fake, (uint16_t)(at + 1),
			  (struct vring_desc){ FAKE_HIGH + i * BLOCK, BLOCK,
					       VRING_DESC_F_NEXT | VRING_DESC_F_WRITE,
					       (uint16_t)(at + 2) });
		fake_desc(fake, (uint16_t)(at + 2),
			  (struct vring_desc){ STATUSES + i, 1, VRING_DESC_F_WRITE, 0 });
	}
}

static void start_drive(struct drive *drive, struct event_loop *loop)
{
	const struct virtio_blk_params params = { .name = "drive", .fd = dup(drive->fd) };
	struct fake_driver *fake = &drive->fake;
	struct error err;

	if (loop) {
		init_memory(fake);
		fake->loop = loop;
	} else {
		fake_init_started(fake, EVENT_LOOP_URING);
	}
	fake->irq.raise = answered;
	atomic_store(&drive->stopping, false);
	atomic_store(&drive->completed, 0);
	if (virtio_blk_create(&fake->dev, &params, &fake->mem, fake->loop, &fake->irq, &err) < 0)
		errx(1, "%s", err.text);
	fake_drive(fake, 1ull << VIRTIO_BLK_F_FLUSH, 256);
	prepare_slots(fake);
}

static unsigned long completed(void)
{
	unsigned long sum = 0;

	for (int i = 0; i < DRIVES; i++)
		sum += atomic_load(&drives[i].completed);
	return sum;
}

static double now_us(void)
{
	return (double)clock_now_ns(CLOCK_MONOTONIC) / 1e3;
}

/* The first batch is offered by this thread, before the loop has anything to do with the ring. */
static double measure(void)
{
	unsigned long before;
	double start, iops;

	for (int i = 0; i < DRIVES; i++)
		offer_batch(&drives[i]);
	usleep(SETTLE_US);
	before = completed();
	start = now_us();
	usleep(RUN_US);
	iops = (double)(completed() - before) * 1e6 / (now_us() - start);
	for (int i = 0; i < DRIVES; i++)
		atomic_store(&drives[i].stopping, true);
	usleep(SETTLE_US);
	return iops;
}

static void run(unsigned int loops)
{
	start_drive(&drives[0], NULL);
	start_drive(&drives[1], loops == 1 ? drives[0].fake.loop : NULL);
	printf("loops=%u iops=%.0f\n", loops, measure());
	fflush(stdout);
	virtio_device_destroy(drives[1].fake.dev);
	if (loops == 2)
		event_loop_destroy(drives[1].fake.loop);
	guest_memory_fini(&drives[1].fake.mem);
	fake_fini(&drives[0].fake);
}

int main(int argc, char *argv[])
{
	const unsigned long runs = argc > 2 ? strtoul(argv[2], NULL, 10) : 5;

	for (int i = 0; i < DRIVES; i++)
		drives[i].fd = make_cached_file(argc > 1 ? argv[1] : "/tmp");
	for (unsigned long i = 0; i < runs; i++) {
		run(1);
		run(2);
	}
	return 0;
}
