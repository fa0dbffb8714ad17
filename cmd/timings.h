/* `--timings`: where the time of a run went, as a table. */
#pragma once

#include <stdio.h>

#include "vmm/timeline.h"

void timings_print(const struct timeline *timeline, FILE *out);
