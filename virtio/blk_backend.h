/*
 * What a disk is to the devices above it: requests in, completions out. It knows no virtio; the
 * device above knows no files. A backend belongs to one event loop: everything here runs on its
 * thread, but for creation and blk_backend_destroy() (control thread, with nothing in flight).
 */
#pragma once

#include <sys/uio.h>

#include "base/event_loop.h"
#include "virtio/blk_file.h"

enum blk_op {
	BLK_READ,
	BLK_WRITE,
	BLK_FLUSH, /* what was complete before it is on stable storage after it */
};

/* One request; embedded in its owner's, alive until done() has run. */
struct blk_io {
	/* The caller's. iov may lie in guest memory, is changed on the way (short transfers), and
	 * offset + bytes of iov is within the disk: the caller checks. */
	enum blk_op kind;
	bool durable;	 /* a write: on stable storage before it completes */
	uint64_t offset; /* bytes */
	struct iovec *iov;
	unsigned int iov_count;
	/* ret: 0 or a negative errno. May run before blk_backend_submit() has returned. */
	void (*done)(struct blk_io *io, int ret);

	/* The backend's. */
	struct blk_backend *backend;
	struct loop_op op;
	struct blk_io *next;
	int64_t result;
};

struct blk_backend_ops {
	const char *name; /* for messages */
	/* Arms what it waits on; and lets go of it, with nothing in flight. May be NULL. */
	int (*start)(struct blk_backend *backend);
	void (*stop)(struct blk_backend *backend);
	void (*submit)(struct blk_backend *backend, struct blk_io *io);
	void (*destroy)(struct blk_backend *backend);
};

struct blk_backend {
	const struct blk_backend_ops *ops;
	struct blk_file file; /* owned */
	struct event_loop *loop;
};

/* Takes the file over, on success only. On a loop with a ring: io_uring; else worker threads. */
must_check int blk_backend_create(struct blk_backend **out, struct blk_file *file,
				  struct event_loop *loop, struct error *err);

/* The two, for tests and for those who must choose. blk_uring_create() wants a loop with a ring. */
must_check int blk_uring_create(struct blk_backend **out, struct blk_file *file,
				struct event_loop *loop, struct error *err);
must_check int blk_threads_create(struct blk_backend **out, struct blk_file *file,
				  struct event_loop *loop, struct error *err);

static inline void blk_backend_submit(struct blk_backend *backend, struct blk_io *io)
{
	io->backend = backend;
	backend->ops->submit(backend, io);
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

/* For backends: `result` bytes were moved (or -errno). True when the request is done with *ret;
 * false when there is a rest to submit, which io now describes. */
must_check bool blk_io_progress(struct blk_io *io, int64_t result, int *ret);
