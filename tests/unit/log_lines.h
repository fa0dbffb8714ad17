/* What the log says during a test. */
#pragma once

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/log.h"

static int log_file;

static inline void read_log_from_now(enum log_level level)
{
	log_file = memfd_create("log", MFD_CLOEXEC);
	cr_assert_geq(dup2(log_file, STDERR_FILENO), 0);
	log_set_level(level);
}

static inline unsigned int lines_with(const char *text)
{
	static char log[8192];
	const ssize_t len = pread(log_file, log, sizeof(log) - 1, 0);
	unsigned int n = 0;

	cr_assert_geq(len, 0);
	log[len] = 0;
	for (const char *at = log; (at = strstr(at, text)); at++)
		n++;
	return n;
}
