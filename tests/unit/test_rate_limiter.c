/* The rate limiter on a loop, by the host's clock: only what must not be early, and sums. */
#include <criterion/criterion.h>

#include "base/clock.h"
#include "virtio/rate_limiter.h"

#define MS 1000000ull

static struct event_loop *loop;
static struct rate_limiter limiter;
static unsigned int resumed;

static void resume(struct rate_limiter *which)
{
	cr_expect_eq(which, &limiter);
	resumed++;
}

static void begin(struct bucket_config bytes, struct bucket_config ops)
{
	struct error err = { 0 };

	cr_assert_eq(event_loop_create(&loop, EVENT_LOOP_URING, "test", &err), 0, "%s", err.text);
	event_loop_run_once(loop, false);
	rate_limiter_init(&limiter, &(struct rate_config){ bytes, ops }, resume);
	cr_assert_eq(rate_limiter_start(&limiter, loop), 0);
}

static void end(void)
{
	rate_limiter_stop(&limiter);
	rate_limiter_fini(&limiter);
	event_loop_destroy(loop);
}

static void wait_resumed(unsigned int times)
{
	while (resumed < times)
		event_loop_run_once(loop, true);
}

Test(rate_limiter, without_limits_it_opens_nothing, .fini = end)
{
	begin((struct bucket_config){ 0 }, (struct bucket_config){ 10, 10, 0 });
	for (int i = 0; i < 1000; i++)
		cr_assert(rate_limiter_take(&limiter, UINT64_MAX));
	cr_expect_eq(limiter.timer.watch.fd, -1);
}

Test(rate_limiter, what_waits_is_resumed_when_its_tokens_suffice, .fini = end)
{
	uint64_t start;

	begin((struct bucket_config){ 1000, 0, 100 }, (struct bucket_config){ 0 });
	cr_expect(rate_limiter_take(&limiter, 1000));
	start = clock_now_ns(CLOCK_MONOTONIC);
	cr_expect_not(rate_limiter_take(&limiter, 500));
	cr_expect(rate_limiter_waits(&limiter));
	/* Nobody overtakes it, however small. */
	cr_expect_not(rate_limiter_take(&limiter, 0));
	wait_resumed(1);
	cr_expect_geq(clock_now_ns(CLOCK_MONOTONIC) - start, 49 * MS);
	cr_expect(rate_limiter_take(&limiter, 500));
	cr_expect_not(rate_limiter_waits(&limiter));
}

/* The best of many: a busy machine may wake anybody late. A timer that ticks would be late each time but one. */
Test(rate_limiter, the_wait_is_as_long_as_it_must_be, .fini = end)
{
	uint64_t least = UINT64_MAX;

	begin((struct bucket_config){ 1000, 0, 1000 }, (struct bucket_config){ 0 });
	for (unsigned int i = 0; i < 20; i++) {
		while (rate_limiter_take(&limiter, 3 + i))
			;
		wait_resumed(i + 1);
		least = MIN(least, clock_now_ns(CLOCK_MONOTONIC) - limiter.due);
	}
	cr_expect_lt(least, 5 * MS);
}

Test(rate_limiter, operations_and_bytes_both_count, .fini = end)
{
	begin((struct bucket_config){ 1000, 0, 1000 }, (struct bucket_config){ 2, 1, 1000 });
	cr_expect(rate_limiter_take(&limiter, 0));
	cr_expect(rate_limiter_take(&limiter, 0));
	cr_expect(rate_limiter_take(&limiter, 0));
	cr_expect_not(rate_limiter_take(&limiter, 0));
	cr_expect_geq(limiter.due, clock_now_ns(CLOCK_MONOTONIC) + 400 * MS);
	/* What waits for one has taken nothing of the other. */
	cr_expect_eq(limiter.bytes.level.tokens, 1000);
}

/* However late the timers: over the whole time there is neither too little nor too much. Only what
 * comes in later than a whole bucket after its time is lost, as it must be. */
Test(rate_limiter, late_timers_cost_nothing, .fini = end)
{
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);
	uint64_t total = 0, lost = 0, empty_at = start;

	begin((struct bucket_config){ 100, 0, 1 }, (struct bucket_config){ 0 });
	while (total < 30000) {
		const uint64_t due = limiter.due;

		if (!rate_limiter_take(&limiter, 100)) {
			wait_resumed(resumed + 1);
			continue;
		}
		total += 100;
		if (!due && limiter.bytes.updated > empty_at + MS) /* it was full by then */
			lost += limiter.bytes.updated - empty_at - MS;
		empty_at = due ? due : limiter.bytes.updated;
	}
	cr_expect_leq(total, (empty_at - start) / MS * 100 + 200);
	cr_expect_geq(total + 200, (empty_at - start - lost) / MS * 100);
}

Test(rate_limiter, what_is_charged_afterwards_is_waited_for, .fini = end)
{
	begin((struct bucket_config){ 1000, 0, 1000 }, (struct bucket_config){ 0 });
	cr_expect(rate_limiter_take(&limiter, 0));
	rate_limiter_charge(&limiter, 1100);
	cr_expect_not(rate_limiter_take(&limiter, 0));
	cr_expect_geq(limiter.due, clock_now_ns(CLOCK_MONOTONIC) + 50 * MS);
}

Test(rate_limiter, what_was_put_back_can_be_taken, .fini = end)
{
	begin((struct bucket_config){ 1000, 0, 60000 }, (struct bucket_config){ 1, 0, 60000 });
	for (int i = 0; i < 10; i++) {
		cr_expect(rate_limiter_take(&limiter, 1000));
		rate_limiter_put_back(&limiter, 1000);
	}
}

Test(rate_limiter, a_new_limit_counts_at_once, .fini = end)
{
	const struct bucket_config slow = { 1, 0, 3600000 }, fast = { 1000, 0, 1 }, none = { 0 };

	begin(none, none);
	cr_assert_eq(rate_limiter_update(&limiter, &slow, NULL), 0);
	cr_expect(rate_limiter_take(&limiter, 1));
	cr_expect_not(rate_limiter_take(&limiter, 1));
	cr_assert_eq(rate_limiter_update(&limiter, NULL, &slow), 0);
	wait_resumed(1);
	cr_expect_not(rate_limiter_take(&limiter, 1), "the bytes are limited as before");
	cr_assert_eq(rate_limiter_update(&limiter, &fast, &none), 0);
	wait_resumed(2);
	cr_expect(rate_limiter_take(&limiter, 1));
	cr_assert_eq(rate_limiter_update(&limiter, &none, NULL), 0);
	for (int i = 0; i < 1000; i++)
		cr_assert(rate_limiter_take(&limiter, UINT64_MAX));
}

Test(rate_limiter, a_stop_forgets_who_waited_and_not_the_level, .fini = end)
{
	begin((struct bucket_config){ 1000, 0, 3600000 }, (struct bucket_config){ 0 });
	cr_expect(rate_limiter_take(&limiter, 900));
	cr_expect_not(rate_limiter_take(&limiter, 200));
	rate_limiter_stop(&limiter);
	/* Nor its descriptor: there may be no other when it starts again. */
	cr_expect_geq(limiter.timer.watch.fd, 0);
	cr_assert_eq(rate_limiter_start(&limiter, loop), 0);
	cr_expect_not(rate_limiter_take(&limiter, 200));
	rate_limiter_stop(&limiter);
	cr_assert_eq(rate_limiter_start(&limiter, loop), 0);
	cr_expect(rate_limiter_take(&limiter, 100));
}

Test(rate_limiter, its_state_can_be_saved_and_taken, .fini = end)
{
	struct rate_limiter_state state, bad;

	begin((struct bucket_config){ 1000, 7, 3600000 }, (struct bucket_config){ 5, 0, 3600000 });
	cr_expect(rate_limiter_take(&limiter, 107));
	rate_limiter_save(&limiter, &state);
	cr_expect_eq(state.bytes.tokens, 900);
	cr_expect_eq(state.bytes.burst, 0);
	cr_expect_eq(state.ops.tokens, 4);
	end();
	begin((struct bucket_config){ 0 }, (struct bucket_config){ 0 });
	rate_limiter_stop(&limiter);
	bad = state;
	bad.ops.tokens = 6;
	cr_expect_eq(rate_limiter_load(&limiter, &bad), -EINVAL);
	cr_expect_eq(limiter.bytes.config.size, 0);
	cr_expect_eq(rate_limiter_load(&limiter, &state), 0);
	cr_assert_eq(rate_limiter_start(&limiter, loop), 0);
	cr_expect(rate_limiter_take(&limiter, 900));
	cr_expect_not(rate_limiter_take(&limiter, 1));
}
