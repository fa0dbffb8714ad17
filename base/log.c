#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum log_level current_level = LOG_WARN;

void log_set_level(enum log_level level)
{
	current_level = level;
}

__attribute__((format(printf, 3, 0))) static void write_line(enum log_level level,
							     const char *suffix, const char *fmt,
							     va_list args)
{
	static const char *const names[] = { "error", "warning", "info", "debug" };
	char line[768];
	size_t used;

	snprintf(line, sizeof(line), "mayfly: %s: ", names[level]);
	used = strlen(line);
	vsnprintf(line + used, sizeof(line) - used - 1, fmt, args);
	used = strlen(line);
	snprintf(line + used, sizeof(line) - used - 1, "%s", suffix);
	used = strlen(line);
	line[used++] = '\n';
	/* A log that cannot be written has nowhere to complain. */
	if (retry_eintr(write(STDERR_FILENO, line, used)) < 0)
		return;
}

void log_message(enum log_level level, const char *fmt, ...)
{
	va_list args;

	if (level > current_level)
		return;
	va_start(args, fmt);
	write_line(level, "", fmt, args);
	va_end(args);
}

static uint64_t monotonic_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec + 1; /* never 0, which means "no window yet" */
}

/* Two threads may both open a new window: then a few messages more pass, which is harmless. */
static bool limit_allows(struct log_limit *limit)
{
	uint64_t now = monotonic_seconds();
	uint64_t start = atomic_load_explicit(&limit->window_start, memory_order_relaxed);

	if (start == 0 || now - start >= LOG_LIMIT_SECONDS) {
		atomic_store_explicit(&limit->window_start, now, memory_order_relaxed);
		atomic_store_explicit(&limit->in_window, 0, memory_order_relaxed);
	}
	return atomic_fetch_add_explicit(&limit->in_window, 1, memory_order_relaxed) <
	       LOG_LIMIT_BURST;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	char suffix[48] = "";
	uint32_t dropped;
	va_list args;

	if (level > current_level)
		return;
	if (!limit_allows(limit)) {
		atomic_fetch_add_explicit(&limit->dropped, 1, memory_order_relaxed);
		return;
	}
	dropped = atomic_exchange_explicit(&limit->dropped, 0, memory_order_relaxed);
	if (dropped)
		snprintf(suffix, sizeof(suffix), " (%u like it were not shown)", dropped);
	va_start(args, fmt);
	write_line(level, suffix, fmt, args);
	va_end(args);
}
