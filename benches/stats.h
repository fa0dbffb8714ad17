/* Median, 99th percentile (nearest rank: of fewer than 100 values the largest) and minimum. */
#pragma once

#include <stdlib.h>

struct stats {
	double p50, p99, min;
};

static inline int stats_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Sorts the values. */
static inline struct stats stats_of(double *values, unsigned int count)
{
	if (count == 0)
		return (struct stats){ 0 };
	qsort(values, count, sizeof(*values), stats_compare);
	return (struct stats){
		.p50 = (values[(count - 1) / 2] + values[count / 2]) / 2,
		.p99 = values[(count * 99u + 99u) / 100u - 1],
		.min = values[0],
	};
}
