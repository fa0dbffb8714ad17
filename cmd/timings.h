/* `--timings`: where the time of a run went, as a table. */
#pragma once

#include <stdio.h>

#include "vmm/timeline.h"

/* enum moment of a row by its text, which vm.trace has too; -1. */
int timings_moment(const char *text);

void timings_print(const struct timeline *timeline, FILE *out);
