/*
 * The log: one line a message, written with a single write() so that lines of several threads and
 * processes never mix. Any thread may log; nothing here blocks, locks or allocates: what a file or
 * pipe does not take at once is dropped and counted, and the first line that is taken again says how
 * many were. A message that the guest can cause goes through log_limited().
 *
 * It goes to standard error, in a form for people, until log_set_target() says otherwise.
 */
#pragma once

#include <stdint.h>

#include "base/util.h"

enum log_level {
	LOG_OFF = -1, /* as a limit: nothing is logged */
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG,
	LOG_TRACE,
};

/* Messages above this level are dropped. The default is LOG_WARN. Set it while no other thread logs. */
void log_set_level(enum log_level level);

/* A file or pipe for the log, in the form of Firecracker's:
 * 2026-01-01T00:00:00.000000000 [id:thread:LEVEL:file:line] message */
struct log_target {
	int fd; /* O_NONBLOCK; the caller's, and open until another target is set; -1: stderr */
	const char *id; /* the instance's name */
	bool show_level, show_origin;
	const char *module; /* only what a source file whose path begins so says; NULL: all */
};

/* Copied but for the strings, which must stay. Set it while no other thread logs. NULL: none again. */
void log_set_target(const struct log_target *target);

/* Does it go to a file or pipe, so that what is said on standard error is to be said there too? */
bool log_is_elsewhere(void);

/*
 * Looks at what standard error is: what is no file may have a reader that does not read, which must hold up nobody.
 * Once, before other threads log; without it lines are written there as they come.
 */
void log_init(void);

/* Messages that found no room in the file or pipe; and that log_limited() held back. Since the start. */
uint64_t log_missed(void);
uint64_t log_held_back(void);

void log_write(enum log_level level, const char *file, int line, const char *fmt, ...)
	printf_like(4, 5);

#define log_message(level, ...) log_write(level, __FILE__, __LINE__, __VA_ARGS__)
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

void log_write_limited(struct log_limit *limit, enum log_level level, const char *file, int line,
		       const char *fmt, ...) printf_like(5, 6);

#define log_limited(limit, level, ...) \
	log_write_limited(limit, level, __FILE__, __LINE__, __VA_ARGS__)
