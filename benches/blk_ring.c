/*
 * What the block device adds to io_uring: 4 KiB random reads and writes of a page-cache-hot file,
 * by a driver in this very thread over real rings, against a bare liburing loop that does the
 * same. No guest and no wake-up of another thread: nanoseconds of processor
 * time per request, those of io_uring's and of our worker threads included.
 *
 *   blk_ring [FOLDER [ROUNDS]]      where the file is made (/tmp), and how often all is measured
 *   blk_ring FOLDER ROUNDS seccomp  the notified device alone, without and with the filter of I/O threads
 *
 * The device's figures contain the driver's part, writing descriptors. "By hand" the queue is served
 * by a call, so that what is measured is the device; "notified" adds what the hypervisor does for a
 * guest, an eventfd write for each batch and the wake-up from it.
 */
#include <err.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/thread.h"
#include "jailer/guard.h"
#include "tests/unit/fake_driver.c" /* the library holds no test code */
#include "virtio/virtio_blk.h"

#define BLOCK 4096u
#define BLOCKS 8192u /* 32 MiB */
#define REQUESTS 100000u
#define ROUNDS_MAX 32

static double now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static uint64_t random_block(void)
{
	static uint32_t state = 1;

	state = state * 1664525u + 1013904223u;
	return (state >> 8) % BLOCKS;
}

/* Bare -------------------------------------------------------------------------------------------*/

static void bare_batch(struct io_uring *ring, int fd, char *buffers, unsigned int depth, bool write)
{
	unsigned int left = depth;

	for (unsigned int i = 0; i < depth; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

		if (!sqe)
			errx(1, "no submission entry");
		if (write)
			io_uring_prep_write(sqe, fd, buffers + (size_t)i * BLOCK, BLOCK,
					    random_block() * BLOCK);
		else
			io_uring_prep_read(sqe, fd, buffers + (size_t)i * BLOCK, BLOCK,
					   random_block() * BLOCK);
		io_uring_sqe_set_data(sqe, buffers);
	}
	while (left > 0) {
		struct io_uring_cqe *cqe;

		io_uring_submit_and_wait(ring, 1);
		for (; left > 0 && io_uring_peek_cqe(ring, &cqe) == 0; left--) {
			if (cqe->res != BLOCK)
				errx(1, "short transfer");
			io_uring_cqe_seen(ring, cqe);
		}
	}
}

static double bare(int fd, unsigned int depth, bool write)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER |
						   IORING_SETUP_DEFER_TASKRUN };
	char *buffers = aligned_alloc(BLOCK, (size_t)depth * BLOCK);
	struct io_uring ring;
	double start;

	if (!buffers || io_uring_queue_init_params(128, &ring, &params) < 0)
		errx(1, "no io_uring");
	memset(buffers, 1, (size_t)depth * BLOCK);
	start = now_ns();
	for (unsigned int done = 0; done < REQUESTS; done += depth)
		bare_batch(&ring, fd, buffers, depth, write);
	start = now_ns() - start;
	io_uring_queue_exit(&ring);
	free(buffers);
	return start / REQUESTS;
}

/* The device -------------------------------------------------------------------------------------*/

static struct fake_driver fake;

#define HEADERS FAKE_DATA
#define STATUSES 0x9000u
#define TABLES 0x60000u

static void open_drive(int fd, enum event_loop_kind kind)
{
	const struct virtio_blk_params params = { .name = "vda", .fd = dup(fd) };
	struct error err;

	fake_init(&fake, kind);
	if (virtio_blk_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err) < 0)
		errx(1, "%s", err.text);
	fake_drive(&fake,
		   1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_RING_F_INDIRECT_DESC |
			   1ull << VIRTIO_RING_F_EVENT_IDX,
		   256);
}

/* As Linux has it: header, data and status by an indirect table that is the same each time. */
static void prepare_slot(unsigned int slot, bool write)
{
	struct vring_desc *table = fake_ptr(&fake, TABLES + slot * 64, 48);

	table[0] = (struct vring_desc){ HEADERS + slot * 16, 16, VRING_DESC_F_NEXT, 1 };
	table[1] = (struct vring_desc){
		FAKE_HIGH + slot * BLOCK, BLOCK,
		(uint16_t)(VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE)), 2
	};
	table[2] = (struct vring_desc){ STATUSES + slot, 1, VRING_DESC_F_WRITE, 0 };
	fake_desc(&fake, (uint16_t)slot,
		  (struct vring_desc){ TABLES + slot * 64, 48, VRING_DESC_F_INDIRECT, 0 });
}

enum kick { BY_HAND, NOTIFIED };

static void device_batch(unsigned int depth, bool write, enum kick kick)
{
	struct vring_used_elem elem;
	unsigned int left = depth;

	for (unsigned int i = 0; i < depth; i++) {
		struct virtio_blk_outhdr *header = fake_ptr(&fake, HEADERS + i * 16, 16);

		header->type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN;
		header->sector = random_block() * (BLOCK / 512);
		fake_offer(&fake, (uint16_t)i);
	}
	fake.avail->ring[256] = (uint16_t)(fake.last_used + depth - 1); /* one interrupt a batch */
	if (kick == NOTIFIED)
		fake_kick(&fake);
	else
		fake.dev->ops->notify(&fake.dev->queues[0]);
	/* By hand all may be done without anything to wait for. */
	for (bool wait = kick == NOTIFIED; left > 0; wait = true) {
		event_loop_run_once(fake.loop, wait);
		while (left > 0 && fake_used(&fake, &elem))
			left--;
	}
}

static double device(int fd, enum event_loop_kind kind, unsigned int depth, bool write,
		     enum kick kick)
{
	struct error err;
	double start;

	open_drive(fd, kind);
	for (unsigned int i = 0; i < depth; i++)
		prepare_slot(i, write);
	event_loop_run_once(fake.loop, false);
	/* The ring is there: from here on an I/O thread is armed. Without a guard this does nothing. */
	if (thread_arm(THREAD_IO, &err) < 0)
		errx(1, "%s", err.text);
	start = now_ns();
	for (unsigned int done = 0; done < REQUESTS; done += depth)
		device_batch(depth, write, kick);
	start = now_ns() - start;
	fake_fini(&fake);
	return start / REQUESTS;
}

/* The notification alone: an eventfd write and the loop that wakes to an empty ring. */
static double notification(int fd)
{
	double start;

	open_drive(fd, EVENT_LOOP_URING);
	event_loop_run_once(fake.loop, false);
	start = now_ns();
	for (unsigned int done = 0; done < REQUESTS; done++) {
		fake_kick(&fake);
		event_loop_run_once(fake.loop, true);
	}
	start = now_ns() - start;
	fake_fini(&fake);
	return start / REQUESTS;
}

/* ------------------------------------------------------------------------------------------------*/

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values, unsigned int n)
{
	qsort(values, n, sizeof(*values), by_value);
	return values[n / 2];
}

/* In a child, since a filter stays: ns per request. */
static double in_child(int fd, unsigned int depth, bool armed)
{
	const struct guard_options options = { .no_seccomp = !armed };
	struct error err;
	double result = 0;
	int ends[2], status;
	pid_t pid;

	if (pipe(ends) < 0 || (pid = fork()) < 0)
		errx(1, "no child");
	if (pid == 0) {
		if (guard_setup(&options, &err) < 0)
			errx(1, "%s", err.text);
		result = device(fd, EVENT_LOOP_URING, depth, false, NOTIFIED);
		_exit(write(ends[1], &result, sizeof(result)) != sizeof(result));
	}
	close(ends[1]);
	if (read(ends[0], &result, sizeof(result)) != sizeof(result) ||
	    waitpid(pid, &status, 0) != pid || status != 0)
		errx(1, "a child that failed");
	close(ends[0]);
	return result;
}

/* In turn; each pair is one round, so that a slow moment hits both. */
static void seccomp_row(int fd, unsigned int depth, unsigned int rounds)
{
	double off[ROUNDS_MAX], on[ROUNDS_MAX], ratio[ROUNDS_MAX];

	for (unsigned int i = 0; i < rounds; i++) {
		bool first = i & 1;

		*(first ? on + i : off + i) = in_child(fd, depth, first);
		*(first ? off + i : on + i) = in_child(fd, depth, !first);
		ratio[i] = on[i] / off[i];
	}
	printf("%5u  %7.0f  %7.0f  %6.4f\n", depth, median(off, rounds), median(on, rounds),
	       median(ratio, rounds));
	fflush(stdout);
}

static void row(int fd, unsigned int depth, bool write, unsigned int rounds)
{
	double plain[ROUNDS_MAX], hand[ROUNDS_MAX], ring[ROUNDS_MAX], threads[ROUNDS_MAX], base;

	for (unsigned int i = 0; i < rounds; i++) {
		plain[i] = bare(fd, depth, write);
		hand[i] = device(fd, EVENT_LOOP_URING, depth, write, BY_HAND);
		ring[i] = device(fd, EVENT_LOOP_URING, depth, write, NOTIFIED);
		threads[i] = device(fd, EVENT_LOOP_EPOLL, depth, write, NOTIFIED);
	}
	base = median(plain, rounds);
	printf("%-5s  %5u  %7.0f  %7.0f %5.2f  %7.0f %5.2f  %7.0f %5.2f\n",
	       write ? "write" : "read", depth, base, median(hand, rounds),
	       median(hand, rounds) / base, median(ring, rounds), median(ring, rounds) / base,
	       median(threads, rounds), median(threads, rounds) / base);
	fflush(stdout);
}

int main(int argc, char *argv[])
{
	const char *folder = argc > 1 ? argv[1] : "/tmp";
	const unsigned int rounds = argc > 2 ? (unsigned int)strtoul(argv[2], NULL, 10) : 5;
	static char block[BLOCK];
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/blk_ring-XXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0 || rounds == 0 || rounds > ROUNDS_MAX)
		err(1, "%s", name);
	unlink(name);
	for (unsigned int i = 0; i < BLOCKS; i++)
		if (write(fd, block, sizeof(block)) != BLOCK)
			err(1, "%s", name);
	fsync(fd);
	if (argc > 3 && strcmp(argv[3], "seccomp") == 0) {
		printf("ns per read of a notified device\ndepth   no filter   filter   ratio\n");
		seccomp_row(fd, 1, rounds);
		seccomp_row(fd, 32, rounds);
		return 0;
	}
	printf("ns per request; a notification of nothing: %.0f\n"
	       "       depth     bare  by hand        notified        no io_uring\n",
	       notification(fd));
	row(fd, 1, false, rounds);
	row(fd, 32, false, rounds);
	row(fd, 1, true, rounds);
	row(fd, 32, true, rounds);
	return 0;
}
