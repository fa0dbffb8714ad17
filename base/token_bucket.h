/*
 * A token bucket: how much may be done by when. Pure: the time is the caller's, so is the thread.
 *
 *   size tokens at most, full at the start, filled evenly at `size` in refill_ms
 *   one_time_burst more, spent before those, never filled again
 *
 * Smooth: what has come in is counted to the nanosecond and no rest is lost. A request that is
 * larger than the bucket goes ahead when the bucket is full and leaves a debt that is paid off
 * before anyone else goes on: it is not refused, and on average no faster than the rate.
 *
 * Any 64-bit value is fine for any number here: nothing wraps around, waits end at UINT64_MAX.
 */
#pragma once

#include "base/util.h"

/* What a bucket is to be. size 0 or refill_ms 0: no limit. */
struct bucket_config {
	uint64_t size; /* tokens: bytes or operations */
	uint64_t one_time_burst;
	uint64_t refill_ms; /* from empty to full */
};

/* What one flow of requests is limited to. */
struct rate_config {
	struct bucket_config bytes, ops;
};

/* What of a bucket changes; plain data, so a snapshot can hold it. */
struct bucket_level {
	uint64_t tokens; /* 0 to size */
	uint64_t debt;	 /* paid off before tokens come in; then tokens is 0 */
	uint64_t burst;	 /* of one_time_burst, what is left */
};

struct token_bucket {
	struct bucket_config config;
	struct bucket_level level;
	unsigned __int128 rest; /* of a token: in 1/period_ns parts of it, below one */
	uint64_t updated;	/* ns: up to when `level` counts what came in */
};

/* Starts full at `now` (ns of a clock that never goes back). Also replaces a bucket by another, as a
 * change of the limit does: what was used of the old one, or owed, is forgotten. */
void token_bucket_init(struct token_bucket *bucket, const struct bucket_config *config,
		       uint64_t now);

/* Is there a limit at all? Else every wait is 0. */
static inline bool token_bucket_limits(const struct token_bucket *bucket)
{
	return bucket->config.size > 0 && bucket->config.refill_ms > 0;
}

/* How long from `now` until a request for n tokens may go on: 0 for at once, else nanoseconds,
 * rounded up. n may be 0: that waits only for a debt. */
uint64_t token_bucket_wait(struct token_bucket *bucket, uint64_t n, uint64_t now);

/* Takes n tokens whether they are there or not: what is missing becomes a debt. */
void token_bucket_charge(struct token_bucket *bucket, uint64_t n, uint64_t now);

/* Gives back n that were taken for something that did not happen. */
void token_bucket_put_back(struct token_bucket *bucket, uint64_t n);

/* Counts what came in until `now`, so that the level may be saved. */
void token_bucket_settle(struct token_bucket *bucket, uint64_t now);

/* Goes on from a saved level. -EINVAL when such a bucket cannot have it; then nothing changes. */
must_check int token_bucket_restore(struct token_bucket *bucket, const struct bucket_config *config,
				    const struct bucket_level *level, uint64_t now);
