/* Metrics in Firecracker's form: a JSON object a line, with what has come since the line before. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"
#include "api-socket/os_error.h"
#include "base/clock.h"
#include "base/log.h"

#define PERIOD_NS 60000000000u
#define REST_AGAIN_NS 100000000u

/* Two trees of the same form: what is told now, and all that has been counted. */
struct lines {
	json_t *told, *totals;
	const json_t *before; /* the totals of the last time; NULL: there was none */
};

/* The object of this name in another one, made if need be. */
static json_t *object_in(json_t *tree, const char *name)
{
	json_t *object = json_object_get(tree, name);

	if (object)
		return object;
	object = json_object();
	json_object_set_new(tree, name, object);
	return object;
}

static uint64_t combine(enum metric_kind kind, uint64_t one, uint64_t other)
{
	switch (kind) {
	case METRIC_LEAST:
		return one && other ? MIN(one, other) : one + other;
	case METRIC_MOST:
		return one > other ? one : other;
	default:
		return one + other;
	}
}

static void add_number(json_t *tree, const char *family, const struct metric *metric,
		       uint64_t value)
{
	json_t *object = object_in(tree, family);
	uint64_t old;

	if (metric->group)
		object = object_in(object, metric->group);
	old = (uint64_t)json_integer_value(json_object_get(object, metric->name));
	json_object_set_new(object, metric->name,
			    json_integer((json_int_t)combine(metric->kind, old, value)));
}

static uint64_t number_in(const json_t *tree, const char *family, const struct metric *metric)
{
	const json_t *object = json_object_get(tree, family);

	if (metric->group)
		object = json_object_get(object, metric->group);
	return (uint64_t)json_integer_value(json_object_get(object, metric->name));
}

/* What there is to tell of it. */
static uint64_t add_metric(struct lines *lines, const char *family, const struct metric *metric)
{
	uint64_t old = metric->kind == METRIC_COUNT ? number_in(lines->before, family, metric) : 0;
	/* A device of a new machine begins at 0 again. */
	uint64_t more = metric->value >= old ? metric->value - old : metric->value;

	add_number(lines->told, family, metric, more);
	add_number(lines->totals, family, metric, metric->value);
	return more;
}

/* A device is told of by its name, and with all of its kind together. */
static void visit(void *opaque, const struct metric *metric)
{
	struct lines *lines = opaque;
	char family[100];

	if (metric->instance) {
		snprintf(family, sizeof(family), "%s_%.64s", metric->family, metric->instance);
		add_number(lines->told, metric->family, metric, add_metric(lines, family, metric));
	} else {
		add_metric(lines, metric->family, metric);
	}
}

static json_t *begin_line(const struct controller *controller)
{
	json_t *tree = json_object();

	json_object_set_new(tree, "utc_timestamp_ms",
			    json_integer((json_int_t)(clock_now_ns(CLOCK_REALTIME) / 1000000)));
	if (controller->metrics.emit_id)
		json_object_set_new(tree, "id", json_string(controller->id));
	if (controller->metrics.properties)
		json_object_set_new(tree, "properties",
				    json_deep_copy(controller->metrics.properties));
	return tree;
}

/* Of a line that a full pipe took the beginning of, the rest goes first; and is tried for more often than lines come. */
static void write_rest(struct metrics_sink *sink)
{
	ssize_t done = 0;

	if (sink->rest_len)
		done = retry_eintr(write(sink->fd, sink->rest, sink->rest_len));
	if (done > 0) {
		sink->rest_len -= (size_t)done;
		memmove(sink->rest, sink->rest + done, sink->rest_len);
	}
	if (sink->rest_len)
		return;
	free(sink->rest);
	sink->rest = NULL;
}

/* True: the line is there, or will be when its reader has made room. */
static bool write_line(struct metrics_sink *sink, const json_t *tree)
{
	char *text = sink->rest ? NULL : json_dumps(tree, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;
	ssize_t done;

	if (!text) {
		sink->fails += !sink->rest;
		return false;
	}
	text[len] = '\n'; /* in place of the end: write() wants none */
	done = retry_eintr(write(sink->fd, text, len + 1));
	if (done <= 0) {
		sink->fails += done < 0 && errno != EAGAIN;
		free(text);
		return false;
	}
	sink->rest_len = len + 1 - (size_t)done;
	sink->rest = text;
	memmove(text, text + done, sink->rest_len);
	write_rest(sink);
	return true;
}

/* The next thing to do: the rest of a line, or the next line. */
static void arm(struct metrics_sink *sink)
{
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);
	const uint64_t left = sink->next_line > now ? sink->next_line - now : 0;

	loop_timer_arm(&sink->timer, sink->rest ? MIN(left, REST_AGAIN_NS) : left);
}

void metrics_flush(struct controller *controller)
{
	struct metrics_sink *sink = &controller->metrics;
	struct lines lines = { .before = sink->last };

	if (sink->fd < 0)
		return;
	write_rest(sink);
	lines.told = begin_line(controller);
	lines.totals = json_object();
	metrics_walk(controller, visit, &lines);
	/* What was not told is told the next time. */
	if (write_line(sink, lines.told)) {
		json_decref(sink->last);
		sink->last = json_incref(lines.totals);
	} else {
		sink->missed++;
	}
	json_decref(lines.told);
	json_decref(lines.totals);
	arm(sink);
}

static void on_time(struct loop_timer *timer)
{
	struct metrics_sink *sink = container_of(timer, struct metrics_sink, timer);

	if (clock_now_ns(CLOCK_MONOTONIC) < sink->next_line) {
		write_rest(sink);
		arm(sink);
		return;
	}
	sink->next_line += PERIOD_NS;
	metrics_flush(container_of(sink, struct controller, metrics));
}

static int take_sink(int from)
{
	int fd = fcntl(from, F_DUPFD_CLOEXEC, 3);
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags >= 0 && fcntl(fd, F_SETFL, flags | O_APPEND | O_NONBLOCK) == 0)
		return fd;
	flags = -errno;
	close_fd(&fd);
	return flags;
}

/* Reading too, where that is allowed, so that a pipe opens before its reader does, and stays open after. */
int controller_open_output(const char *path)
{
	const int flags = O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY;
	int fd = open(path, O_RDWR | flags, 0600);

	return fd < 0 && errno == EACCES ? open(path, O_WRONLY | flags, 0600) : fd;
}

int controller_open_sink(const struct opt_file *file)
{
	int fd;

	if (!file->path)
		return take_sink(file->fd);
	fd = controller_open_output(file->path);
	return fd < 0 ? -errno : fd;
}

int metrics_open(struct controller *controller, const struct opt_file *file, struct error *err)
{
	struct metrics_sink *sink = &controller->metrics;
	char why[OS_ERROR_MAX];
	int fd = controller_open_sink(file);
	int ret;

	if (fd < 0)
		return error_set(err, fd, "%s", os_error(why, fd));
	ret = loop_timer_init(&sink->timer, controller->loop, on_time);
	if (ret < 0) {
		close_fd(&fd);
		return error_set_errno(err, ret, "cannot make a timer");
	}
	sink->fd = fd;
	sink->next_line = clock_now_ns(CLOCK_MONOTONIC) + PERIOD_NS;
	arm(sink);
	return 0;
}

void metrics_begin(struct controller *controller)
{
	struct metrics_sink *sink = &controller->metrics;

	if (sink->fd < 0)
		return;
	sink->next_line = clock_now_ns(CLOCK_MONOTONIC);
	arm(sink);
}

void metrics_close(struct controller *controller)
{
	struct metrics_sink *sink = &controller->metrics;

	if (sink->fd < 0)
		return;
	metrics_flush(controller);
	loop_timer_fini(&sink->timer);
	close_fd(&sink->fd);
	json_decref(sink->last);
	sink->last = NULL;
	free(sink->rest);
	sink->rest = NULL;
}
