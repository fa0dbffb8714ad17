/* Private to virtio/virtio_balloon*.c (and tests): the balloon. All of it is the loop's, but for `config`, which
 * changes under the device's lock. */
#pragma once

#include <linux/virtio_balloon.h>

#include "base/loop_timer.h"
#include "virtio/virtio_balloon.h"

#define BALLOON_QUEUE_SIZE 256u
#define BALLOON_IOV_MAX BALLOON_QUEUE_SIZE

/* In the order that they are numbered in; those of features that are not offered are left out. */
enum balloon_queue_kind {
	BALLOON_INFLATE,
	BALLOON_DEFLATE,
	BALLOON_STATS,
	BALLOON_HINT,
	BALLOON_REPORT,
	BALLOON_QUEUES,
};

enum balloon_counter {
	BALLOON_INFLATE_COUNT,
	BALLOON_DEFLATE_COUNT,
	BALLOON_EVENT_FAILS,
	BALLOON_STATS_UPDATES_COUNT,
	BALLOON_STATS_UPDATE_FAILS,
	BALLOON_REPORT_COUNT,
	BALLOON_REPORT_FREED,
	BALLOON_REPORT_FAILS,
	BALLOON_HINT_COUNT,
	BALLOON_HINT_FREED,
	BALLOON_HINT_FAILS,
	BALLOON_COUNTERS,
};

/* A chain that is being worked off, a step at a time: a guest may name any number of pages in one. */
struct balloon_work {
	bool busy;
	uint16_t head;
	struct iovec *at; /* what is left of it */
	unsigned int left;
	unsigned int readable; /* of the whole chain */
	struct iovec iov[BALLOON_IOV_MAX];
};

struct virtio_balloon {
	struct virtio_device dev;
	struct virtio_balloon_config config;	       /* what the guest reads */
	enum balloon_queue_kind kinds[BALLOON_QUEUES]; /* of the device's queues, by index */
	struct balloon_work work[BALLOON_QUEUES];      /* by kind */

	/* Statistics. */
	uint16_t stats_interval_s;
	struct virtio_balloon_stats stats; /* the page counts are filled in when asked for */
	struct loop_timer stats_timer;
	struct virtio_queue *stats_queue;
	bool stats_held; /* the guest's buffer waits with us until we want new ones */
	uint16_t stats_head;

	/* Hinting. */
	uint32_t last_run; /* the highest id that was given to a run */
	bool acknowledge_on_stop;
	struct virtio_balloon_hinting hinting;
};

static inline struct virtio_balloon *balloon_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_balloon, dev);
}

/* Pages of 4 KiB that the guest has. */
static inline uint32_t balloon_pages_max(const struct virtio_balloon *balloon)
{
	return (uint32_t)MIN(guest_memory_size(balloon->dev.mem) >> VIRTIO_BALLOON_PFN_SHIFT,
			     (uint64_t)UINT32_MAX);
}

/* virtio_balloon.c: goes on with the queue's chain, or takes the next: 1, 0 or negative as virtqueue_pop(). */
int balloon_take(struct virtio_queue *queue, struct balloon_work *work);
/* The chain is worked off. */
void balloon_finish(struct virtio_queue *queue, struct balloon_work *work);

/* virtio_balloon_pages.c: one step of work each, as virtio_queue_serve() wants it. */
int balloon_serve_inflate(struct virtio_queue *queue);
int balloon_serve_report(struct virtio_queue *queue);
/* Gives back the next few whole pages of what is left, or all of it. Counts bytes and failures. */
void balloon_give_back(struct virtio_balloon *balloon, struct balloon_work *work,
		       enum balloon_counter freed, enum balloon_counter fails);

/* virtio_balloon_stats.c */
int balloon_serve_stats(struct virtio_queue *queue);
void balloon_stats_start(struct virtio_balloon *balloon);
void balloon_stats_stop(struct virtio_balloon *balloon);

/* virtio_balloon_hint.c */
int balloon_serve_hint(struct virtio_queue *queue);

/* virtio_balloon_state.c */
extern const struct state_desc balloon_state_desc;
void balloon_save(struct virtio_device *dev, void *state);
int balloon_load(struct virtio_device *dev, const void *state, struct error *err);
