/* `mayfly run`: one microVM in the foreground. */
#pragma once

#include "vmm/timeline.h"

/* argv[0] is "run". The timeline has the process's start. Returns the exit status. */
int run_main(int argc, char **argv, struct timeline *timeline);
