/* The token bucket with a clock of our own. */
#include <criterion/criterion.h>

#include "base/token_bucket.h"

#define MS 1000000ull
#define SECOND (1000 * MS)

static struct token_bucket bucket;

static void init(uint64_t size, uint64_t burst, uint64_t refill_ms)
{
	token_bucket_init(&bucket, &(struct bucket_config){ size, burst, refill_ms }, SECOND);
}

Test(token_bucket, without_size_or_refill_time_there_is_no_limit)
{
	init(0, 5, 100);
	cr_expect_not(token_bucket_limits(&bucket));
	cr_expect_eq(token_bucket_wait(&bucket, UINT64_MAX, SECOND), 0);
	init(10, 5, 0);
	cr_expect_not(token_bucket_limits(&bucket));
	token_bucket_charge(&bucket, UINT64_MAX, SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, UINT64_MAX, SECOND), 0);
}

Test(token_bucket, starts_full_and_fills_evenly)
{
	init(1000, 0, 1000);
	cr_expect_eq(token_bucket_wait(&bucket, 1000, SECOND), 0);
	token_bucket_charge(&bucket, 1000, SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, 0, SECOND), 0);
	cr_expect_eq(token_bucket_wait(&bucket, 1, SECOND), MS);
	cr_expect_eq(token_bucket_wait(&bucket, 250, SECOND), 250 * MS);
	cr_expect_eq(token_bucket_wait(&bucket, 250, SECOND + 249 * MS), MS);
	cr_expect_eq(token_bucket_wait(&bucket, 250, SECOND + 250 * MS - 1), 1);
	cr_expect_eq(token_bucket_wait(&bucket, 250, SECOND + 250 * MS), 0);
}

Test(token_bucket, holds_no_more_than_its_size)
{
	init(1000, 0, 1000);
	token_bucket_charge(&bucket, 1000, SECOND);
	token_bucket_charge(&bucket, 1000, 60 * SECOND);
	cr_expect_eq(bucket.level.debt, 0);
	cr_expect_eq(token_bucket_wait(&bucket, 1, 60 * SECOND), MS);
}

Test(token_bucket, the_burst_is_spent_first_and_never_again)
{
	init(100, 50, 100);
	token_bucket_charge(&bucket, 30, SECOND);
	cr_expect_eq(bucket.level.burst, 20);
	cr_expect_eq(bucket.level.tokens, 100);
	cr_expect_eq(token_bucket_wait(&bucket, 120, SECOND), 0);
	token_bucket_charge(&bucket, 120, SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, 100, SECOND), 100 * MS);
	token_bucket_settle(&bucket, 100 * SECOND);
	cr_expect_eq(bucket.level.burst, 0);
	cr_expect_eq(bucket.level.tokens, 100);
}

/* Seven tokens in 3 ms: whatever the steps in which the clock is read, no part of one is lost. */
Test(token_bucket, no_rest_is_lost)
{
	uint64_t now = SECOND;

	init(7, 0, 3);
	token_bucket_charge(&bucket, 7007, now);
	for (uint64_t step = 1; now < 4 * SECOND; step = step * 7 % 1000003 + 1) {
		now = now + step < 4 * SECOND ? now + step : 4 * SECOND;
		token_bucket_settle(&bucket, now);
	}
	cr_expect_eq(bucket.level.debt, 0);
	cr_expect_eq(bucket.level.tokens, 0);
	cr_expect_eq(token_bucket_wait(&bucket, 7, now), 3 * MS);
}

Test(token_bucket, a_request_larger_than_the_bucket_is_neither_refused_nor_free)
{
	uint64_t now = SECOND;

	init(1000, 0, 1000);
	for (int i = 0; i < 10; i++) {
		now += token_bucket_wait(&bucket, 3000, now);
		token_bucket_charge(&bucket, 3000, now);
	}
	/* The first found the bucket full; each of the others waited until all was paid. */
	cr_expect_eq(now, SECOND + 27 * SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, 0, now), 2 * SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, 1, now), 2 * SECOND + MS);
}

Test(token_bucket, what_was_put_back_can_be_used)
{
	init(100, 10, 1000);
	token_bucket_charge(&bucket, 60, SECOND);
	token_bucket_put_back(&bucket, 60);
	cr_expect_eq(bucket.level.tokens, 100);
	cr_expect_eq(bucket.level.burst, 10);
	token_bucket_charge(&bucket, 150, SECOND);
	cr_expect_eq(bucket.level.debt, 40);
	token_bucket_put_back(&bucket, 45);
	cr_expect_eq(bucket.level.debt, 0);
	cr_expect_eq(bucket.level.tokens, 5);
	token_bucket_put_back(&bucket, UINT64_MAX);
	cr_expect_eq(bucket.level.tokens, 100);
	cr_expect_eq(bucket.level.burst, 10);
}

Test(token_bucket, no_number_is_too_large)
{
	init(UINT64_MAX, UINT64_MAX, UINT64_MAX);
	token_bucket_charge(&bucket, UINT64_MAX, SECOND);
	cr_expect_eq(bucket.level.tokens, UINT64_MAX);
	token_bucket_charge(&bucket, UINT64_MAX, SECOND);
	token_bucket_charge(&bucket, UINT64_MAX, SECOND);
	token_bucket_charge(&bucket, UINT64_MAX, SECOND);
	cr_expect_eq(bucket.level.debt, UINT64_MAX);
	cr_expect_eq(token_bucket_wait(&bucket, UINT64_MAX, SECOND), UINT64_MAX);
	token_bucket_settle(&bucket, UINT64_MAX);
	/* One token for each of our milliseconds, up to the 292 years that one step counts. */
	cr_expect_eq(bucket.level.debt, UINT64_MAX - (uint64_t)INT64_MAX / MS);

	init(1, 0, UINT64_MAX);
	token_bucket_charge(&bucket, 1, SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, 1, SECOND), UINT64_MAX);
	init(UINT64_MAX, 0, 1);
	token_bucket_charge(&bucket, UINT64_MAX, SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, UINT64_MAX, SECOND), MS);
	cr_expect_eq(token_bucket_wait(&bucket, UINT64_MAX, UINT64_MAX), 0);
}

Test(token_bucket, a_clock_that_goes_back_gives_and_takes_nothing)
{
	init(10, 0, 10);
	token_bucket_charge(&bucket, 10, SECOND);
	cr_expect_eq(token_bucket_wait(&bucket, 1, SECOND - MS), MS);
	cr_expect_eq(token_bucket_wait(&bucket, 1, SECOND + MS), 0);
}

Test(token_bucket, goes_on_from_a_saved_level_if_that_is_possible)
{
	const struct bucket_config config = { 100, 10, 1000 };
	const struct bucket_level good = { .tokens = 40, .burst = 3 };
	const struct bucket_level bad[] = {
		{ .tokens = 101 },
		{ .burst = 11 },
		{ .tokens = 1, .debt = 1 },
	};

	init(5, 0, 5);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_eq(token_bucket_restore(&bucket, &config, &bad[i], 0), -EINVAL);
	cr_expect_eq(bucket.config.size, 5);
	cr_expect_eq(token_bucket_restore(&bucket, &config, &good, SECOND), 0);
	cr_expect_eq(token_bucket_wait(&bucket, 43, SECOND), 0);
	cr_expect_eq(token_bucket_wait(&bucket, 44, SECOND), 10 * MS);
}
