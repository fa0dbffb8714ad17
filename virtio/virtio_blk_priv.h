/* Private to virtio/virtio_blk*.c (and tests): a drive and a request. All of it is the loop's. */
#pragma once

#include <linux/virtio_blk.h>

#include "virtio/blk_backend.h"
#include "virtio/virtio_blk.h"

#define BLK_QUEUE_SIZE_DEFAULT 256u

/* As many data segments as we promise in seg_max, and room for a header that the driver cut up
 * in any way (2.7.4: framing means nothing) and for the status. */
#define BLK_SEG_MAX 126u
#define BLK_IOV_MAX (BLK_SEG_MAX + sizeof(struct virtio_blk_outhdr) + 1)

/* Lives from pop to push. There is one for every ring entry, so a free one is always there. */
struct blk_request {
	struct blk_io io;
	struct virtio_queue *queue;
	struct blk_request *next_free;
	uint8_t *status;   /* in guest memory */
	uint64_t zero_at;  /* zeroes that are written as data: from here ... */
	uint64_t zero_end; /* ... to here, bytes */
	uint32_t written;  /* bytes the guest may look at if it succeeds, the status included */
	uint16_t head;
	struct iovec iov[BLK_IOV_MAX];
};

struct virtio_blk {
	struct virtio_device dev;
	struct virtio_blk_config config; /* what the guest reads; capacity changes under the lock */
	struct blk_file file;
	struct blk_backend *backend;
	bool unsafe;
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
};

static inline struct virtio_blk *blk_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_blk, dev);
}

/* virtio_blk.c: what every kind of request needs. */

/* Writes the status and hands the chain back. The request is gone. */
void blk_complete(struct blk_request *request, uint8_t status);

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
