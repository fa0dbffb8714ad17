/* Times of something that happens over and over. */
#include <criterion/criterion.h>

#include "base/latency.h"

static void expect(const struct latency *latency, uint64_t min, uint64_t max, uint64_t sum)
{
	cr_expect_eq(latency->min, min);
	cr_expect_eq(latency->max, max);
	cr_expect_eq(latency->sum, sum);
}

Test(latency, one_after_the_other)
{
	struct latency latency = { 0 };

	latency_add(&latency, 5, 5, 5);
	expect(&latency, 5, 5, 5);
	latency_add(&latency, 7, 9, 16);
	expect(&latency, 5, 9, 21);
	latency_add(&latency, 2, 3, 5);
	expect(&latency, 2, 9, 26);
}

/* Nothing at all would look like nothing measured. */
Test(latency, no_time_is_some_time)
{
	struct latency latency = { 0 };

	latency_add(&latency, 0, 4, 4);
	expect(&latency, 1, 4, 4);
}

Test(latency, of_several)
{
	struct latency all = { 0 }, none = { 0 }, some = { 0 };

	latency_merge(&all, &none);
	expect(&all, 0, 0, 0);
	latency_add(&some, 3, 8, 20);
	latency_merge(&all, &some);
	latency_merge(&all, &none);
	expect(&all, 3, 8, 20);
}
