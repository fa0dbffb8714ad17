/*
 * What a disk is to the devices above it: requests in, completions out. It knows no virtio; the
 * device above knows no files. Two kinds of engine do the work (io_uring, worker threads), and
 * layers over them do what an engine need not know:
 *
 *   device -> blk_inline (what needs no waiting)     -> engine        cached files
 *          -> blk_direct (what is not aligned)       -> engine        O_DIRECT
 *
 * A backend belongs to one event loop: everything here runs on its thread, but for creation (control thread) and
 * blk_backend_destroy() (either, once stopped).
 */
#pragma once

#include <sys/uio.h>

#include "base/event_loop.h"
#include "virtio/blk_file.h"

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH,   /* what was complete before it is on stable storage after it */
	BLK_DISCARD, /* the content does not matter any more */
	BLK_PUNCH,   /* reads as zeroes from now on, and the space is free */
	BLK_ZERO,    /* reads as zeroes from now on, and the space stays */
	BLK_OPS,
};

struct blk_backend;

/* One request; embedded in its owner's, alive until done() has run. */
struct blk_io {
	/* The caller's. iov may lie in guest memory, is changed on the way (short transfers), and
	 * offset + bytes of iov (or length) is within the disk: the caller checks. */
	enum blk_op kind;
	bool durable;	 /* a write: on stable storage before it completes */
	bool alone;	 /* nothing else is under way or known to follow: a batch gains nothing */
	uint64_t offset; /* bytes */
	uint64_t length; /* bytes; of what has no data: discard, punch, zero */
	struct iovec *iov;
	unsigned int iov_count;
	/* ret: 0 or a negative errno; -EOPNOTSUPP for a punch or zero that is not to be had here.
	 * May run before blk_backend_submit() has returned. */
	void (*done)(struct blk_io *io, int ret);

	/* The engine's. */
	struct blk_backend *backend;
	struct loop_op op;
	struct blk_io *next;
	int64_t result;

	/* A layer's, of which a request passes through one. */
	struct blk_backend *layer;
	void (*layer_done)(struct blk_io *io, int ret);
	bool bounces, patches;
};

/* Does it change what is on the disk? */
static inline bool blk_io_changes(const struct blk_io *io)
{
	return io->kind != BLK_READ && io->kind != BLK_FLUSH;
}

struct blk_backend_ops {
	const char *name; /* for messages */
	/* Arms what it waits on; and lets go of it, with nothing in flight. May be NULL. */
	int (*start)(struct blk_backend *backend);
	void (*stop)(struct blk_backend *backend);
	void (*submit)(struct blk_backend *backend, struct blk_io *io);
	/* Does submit() move small requests here and now, and wait for nothing? As far as is known. NULL: no. */
	bool (*at_once)(struct blk_backend *backend);
	void (*destroy)(struct blk_backend *backend);
};

struct blk_backend {
	const struct blk_backend_ops *ops;
	const struct blk_file *file; /* the creator's; outlives the backend */
	struct event_loop *loop;
};

/* Engine and layer for this file on this loop: io_uring if the loop has a ring, else threads. */
must_check int blk_backend_create(struct blk_backend **out, const struct blk_file *file,
				  struct event_loop *loop, struct error *err);

/* The engines. blk_uring_create() wants a loop with a ring; -EOPNOTSUPP, and *err names it, when
 * the kernel's io_uring lacks an operation. */
must_check int blk_uring_create(struct blk_backend **out, const struct blk_file *file,
				struct event_loop *loop, struct error *err);
must_check int blk_threads_create(struct blk_backend **out, const struct blk_file *file,
				  struct event_loop *loop, struct error *err);

/* The layers. They own the engine from here on, but not when they fail. */
must_check int blk_direct_create(struct blk_backend **out, struct blk_backend *engine,
				 struct error *err);
must_check int blk_inline_create(struct blk_backend **out, struct blk_backend *engine,
				 struct error *err);

static inline void blk_backend_submit(struct blk_backend *backend, struct blk_io *io)
{
	io->backend = backend;
	backend->ops->submit(backend, io);
}

static inline bool blk_backend_at_once(struct blk_backend *backend)
{
	return backend->ops->at_once && backend->ops->at_once(backend);
}

static inline int blk_backend_start(struct blk_backend *backend)
{
	return backend->ops->start ? backend->ops->start(backend) : 0;
}

static inline void blk_backend_stop(struct blk_backend *backend)
{
	if (backend->ops->stop)
		backend->ops->stop(backend);
}

static inline void blk_backend_destroy(struct blk_backend *backend)
{
	if (backend)
		backend->ops->destroy(backend);
}

/* For engines: `result` bytes were moved (or -errno). True when the request is done with *ret;
 * false when there is a rest to submit, which io now describes. */
must_check bool blk_io_progress(struct blk_io *io, int64_t result, int *ret);
