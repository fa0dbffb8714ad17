/* A small file as a whole: policies, configurations. Any thread. */
#pragma once

#include <stddef.h>

#include "base/error.h"

/*
 * The contents and a terminating zero, the caller's to free(); *len without the zero. Never waits: what is no
 * regular file is refused. NULL and *err, which names the path, also for one of more than max_mib.
 */
char *read_file(const char *path, unsigned int max_mib, size_t *len, struct error *err);
