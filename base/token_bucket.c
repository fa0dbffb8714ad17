#include "base/token_bucket.h"

typedef unsigned __int128 u128;

#define NS_PER_MS 1000000u

static u128 period_ns(const struct token_bucket *bucket)
{
	return (u128)bucket->config.refill_ms * NS_PER_MS;
}

void token_bucket_init(struct token_bucket *bucket, const struct bucket_config *config,
		       uint64_t now)
{
	*bucket = (struct token_bucket){
		.config = *config,
		.level = { .tokens = config->size, .burst = config->one_time_burst },
		.updated = now,
	};
}

/* Tokens come in: first the debt. What does not fit is lost, and with it the rest. */
static void add(struct token_bucket *bucket, u128 n)
{
	struct bucket_level *level = &bucket->level;
	const uint64_t paid = (uint64_t)MIN((u128)level->debt, n);
	const uint64_t room = bucket->config.size - level->tokens;

	level->debt -= paid;
	n -= paid;
	if (n >= room)
		bucket->rest = 0;
	level->tokens += (uint64_t)MIN((u128)room, n);
}

void token_bucket_settle(struct token_bucket *bucket, uint64_t now)
{
	/* 292 years at most, so that the product below fits. */
	uint64_t elapsed = now > bucket->updated ? MIN(now - bucket->updated, (uint64_t)INT64_MAX)
						 : 0;
	const u128 period = period_ns(bucket);
	u128 parts;

	if (elapsed == 0 || !token_bucket_limits(bucket))
		return;
	bucket->updated = now;
	parts = (u128)elapsed * bucket->config.size + bucket->rest;
	bucket->rest = parts % period;
	add(bucket, parts / period);
}

/* Tokens that must come in before a request for n may go on. */
static u128 missing(const struct token_bucket *bucket, uint64_t n)
{
	const struct bucket_level *level = &bucket->level;
	const uint64_t of_bucket = n - MIN(n, level->burst);
	const uint64_t need = MIN(of_bucket, bucket->config.size);

	return level->debt + (u128)(need > level->tokens ? need - level->tokens : 0);
}

uint64_t token_bucket_wait(struct token_bucket *bucket, uint64_t n, uint64_t now)
{
	const u128 period = period_ns(bucket);
	u128 tokens, parts;

	if (!token_bucket_limits(bucket))
		return 0;
	token_bucket_settle(bucket, now);
	tokens = missing(bucket, n);
	if (tokens == 0)
		return 0;
	if (tokens > ~(u128)0 / period)
		return UINT64_MAX;
	parts = tokens * period - bucket->rest;
	parts = parts / bucket->config.size + (parts % bucket->config.size != 0);
	return (uint64_t)MIN(parts, (u128)UINT64_MAX);
}

void token_bucket_charge(struct token_bucket *bucket, uint64_t n, uint64_t now)
{
	struct bucket_level *level = &bucket->level;
	uint64_t part;

	if (!token_bucket_limits(bucket))
		return;
	token_bucket_settle(bucket, now);
	part = MIN(n, level->burst);
	level->burst -= part;
	n -= part;
	part = MIN(n, level->tokens);
	level->tokens -= part;
	n -= part;
	level->debt = n > UINT64_MAX - level->debt ? UINT64_MAX : level->debt + n;
}

/* Into the bucket, and what it has no room for to the burst, where it must have come from. */
void token_bucket_put_back(struct token_bucket *bucket, uint64_t n)
{
	struct bucket_level *level = &bucket->level;
	uint64_t part;

	if (!token_bucket_limits(bucket))
		return;
	part = MIN(n, level->debt);
	level->debt -= part;
	n -= part;
	part = MIN(n, bucket->config.size - level->tokens);
	level->tokens += part;
	n -= part;
	level->burst += MIN(n, bucket->config.one_time_burst - level->burst);
}

int token_bucket_restore(struct token_bucket *bucket, const struct bucket_config *config,
			 const struct bucket_level *level, uint64_t now)
{
	if (level->tokens > config->size || level->burst > config->one_time_burst ||
	    (level->debt > 0 && level->tokens > 0))
		return -EINVAL;
	token_bucket_init(bucket, config, now);
	bucket->level = *level;
	return 0;
}
