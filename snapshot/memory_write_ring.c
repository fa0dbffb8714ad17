/*
 * Guest memory written by the ring of an idle loop. Its thread looks for extents, submits, and with each completion goes
 * on; whoever asked has the disk begin meanwhile, waits, and tells how far it is.
 *
 * The I/O loop's ring and not one of our own: it is there, its devices have been drained, and one that is made at the
 * start would cost every start for what few do. Through the page cache, which the clones of the snapshot share.
 * Measured by benches/save.c (two busy processors, 512 MiB with the fsync, in turn, median and minimum of 9, ms):
 *
 *                                  ext4         tmpfs        tmpfs, every other 64 KiB
 *   pwrite, sync_file_range        441   269    443   309    841   544
 *   ring, sync_file_range          295   245    291   236    452   250
 *   ring, O_DIRECT                 390   355    338   229    385   244
 *
 * O_DIRECT takes a third of the processor time on ext4 (48 ms beside 163 and 127), and then the first clone reads all
 * of it from the disk: 995 ms beside 17. Writes of 4 MiB were slower than of 1 MiB, by ten times on some runs, and eight
 * at once as fast as 4 or 32. Without the push every 10 ms the disk begins when all is copied: 510 ms of 1 GiB beside 410.
 */
#include <fcntl.h>
#include <liburing.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "base/event_loop.h"
#include "snapshot/memory_write_priv.h"

/* At once. The kernel writes to one file by one thread of its own: this many keep it busy while we look for more. */
#define WRITES 8u

/* How long written pages wait, at most, for the disk to begin with them, ns. */
#define PUSH_NS 10000000u

struct ring_writer;

struct ring_write {
	struct loop_op op;
	struct ring_writer *writer;
	struct memory_extent extent; /* what is left of it */
};

/* The loop thread's until `ended`. */
struct ring_writer {
	struct loop_defer start;
	struct memory_cursor *cursor;
	struct ring_write writes[WRITES];
	unsigned int in_flight;
	int ret; /* the first failure: nothing is begun after it */
	sem_t ended;
	_Atomic uint64_t
		high; /* bytes: up to here something has been written; the asker's to read */
};

static int submit(struct ring_write *write)
{
	const struct memory_write *job = write->writer->cursor->write;
	struct io_uring_sqe *sqe = event_loop_sqe(job->loop);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_write(sqe, job->fd, write->extent.from, (unsigned int)write->extent.len,
			    write->extent.at);
	/* At once by a thread of the kernel's: this one would copy it all before it looks for more. */
	sqe->flags |= IOSQE_ASYNC;
	event_loop_submit_op(sqe, &write->op);
	return 0;
}

/* The rest of its extent, or the next one; or it was the last. */
static void go_on(struct ring_write *write)
{
	struct ring_writer *writer = write->writer;

	if (writer->ret == 0 &&
	    (write->extent.len > 0 || memory_cursor_next(writer->cursor, &write->extent))) {
		writer->ret = submit(write);
		if (writer->ret == 0)
			return;
	}
	if (--writer->in_flight == 0)
		sem_post(&writer->ended);
}

static void advance(struct ring_write *write, uint64_t bytes)
{
	struct memory_extent *extent = &write->extent;
	struct ring_writer *writer = write->writer;

	extent->from += bytes;
	extent->at += bytes;
	extent->len -= bytes;
	if (extent->at > atomic_load_explicit(&writer->high, memory_order_relaxed))
		atomic_store_explicit(&writer->high, extent->at, memory_order_relaxed);
}

static void written(struct loop_op *op, int32_t res, uint32_t flags)
{
	struct ring_write *write = container_of(op, struct ring_write, op);
	struct ring_writer *writer = write->writer;

	(void)flags;
	if (res > 0)
		advance(write, (uint64_t)res);
	else if (res != -EINTR && writer->ret == 0)
		writer->ret = res < 0 ? res : -EIO;
	go_on(write);
}

static void start(struct loop_defer *defer)
{
	struct ring_writer *writer = container_of(defer, struct ring_writer, start);

	writer->in_flight = WRITES;
	for (unsigned int i = 0; i < WRITES; i++) {
		writer->writes[i] = (struct ring_write){ .op.done = written, .writer = writer };
		go_on(&writer->writes[i]);
	}
}

/* Guest memory may be long in coming (a pager's): whoever asked does not wait for it in here. */
static int ask(void *arg)
{
	struct ring_writer *writer = arg;

	event_loop_defer(writer->cursor->write->loop, &writer->start);
	return 0;
}

/* sem_timedwait() goes by the wall clock: a step of it puts off a push and a report, and nothing else. */
static bool has_ended(struct ring_writer *writer)
{
	const struct timespec limit = clock_after_ns(CLOCK_REALTIME, PUSH_NS);

	return sem_timedwait(&writer->ended, &limit) == 0;
}

/* The disk works while we look for more; fsync finds little left. A hint: its failure shows there. */
static void push(const struct ring_writer *writer, uint64_t *pushed)
{
	const uint64_t high = atomic_load_explicit(&writer->high, memory_order_relaxed);

	if (high > *pushed)
		(void)sync_file_range(writer->cursor->write->fd, (off_t)*pushed,
				      (off_t)(high - *pushed), SYNC_FILE_RANGE_WRITE);
	*pushed = high;
}

int memory_write_by_ring(struct memory_cursor *cursor)
{
	struct ring_writer writer = { .cursor = cursor, .start.run = start };
	uint64_t told = 0, pushed = 0;

	sem_init(&writer.ended, 0, 0);
	event_loop_call(cursor->write->loop, ask, &writer);
	while (!has_ended(&writer)) {
		const uint64_t now = atomic_load_explicit(&cursor->looked_at, memory_order_relaxed);

		progress_add(cursor->write->progress, (now - told) * PAGE_SIZE);
		told = now;
		push(&writer, &pushed);
	}
	sem_destroy(&writer.ended);
	return writer.ret;
}
