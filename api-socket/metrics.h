/*
 * The metrics of a microVM: everything it counts, by the names that Firecracker's users know. One walk
 * over all of it feeds all forms, Firecracker's JSON (what has come since the last time) and
 * Prometheus' texts (totals). Control thread.
 */
#pragma once

#include <jansson.h>

#include "api-socket/fields.h"
#include "base/loop_timer.h"

struct controller;

enum metric_kind {
	METRIC_COUNT, /* since the start of the process or of the microVM */
	METRIC_LEVEL, /* a state, shown as it is */
	METRIC_LEAST, /* likewise; of several devices the least, 0 being none */
	METRIC_MOST,  /* likewise; of several devices the most */
};

/* One number. */
struct metric {
	const char *family;   /* "block", "put_api_requests" */
	const char *instance; /* of a family with several: the device's name; else NULL */
	const char *group; /* of several numbers about one thing: its name, "read_agg"; else NULL */
	const char *name;  /* "read_bytes" */
	uint64_t value;
	enum metric_kind kind;
};

/* Calls visit() for each, always in the same order of families. */
void metrics_walk(struct controller *controller,
		  void (*visit)(void *opaque, const struct metric *metric), void *opaque);

enum metrics_form {
	METRICS_OPEN,	 /* OpenMetrics 1.0 */
	METRICS_CLASSIC, /* Prometheus' text form before that, 0.0.4 */
};

/* As Prometheus reads them; the caller's to free. NULL: no memory. */
char *metrics_text(struct controller *controller, enum metrics_form form);

/* Where Firecracker's form goes: a line of JSON each minute, and when asked. */
struct metrics_sink {
	int fd; /* -1: nowhere */
	bool emit_id;
	const json_t *properties; /* borrowed; NULL: none */
	json_t *last;		  /* what was told, as totals */
	struct loop_timer timer;
	uint64_t next_line; /* when, ns */
	char *rest;	    /* of a line that has gone in part; NULL: none */
	size_t rest_len;
	uint64_t missed; /* lines that found no room */
	uint64_t fails;	 /* lines that could not be written for another reason */
};

/* Opens the file or pipe, and writes a line each minute from now on. -errno: as if not called. */
must_check int metrics_open(struct controller *controller, const struct opt_file *file,
			    struct error *err);

/* The microVM has been started or loaded: a line at the loop's next turn, and the minutes count from there. */
void metrics_begin(struct controller *controller);

/* Writes a line now. Without a file it does nothing. */
void metrics_flush(struct controller *controller);

/* The signals that are told of, by Firecracker's names; ends with one that has none. */
struct metrics_signal {
	const char *name;
	int number;
};

extern const struct metrics_signal metrics_signals[];

/* A last line, and the end of it. Harmless when there is none. */
void metrics_close(struct controller *controller);
