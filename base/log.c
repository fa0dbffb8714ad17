#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

static enum log_level current_level = LOG_WARN;
static struct log_target target = { .fd = -1 };
static _Atomic uint64_t missed, held_back;
static _Atomic uint64_t untold; /* of the missed ones: those that no line has told of */

/* Standard error may have a reader: a write could wait for it. */
static bool stderr_may_block;

void log_set_level(enum log_level level)
{
	current_level = level;
}

void log_set_target(const struct log_target *new_target)
{
	target = new_target ? *new_target : (struct log_target){ .fd = -1 };
}

bool log_is_elsewhere(void)
{
	return target.fd >= 0;
}

void log_init(void)
{
	struct stat st;

	stderr_may_block = fstat(STDERR_FILENO, &st) == 0 &&
			   (S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode));
}

uint64_t log_missed(void)
{
	return atomic_load_explicit(&missed, memory_order_relaxed);
}

uint64_t log_held_back(void)
{
	return atomic_load_explicit(&held_back, memory_order_relaxed);
}

/* A line that is being put together; what does not fit is cut off. */
struct line {
	char text[768];
	size_t len;
};

__attribute__((format(printf, 2, 0))) static void add_args(struct line *line, const char *fmt,
							   va_list args)
{
	vsnprintf(line->text + line->len, sizeof(line->text) - line->len - 1, fmt, args);
	line->len += strlen(line->text + line->len);
}

printf_like(2, 3) static void add(struct line *line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add_args(line, fmt, args);
	va_end(args);
}

static void begin_for_people(struct line *line, enum log_level level)
{
	static const char *const names[] = { "error", "warning", "info", "debug", "trace" };

	add(line, "mayfly: %s: ", names[level]);
}

static void begin_for_target(struct line *line, enum log_level level, const char *file, int at)
{
	static const char *const names[] = { "ERROR", "WARN", "INFO", "DEBUG", "TRACE" };
	char thread[16] = "";
	struct timespec now;
	struct tm utc;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	prctl(PR_GET_NAME, thread);
	add(line, "%04d-%02d-%02dT%02d:%02d:%02d.%09ld [%s:%s", utc.tm_year + 1900, utc.tm_mon + 1,
	    utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec, target.id, thread);
	if (target.show_level)
		add(line, ":%s", names[level]);
	if (target.show_origin)
		add(line, ":%s:%d", file, at);
	add(line, "] ");
}

static bool is_wanted(enum log_level level, const char *file)
{
	if (level > current_level)
		return false;
	return !target.module || strncmp(file, target.module, strlen(target.module)) == 0;
}

/* A flag of this call alone: standard error is shared with whoever started us. */
static ssize_t put_to_stderr(struct line *line)
{
	struct iovec iov = { line->text, line->len };
	ssize_t ret = -1;

	if (stderr_may_block)
		ret = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);
	if (ret < 0 && (!stderr_may_block || errno == EOPNOTSUPP))
		ret = write(STDERR_FILENO, line->text, line->len);
	return ret;
}

static bool put(struct line *line)
{
	line->text[line->len++] = '\n';
	return retry_eintr(target.fd >= 0 ? write(target.fd, line->text, line->len)
					  : put_to_stderr(line)) == (ssize_t)line->len;
}

static void begin(struct line *line, enum log_level level, const char *file, int at)
{
	if (target.fd >= 0)
		begin_for_target(line, level, file, at);
	else
		begin_for_people(line, level);
}

/* A log that cannot be written has nowhere to complain until it can. */
static bool tell_missed(void)
{
	const uint64_t count = atomic_exchange_explicit(&untold, 0, memory_order_relaxed);
	struct line line = { .len = 0 };

	if (count == 0)
		return true;
	begin(&line, LOG_WARN, __FILE__, __LINE__);
	add(&line, "log: %lu messages found no room", count);
	if (put(&line))
		return true;
	atomic_fetch_add_explicit(&untold, count, memory_order_relaxed);
	return false;
}

__attribute__((format(printf, 5, 0))) static void write_line(enum log_level level, const char *file,
							     int at, const char *suffix,
							     const char *fmt, va_list args)
{
	struct line line = { .len = 0 };
	const bool has_room = tell_missed();

	begin(&line, level, file, at);
	add_args(&line, fmt, args);
	add(&line, "%s", suffix);
	if (has_room && put(&line))
		return;
	atomic_fetch_add_explicit(&missed, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&untold, 1, memory_order_relaxed);
}

void log_write(enum log_level level, const char *file, int line, const char *fmt, ...)
{
	va_list args;

	if (!is_wanted(level, file))
		return;
	va_start(args, fmt);
	write_line(level, file, line, "", fmt, args);
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

void log_write_limited(struct log_limit *limit, enum log_level level, const char *file, int line,
		       const char *fmt, ...)
{
	char suffix[48] = "";
	uint32_t dropped;
	va_list args;

	if (!is_wanted(level, file))
		return;
	if (!limit_allows(limit)) {
		atomic_fetch_add_explicit(&limit->dropped, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&held_back, 1, memory_order_relaxed);
		return;
	}
	dropped = atomic_exchange_explicit(&limit->dropped, 0, memory_order_relaxed);
	if (dropped)
		snprintf(suffix, sizeof(suffix), " (%u like it were not shown)", dropped);
	va_start(args, fmt);
	write_line(level, file, line, suffix, fmt, args);
	va_end(args);
}
