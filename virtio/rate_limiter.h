/*
 * What a flow of requests may use: bytes and operations, a token bucket each (base/token_bucket.h).
 * A request goes on when both have enough; else its queue is not served until a timer says that
 * they have.
 *
 *   serve():  virtqueue_pop()
 *             if (!rate_limiter_take(&lim, bytes)) {
 *                     virtqueue_unpop(&queue->ring);
 *                     return VIRTIO_SERVE_WAITS;
 *             }
 *   resume(): virtio_queue_resume(queue)   for each queue that the limiter is for
 *
 * So nothing is kept back but the driver's own index: what waits is still in the ring, a reset
 * forgets it, a snapshot has it, and it is read anew when its turn has come.
 *
 * The wait is to the nanosecond, and a timer that is late costs nothing: the request is charged as
 * of the moment at which it could have gone on. While one waits all do, so a small request cannot
 * starve a large one.
 *
 * It is the loop's of its device: everything runs there, but what says otherwise.
 */
#pragma once

#include "base/loop_timer.h"
#include "base/token_bucket.h"
#include "snapshot/state_desc.h"

struct rate_limiter {
	struct token_bucket bytes, ops;
	struct event_loop *loop; /* NULL while stopped */
	struct loop_timer timer; /* made when the first limit is set */
	uint64_t due;		 /* ns: when what waits may go on; 0: nothing waits */
	void (*resume)(struct rate_limiter *limiter);
};

/* Any thread, before all else. Takes a descriptor for its timer if there is a limit. resume(): what waited
 * may be tried again; runs on the loop, never from inside rate_limiter_take(). */
void rate_limiter_init(struct rate_limiter *limiter, const struct rate_config *config,
		       void (*resume)(struct rate_limiter *limiter));

/* From the device's start(). -errno when it needs a timer that it has not got yet and the host has none. */
must_check int rate_limiter_start(struct rate_limiter *limiter, struct event_loop *loop);

/* From the device's stop(): nothing is armed and nobody waits when it returns. The buckets go on
 * filling. Harmless when it was never started. */
void rate_limiter_stop(struct rate_limiter *limiter);

/* Any thread, after all else. Harmless when it is all zero. */
void rate_limiter_fini(struct rate_limiter *limiter);

/*
 * Takes one operation and `bytes` for a request that is about to start. False: it has to wait, as
 * has everything after it; resume() will be called. Where the bytes are known only afterwards
 * (a frame that is read from a tap), take 0 first and rate_limiter_charge() what it was.
 */
must_check bool rate_limiter_take(struct rate_limiter *limiter, uint64_t bytes);

/* More bytes of a request that has been let through, there or not: whoever is next waits longer. */
void rate_limiter_charge(struct rate_limiter *limiter, uint64_t bytes);

/* Gives back what was taken for a request that did not happen: the operation and `bytes`. */
void rate_limiter_put_back(struct rate_limiter *limiter, uint64_t bytes);

/* Is there a limit at all? */
static inline bool rate_limiter_limits(const struct rate_limiter *limiter)
{
	return token_bucket_limits(&limiter->bytes) || token_bucket_limits(&limiter->ops);
}

/* Is something waiting? */
static inline bool rate_limiter_waits(const struct rate_limiter *limiter)
{
	return limiter->due != 0;
}

/*
 * Replaces a limit: bytes, ops or both; NULL leaves one as it is, one of zeroes takes it away. A new
 * bucket starts full, with its burst. What waits is tried at once. -errno when there is no timer to
 * be had: then nothing has changed.
 */
must_check int rate_limiter_update(struct rate_limiter *limiter, const struct bucket_config *bytes,
				   const struct bucket_config *ops);

/* What of that can fail: where several limiters change together, this for all of them first. */
must_check int rate_limiter_prepare(struct rate_limiter *limiter, const struct bucket_config *bytes,
				    const struct bucket_config *ops);

/* The same from the control thread, for a device on `loop`; the error begins with `name`. */
must_check int rate_limiter_replace(struct rate_limiter *limiter, struct event_loop *loop,
				    const char *name, const struct bucket_config *bytes,
				    const struct bucket_config *ops, struct error *err);

/* What a snapshot holds of it: limits too, they may have been replaced. For STATE_NESTED(). */
struct rate_limiter_state {
	struct bucket_state {
		uint64_t size, one_time_burst, refill_ms;
		uint64_t tokens, debt, burst;
	} bytes, ops;
};

extern const struct state_desc rate_limiter_state_desc;

/* While the device is stopped; control thread. Loading checks: -EINVAL, and nothing has changed. */
void rate_limiter_save(struct rate_limiter *limiter, struct rate_limiter_state *state);
must_check int rate_limiter_load(struct rate_limiter *limiter,
				 const struct rate_limiter_state *state);
