/*
 * The log: one line a message, written to standard error with a single write() so that lines of
 * several threads and processes never mix. Any thread may log; nothing here blocks on a lock or
 * allocates. A message that the guest can cause goes through log_limited().
 */
#pragma once

#include <stdint.h>

#include "base/util.h"

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
};

/* Messages above this level are dropped. The default is LOG_WARN. Set it before threads start. */
void log_set_level(enum log_level level);

void log_message(enum log_level level, const char *fmt, ...) printf_like(2, 3);

#define log_error(...) log_message(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_message(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_message(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_message(LOG_DEBUG, __VA_ARGS__)

/*
 * At most LOG_LIMIT_BURST messages per LOG_LIMIT_SECONDS through one limit; the first one let
 * through after a gap says how many were dropped. Zero-initialised; lock-free; shared by threads.
 */
#define LOG_LIMIT_BURST 10
#define LOG_LIMIT_SECONDS 5

struct log_limit {
	_Atomic uint64_t window_start; /* CLOCK_MONOTONIC seconds */
	_Atomic uint32_t in_window;
	_Atomic uint32_t dropped;
};

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
	printf_like(3, 4);
