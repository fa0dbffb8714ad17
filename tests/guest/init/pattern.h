/*
 * A byte pattern that guest and host can both compute at any offset: 64-bit little-endian word k of
 * the pattern of a seed is output k of splitmix64 started with that seed.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t pattern_word(uint64_t seed, uint64_t k)
{
	uint64_t z = seed + (k + 1) * 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* Fills words with the pattern from its byte offset, a multiple of 8. */
static inline void pattern_fill(uint64_t *words, size_t count, uint64_t seed, uint64_t offset)
{
	for (size_t i = 0; i < count; i++)
		words[i] = pattern_word(seed, offset / 8 + i);
}

#endif
