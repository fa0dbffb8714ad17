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
