/* `mayfly` without a command word: one microVM, served to the clients of an API socket. */
#pragma once

#include "vmm/timeline.h"

/* argv[0] is the program. The timeline has the process's start. Returns the exit status. */
int api_main(int argc, char **argv, struct timeline *timeline);
