/* What a harness finds untrue ends it with the words of it, as a crash that is kept. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#define expect(condition)                                              \
	do {                                                           \
		if (!(condition)) {                                    \
			fprintf(stderr, "not true: %s\n", #condition); \
			abort();                                       \
		}                                                      \
	} while (0)
