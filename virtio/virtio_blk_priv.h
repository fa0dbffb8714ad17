/* Private to virtio/virtio_blk*.c (and tests): a drive and a request. All of it is the loop's. */
#pragma once

#include <linux/virtio_blk.h>

#include "virtio/blk_backend.h"
#include "virtio/rate_limiter.h"
#include "virtio/virtio_blk.h"

#define BLK_QUEUE_SIZE_DEFAULT 256u

/* As many data segments as we promise in seg_max, and room for a header that the driver cut up
 * in any way (2.7.4: framing means nothing) and for the status. */
#define BLK_SEG_MAX 126u
#define BLK_IOV_MAX (BLK_SEG_MAX + sizeof(struct virtio_blk_outhdr) + 1)

/* A driver that cuts at this size cuts nothing that Linux sends (1,280 KiB a request at most), and
 * no request of BLK_SEG_MAX such segments keeps a loop for long. */
#define BLK_SIZE_MAX MIB(1)

/*
 * One request's work is bounded: data as much as the segments that we promise have (a ring of 256
 * chains of 4 GiB would keep a pause, or the end, waiting for more than a minute even of the page
 * cache), 2 GiB of a map changed, and zeroes that may have to be written out as data.
 */
#define BLK_BYTES_MAX (BLK_SEG_MAX * BLK_SIZE_MAX)
#define BLK_DISCARD_MAX_SECTORS (1u << 22)
#define BLK_ZEROES_MAX_SECTORS (1u << 18)

/* Lives from pop to push. There is one for every ring entry, so a free one is always there. */
struct blk_request {
	struct blk_io io;
	struct virtio_queue *queue;
	struct blk_request *next_free;
	uint8_t *status;   /* in guest memory */
	uint64_t zero_at;  /* zeroes that are written as data: from here ... */
	uint64_t zero_end; /* ... to here, bytes */
	uint64_t start;	   /* ns: of the turn that it was taken in */
	uint64_t sector;
	uint32_t type;	  /* VIRTIO_BLK_T_* */
	uint32_t bytes;	  /* of data, for reads and writes; else 0 */
	uint32_t written; /* bytes the guest may look at if it succeeds, the status included */
	uint16_t head;
	struct iovec iov[BLK_IOV_MAX];
};

/*
 * The file that a drive had before its present one. A flush that is yet to come promises something about writes that
 * went there too, so flushes wait until it is on stable storage, and nobody else does.
 */
struct blk_before {
	struct blk_file *file; /* NULL: there is none, or nothing was written to it */
	struct blk_backend *backend;
	struct blk_io io;
	bool is_started;	  /* the backend */
	bool is_under_way;	  /* io: counted as in flight */
	bool is_safe;		  /* nothing is owed any more */
	struct blk_request *held; /* flushes */
	struct loop_defer let_go; /* of the file, once it is safe */
	int error; /* that the next flush has yet to be told, of this file or an earlier one; 0 */
};

/* Of virtio_ops.latency_names. */
enum blk_latency {
	BLK_READ_TIMES,
	BLK_WRITE_TIMES,
	BLK_LATENCIES,
};

/* Requests of a kind that were answered in this turn, by when they were begun, ns. */
struct blk_answered {
	uint64_t count;
	uint64_t first, last;
	uint64_t sum; /* modulo 2^64 */
};

struct virtio_blk {
	struct virtio_device dev;
	struct virtio_blk_config config; /* what the guest reads; capacity changes under the lock */
	struct blk_file files[3]; /* this one, the one before, the next: backends point at theirs */
	struct blk_file *file;
	struct blk_backend *backend;
	struct blk_before before;
	bool is_dirty; /* something was written since the file was opened */
	bool unsafe;
	bool tell_config; /* the guest has yet to hear that the configuration space changed */
	char serial[VIRTIO_BLK_ID_BYTES]; /* zero-padded, not terminated when full: 5.2.6.1 */

	/* Found out on the way: the backing has no such operation. */
	bool no_punch, no_zero_range;

	int last_error[BLK_OPS]; /* said already, for each kind of request */
	struct log_limit io_errors;

	/* Touched one after the other: what is never used costs no memory. */
	struct blk_request *requests;
	size_t requests_bytes;
	struct blk_request *free;
	unsigned int fresh; /* requests[fresh...] were never used */
	unsigned int in_flight;
	uint64_t turn_bytes; /* of the queue that is just being served, in this turn */
	uint64_t turn_start; /* ns */

	/* One look at the clock for all that a turn takes, and one for all that it answers. */
	struct blk_answered answered[BLK_LATENCIES];
	struct loop_defer take_times;

	struct rate_limiter limiter; /* of all its queues together */
	unsigned int turn;	     /* which queue goes on first after a wait */
};

/* Of virtio_ops.counter_names. */
enum blk_counter {
	BLK_NO_AVAIL_BUFFER,	 /* notified for nothing */
	BLK_EXECUTE_FAILS,	 /* the host's file failed a request */
	BLK_INVALID_REQS,	 /* asked for what cannot be */
	BLK_FLUSH_COUNT,	 /* these, and reads and writes: done without an error */
	BLK_QUEUE_EVENTS,	 /* notifications */
	BLK_RATE_LIMITER_EVENTS, /* waits for tokens that ended */
	BLK_UPDATE_COUNT,	 /* backing files and limits that were replaced */
	BLK_UPDATE_FAILS,
	BLK_READ_BYTES,
	BLK_WRITE_BYTES,
	BLK_READ_COUNT,
	BLK_WRITE_COUNT,
	BLK_THROTTLED,	      /* times that a queue had to wait for tokens */
	BLK_ENGINE_THROTTLED, /* requests that the kernel had no memory for */
	BLK_REMAINING_REQS,   /* what was left in the queue then */
	BLK_COUNTERS,
};

static inline struct virtio_blk *blk_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/* virtio_blk.c: what every kind of request needs. */

/* Writes the status and hands the chain back. The request is gone. */
void blk_complete(struct blk_request *request, uint8_t status);

/* The same for one that the driver should not have made. */
void blk_refuse(struct blk_request *request, uint8_t status);

/* A backend's answer that ends the request: logged if it is an error, and completed. */
void blk_io_done(struct blk_io *io, int ret);

/* Hands the request's io, filled in but for what follows from `kind`, to the backend. */
void blk_submit(struct virtio_blk *blk, struct blk_request *request, enum blk_op kind,
		void (*done)(struct blk_io *io, int ret));

/* Is [sector, sector + bytes / 512) on the disk, and bytes a multiple of 512? */
bool blk_in_range(const struct virtio_blk *blk, uint64_t sector, uint64_t bytes);

/* virtio_blk_range.c: io.iov is what the driver sent after the header. */
void blk_discard(struct virtio_blk *blk, struct blk_request *request);
void blk_write_zeroes(struct virtio_blk *blk, struct blk_request *request);

/* virtio_blk_config.c: fills in the configuration space; returns the features to offer. */
uint64_t blk_describe(struct virtio_blk *blk, unsigned int num_queues, unsigned int queue_size);

/* virtio_blk_update.c: under the lock; *sectors is the new capacity, a uint64_t. */
void blk_set_capacity(struct virtio_device *dev, const void *sectors);

/* virtio_blk.c: the end of a turn in which something was answered. */
void blk_take_times(struct loop_defer *defer);

/* virtio_blk.c: tokens came in. */
void blk_resume(struct rate_limiter *limiter);

/* The file before, on the loop: begins with what it owes, when the drive starts; true when a flush has to wait for that
 * and will go on by itself; ends, with nothing in flight. */
void blk_before_start(struct virtio_blk *blk);
bool blk_before_holds(struct virtio_blk *blk, struct blk_request *request);
void blk_before_stop(struct virtio_blk *blk);
/* After the stop, on the loop's thread or with the drive stopped. */
void blk_before_free(struct virtio_blk *blk);

/* virtio_blk_create.c */
void blk_free(struct virtio_device *dev);

/* Opens file and engine into the given places; what failed left nothing open. */
must_check int blk_open_backing(const struct blk_file_params *params, struct event_loop *loop,
				struct blk_file *file, struct blk_backend **backend,
				struct error *err);

/* virtio_blk_state.c */
extern const struct state_desc blk_state_desc;
void blk_save(struct virtio_device *dev, void *state);
int blk_load(struct virtio_device *dev, const void *state, struct error *err);

/* virtio_blk.c: what the device core calls. */
extern const struct virtio_ops blk_ops;
