/*
 * The layer for cached files: what the page cache can take or give at once is moved right here, by
 * one preadv2() or pwritev2(), and only what would have to wait goes to the engine. When that pays
 * was measured (benches/blk_ring.c, 4 KiB, ext4 and tmpfs): before worker threads, and where the
 * filesystem has no RWF_NOWAIT (io_uring then uses a thread of the kernel's), always; before an
 * io_uring that completes inline, only for a request that comes alone, as a batch shares one entry
 * into the kernel, or for a large one. What a large one shares is nothing beside its copy, and while
 * that is made here the guest's next requests come into the same batch; of a batch that the kernel
 * is to copy as a whole the guest hears nothing until all of it is done.
 */
#include <linux/magic.h>
#include <sys/resource.h>
#include <sys/vfs.h>

#include "base/clock.h"
#include "base/log.h"
#include "virtio/blk_backend.h"
#include "virtio/iov.h"

/* Larger requests take long enough that the loop's other devices would notice. What a guest's
 * readahead asks for at once (128 KiB) is less. */
#define INLINE_BYTES KIB(256)

/* Beyond it a copy takes so long that entering the kernel for it alone adds 3 % at most (measured). */
#define LARGE_BYTES KIB(32)

/*
 * A write that may wait (see `writes`) and slept for so long sends the others to the engine for a
 * multiple of what it took: the disk is slow, or the kernel throttles whoever dirties its cache,
 * and the loop loses no more than a small part of its time to it. Whether it slept or had merely
 * lost the processor costs a system call to know, so that is asked of the next ones after a slow
 * one only.
 */
#define SLOW_NS 1000000u
#define PAUSE_FACTOR 16u
#define SUSPECTS 64u

enum how {
	NOT_HERE,  /* always by the engine */
	NO_WAIT,   /* RWF_NOWAIT: refused when it would wait */
	MAY_WAIT,  /* without it: the filesystem has no RWF_NOWAIT */
	IN_MEMORY, /* the same, and there is no disk to wait for */
};

struct blk_inline {
	struct blk_backend backend;
	struct blk_backend *engine;
	bool engine_is_inline; /* so is io_uring, where RWF_NOWAIT works */
	enum how reads;
	enum how writes;
	bool writes_known;	      /* `writes` is more than a guess */
	unsigned int suspects;	      /* writes that will be asked whether they slept */
	uint64_t writes_paused_until; /* ns */
	unsigned int long_changes;    /* under way: no write is made here meanwhile */
};

static struct blk_inline *inline_of(struct blk_backend *backend)
{
	return container_of(backend, struct blk_inline, backend);
}

/* How often this thread has waited for anything. */
static long thread_sleeps(void)
{
	struct rusage usage = { 0 };

	getrusage(RUSAGE_THREAD, &usage);
	return usage.ru_nvcsw;
}

/* Whatever is no progress, errors too, is the engine's to find out again and to answer. */
static ssize_t read_now(const struct blk_inline *this, const struct blk_io *io)
{
	const int flags = this->reads == NO_WAIT ? RWF_NOWAIT : 0;

	return preadv2(this->backend.file->fd, io->iov, (int)io->iov_count, (off_t)io->offset,
		       flags);
}

static ssize_t write_that_may_wait(struct blk_inline *this, const struct blk_io *io)
{
	const bool suspect = this->suspects > 0;
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);
	const long sleeps = suspect ? thread_sleeps() : 0;
	uint64_t end;
	ssize_t ret;

	if (start < this->writes_paused_until)
		return -1;
	ret = pwritev2(this->backend.file->fd, io->iov, (int)io->iov_count, (off_t)io->offset, 0);
	end = clock_now_ns(CLOCK_MONOTONIC);
	if (suspect)
		this->suspects--;
	if (end - start < SLOW_NS)
		return ret;
	if (suspect && thread_sleeps() > sleeps)
		this->writes_paused_until = end + (end - start) * PAUSE_FACTOR;
	this->suspects = SUSPECTS;
	return ret;
}

static ssize_t write_now(struct blk_inline *this, const struct blk_io *io)
{
	const int flags = this->writes == NO_WAIT ? RWF_NOWAIT : 0;
	ssize_t ret;

	if (io->durable)
		return -1;
	if (this->writes == MAY_WAIT)
		return write_that_may_wait(this, io);
	ret = pwritev2(this->backend.file->fd, io->iov, (int)io->iov_count, (off_t)io->offset,
		       flags);
	/* Only a write can tell: some filesystems have it for reads, or for direct I/O, alone. */
	this->writes_known = true;
	if (ret < 0 && errno == EOPNOTSUPP) {
		this->writes = MAY_WAIT;
		log_info(
			"drive %s: no RWF_NOWAIT for writes to its file; they are made by the loop",
			this->backend.file->drive);
	}
	return ret;
}

static bool pays(const struct blk_inline *this, const struct blk_io *io)
{
	const bool is_write = io->kind == BLK_WRITE;
	const enum how how = is_write ? this->writes : this->reads;
	const size_t bytes = iov_bytes(io->iov, io->iov_count);

	if ((!is_write && io->kind != BLK_READ) || how == NOT_HERE || bytes > INLINE_BYTES ||
	    (is_write && this->long_changes > 0))
		return false;
	return how >= MAY_WAIT || !this->engine_is_inline || io->alone || bytes > LARGE_BYTES ||
	       (is_write && !this->writes_known);
}

/* What changes much keeps the file's lock for long, and the loop would sleep on it with the next small write. */
static bool is_long_change(const struct blk_io *io)
{
	return blk_io_changes(io) &&
	       (io->kind != BLK_WRITE || iov_bytes(io->iov, io->iov_count) > INLINE_BYTES);
}

static void long_change_done(struct blk_io *io, int ret)
{
	inline_of(io->layer)->long_changes--;
	io->done = io->layer_done;
	io->done(io, ret);
}

static void note_long_change(struct blk_inline *this, struct blk_io *io)
{
	this->long_changes++;
	io->layer = &this->backend;
	io->layer_done = io->done;
	io->done = long_change_done;
}

static void submit(struct blk_backend *backend, struct blk_io *io)
{
	struct blk_inline *this = inline_of(backend);
	ssize_t moved = -1;
	int ret;

	if (is_long_change(io))
		note_long_change(this, io);
	if (pays(this, io))
		moved = io->kind == BLK_READ ? read_now(this, io) : write_now(this, io);
	if (moved > 0 && blk_io_progress(io, moved, &ret))
		io->done(io, ret);
	else
		blk_backend_submit(this->engine, io);
}

/* A write that waited makes all of them suspect: the next ones may wait where only the loop does. */
static bool at_once(struct blk_backend *backend)
{
	const struct blk_inline *this = inline_of(backend);

	if (this->reads == NOT_HERE)
		return false;
	return this->writes != MAY_WAIT ||
	       (this->suspects == 0 && clock_now_ns(CLOCK_MONOTONIC) >= this->writes_paused_until);
}

/* Life -------------------------------------------------------------------------------------------*/

static int start(struct blk_backend *backend)
{
	return blk_backend_start(inline_of(backend)->engine);
}

static void stop(struct blk_backend *backend)
{
	blk_backend_stop(inline_of(backend)->engine);
}

static void destroy(struct blk_backend *backend)
{
	blk_backend_destroy(inline_of(backend)->engine);
	free(inline_of(backend));
}

static const struct blk_backend_ops ops = {
	.name = "cached",
	.at_once = at_once,
	.start = start,
	.stop = stop,
	.submit = submit,
	.destroy = destroy,
};

/* A filesystem that has no disk behind it: a read never waits, whatever it says of RWF_NOWAIT. */
static bool is_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
}

static void probe(struct blk_inline *this)
{
	const int fd = this->backend.file->fd;
	uint8_t byte;
	struct iovec iov = { &byte, 1 };

	this->reads = this->writes = NO_WAIT;
	if (preadv2(fd, &iov, 1, 0, RWF_NOWAIT) >= 0 || errno != EOPNOTSUPP)
		return;
	this->reads = this->writes = is_memory(fd) ? IN_MEMORY : NOT_HERE;
	log_info("drive %s: no RWF_NOWAIT for its file; %s", this->backend.file->drive,
		 this->reads == IN_MEMORY ? "a filesystem in memory, served by the loop"
					  : "everything is left to the engine");
}

int blk_inline_create(struct blk_backend **out, struct blk_backend *engine, struct error *err)
{
	struct blk_inline *this = calloc(1, sizeof(*this));

	if (!this)
		return error_set(err, ENOMEM, "out of memory");
	this->backend = (struct blk_backend){ &ops, engine->file, engine->loop };
	this->engine = engine;
	this->engine_is_inline = event_loop_has_ring(engine->loop);
	probe(this);
	*out = &this->backend;
	return 0;
}
