/*
 * How long something takes: the least, the most, and all of it added up. One thread adds, any thread reads; the three
 * are not of the same moment then.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

/* ns. All 0: nothing was measured so far. */
struct latency {
	_Atomic uint64_t min, max, sum;
};

/* Of several measurements: the least, the most, the sum. Its one thread. */
static inline void latency_add(struct latency *latency, uint64_t min, uint64_t max, uint64_t sum)
{
	const uint64_t least = atomic_load_explicit(&latency->min, memory_order_relaxed);
	const uint64_t old = atomic_load_explicit(&latency->sum, memory_order_relaxed);

	if (least == 0 || min < least)
		atomic_store_explicit(&latency->min, min ? min : 1, memory_order_relaxed);
	if (max > atomic_load_explicit(&latency->max, memory_order_relaxed))
		atomic_store_explicit(&latency->max, max, memory_order_relaxed);
	atomic_store_explicit(&latency->sum, old + sum, memory_order_relaxed);
}

/* Adds what another one has. Any thread may own `from`; `to` is the caller's. */
static inline void latency_merge(struct latency *to, const struct latency *from)
{
	const uint64_t min = atomic_load_explicit(&from->min, memory_order_relaxed);

	if (min)
		latency_add(to, min, atomic_load_explicit(&from->max, memory_order_relaxed),
			    atomic_load_explicit(&from->sum, memory_order_relaxed));
}
