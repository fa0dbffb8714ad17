/* The time as one number. Any thread. */
#pragma once

#include <stdint.h>
#include <time.h>

/* Nanoseconds of a CLOCK_*, which must be one that the host has. */
static inline uint64_t clock_now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The moment `ns` from now, for what waits until one of that clock. */
static inline struct timespec clock_after_ns(clockid_t clock, uint64_t ns)
{
	const uint64_t until = clock_now_ns(clock) + ns;

	return (struct timespec){ .tv_sec = (time_t)(until / 1000000000u),
				  .tv_nsec = (long)(until % 1000000000u) };
}
