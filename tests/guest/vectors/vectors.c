/*
 * A computation that lives in the vector, SSE control and x87 registers, until a file is there; then each is
 * compared with what it has to be, worked out another way. For guests that are moved meanwhile.
 *
 *   vectors FILE
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#define FACTOR 1664525u
#define SUMMAND 1013904223u
#define ROUND 65536u /* steps between two looks for the file */
#define LANES 8
#define START (1ull << 61)

/* After n steps of x -> FACTOR * x + SUMMAND: by squaring the map. */
static uint32_t after(uint32_t x, uint64_t steps)
{
	uint32_t factor = FACTOR, summand = SUMMAND;

	for (; steps; steps >>= 1) {
		if (steps & 1)
			x = factor * x + summand;
		summand *= factor + 1;
		factor *= factor;
	}
	return x;
}

__attribute__((target("avx2"))) static void step_avx2(uint32_t lanes[LANES])
{
	const __m256i factor = _mm256_set1_epi32((int)FACTOR),
		      summand = _mm256_set1_epi32((int)SUMMAND);
	__m256i x = _mm256_loadu_si256((const __m256i *)(const void *)lanes);

	for (unsigned int i = 0; i < ROUND; i++) {
		x = _mm256_add_epi32(_mm256_mullo_epi32(x, factor), summand);
		__asm__ volatile("" : "+x"(x)); /* stays where it is, step by step */
	}
	_mm256_storeu_si256((__m256i *)(void *)lanes, x);
}

/* Two lanes of doubles, exact as long as they are below 2^53. */
static void step_sse2(double sums[2])
{
	const __m128d one = _mm_set1_pd(1);
	__m128d x = _mm_loadu_pd(sums);

	for (unsigned int i = 0; i < ROUND; i++) {
		x = _mm_add_pd(x, one);
		__asm__ volatile("" : "+x"(x));
	}
	_mm_storeu_pd(sums, x);
}

/* 64 bits of mantissa: a value that was a double on its way has lost some. */
static long double step_x87(long double sum)
{
	for (unsigned int i = 0; i < ROUND; i++) {
		sum += 1;
		__asm__ volatile("" : "+t"(sum));
	}
	return sum;
}

int main(int argc, char **argv)
{
	const int has_avx2 = __builtin_cpu_supports("avx2");
	uint32_t lanes[LANES] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	double sums[2] = { 0, 1ull << 40 };
	long double sum = START + 1;
	uint64_t rounds = 0, steps;
	unsigned int wrong = 0;

	if (argc != 2)
		return 2;
	_MM_SET_ROUNDING_MODE(_MM_ROUND_DOWN);
	for (; access(argv[1], F_OK) < 0; rounds++) {
		if (has_avx2)
			step_avx2(lanes);
		step_sse2(sums);
		sum = step_x87(sum);
	}
	steps = rounds * ROUND;
	for (uint32_t i = 0; i < LANES && has_avx2; i++)
		wrong += lanes[i] != after(i + 1, steps);
	wrong += sums[0] != (double)steps || sums[1] != (double)((1ull << 40) + steps);
	wrong += (uint64_t)sum != START + 1 + steps || _MM_GET_ROUNDING_MODE() != _MM_ROUND_DOWN;
	printf("vectors: %s, %s, %llu rounds\n", has_avx2 ? "avx2" : "sse2",
	       wrong ? "WRONG" : "right", (unsigned long long)rounds);
	return wrong ? 1 : 0;
}
