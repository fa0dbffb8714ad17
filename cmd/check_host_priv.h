/*
 * Private to cmd/check_host*.c and its unit test: one row of the report, and what a row may ask.
 *
 * A group of checks is a table in the file that implements them, so that a check's texts and its
 * code stand together. To add a check, add a row.
 */
#pragma once

#include <stdio.h>

#include "base/error.h"
#include "cmd/check_host.h"

enum check_state {
	CHECK_OK,
	CHECK_SLOW,	  /* works, but costs time */
	CHECK_MISSING,	  /* something of mayfly cannot be used; guests run */
	CHECK_CANNOT_RUN, /* no guest runs */
	CHECK_UNKNOWN,	  /* the host does not say */
};

/* What all checks look at. */
struct host {
	int root; /* directory in which proc, sys and dev lie: "/", or a test's made-up one */
	int kvm;  /* /dev/kvm, or -errno */
	unsigned int kernel; /* KERNEL(major, minor), 0 when unknown */
	enum kvm_quality quality;
	struct error kvm_error; /* why quality is not better */
};

#define KERNEL(major, minor) ((unsigned int)(major) << 16 | (unsigned int)(minor))

struct check_result {
	enum check_state state;
	char found[160];    /* printable ASCII, as the two below */
	const char *cost;   /* NULL when nothing is lacking */
	const char *advice; /* likewise */
};

struct host_check {
	const char *id;	   /* for scripts: never changes */
	const char *title; /* for people: at most 20 characters */
	void (*run)(const struct host *host, const struct host_check *check,
		    struct check_result *result);
	const char *cost;      /* of a lack, unless run() says better */
	const char *advice;    /* likewise */
	int arg;	       /* run()'s: a capability's number */
	int min;	       /* run()'s: the least value that will do */
	enum check_state lack; /* run()'s: what it means not to have it */
};

struct check_group {
	const char *title;
	const struct host_check *checks;
	size_t count;
};

extern const struct check_group check_processor, check_kvm, check_kvm_settings, check_capabilities,
	check_kernel, check_memory, check_isolation;

/* All of the above, in the order of the report; ends with NULL. */
extern const struct check_group *const check_groups[];

/* A row of the finished report. */
struct check_row {
	const char *group;
	const struct host_check *check;
	struct check_result result;
};

struct report {
	struct check_row *rows;
	size_t count;
	enum kvm_quality quality;
	bool can_run;
	char verdict[320];
};

/* Runs every check. -ENOMEM, else 0; report_fini() in any case. */
must_check int report_make(struct report *report, const struct host *host);
void report_fini(struct report *report);

/* One word for people and scripts: "ok", "slow", "missing", "cannot run", "unknown". */
const char *check_state_name(enum check_state state);

/* The report as a table of `width` columns at most, or as JSON. -errno on failure. */
void report_print(const struct report *report, FILE *out, unsigned int width, bool colour);
must_check int report_print_json(const struct report *report, FILE *out);

/* Sets the state and what was found; bytes that are no printable ASCII become '?'. */
void check_set(struct check_result *result, enum check_state state, const char *fmt, ...)
	printf_like(3, 4);

/* "unknown", for a file of the host that cannot be read (ret: the errno) or makes no sense. */
void check_unknown(struct check_result *result, const char *path, int ret);

/* Adds a word to a list of words, cut off where the list is full. */
void check_append_word(char *list, size_t size, const char *separator, const char *word);

/* The first bytes of a file under host->root (path without the first slash), always terminated.
 * Returns their number or -errno. Never blocks, whatever the file is. */
int host_read(const struct host *host, const char *path, char *buf, size_t size);

/* A file that holds one number. -EINVAL when it holds something else. */
must_check int host_read_number(const struct host *host, const char *path, long long *value);

/* A module's parameter that is Y or N (or 1, 0). 1, 0 or -errno. */
int host_read_bool(const struct host *host, const char *path);

/* The same test as kvm_probe() on a /dev/kvm that is open already. */
enum kvm_quality kvm_probe_fd(int kvm, struct error *err);

/* Pure readers of what the files hold; any input will do. */

/* Is `word` one of the words, separated by white space or commas, of the line? */
bool check_parse_has_word(const char *line, const char *word);

/* A decimal number and nothing else but white space around it. 0 or -EINVAL. */
must_check int check_parse_number(const char *text, long long *value);

/* Y, y, 1: 1. N, n, 0: 0. Anything else: -EINVAL. */
int check_parse_bool(const char *text);

/* "6.12.5-cloud": KERNEL(6, 12). 0 when it makes no sense. */
unsigned int check_parse_kernel_version(const char *release);

/* The chosen one of "always [madvise] never". -EINVAL when none is or it does not fit. */
must_check int check_parse_chosen(const char *text, char *out, size_t size);

/* Copies the value of the first "name : value" line of /proc/cpuinfo. -ENOENT without one. */
must_check int check_parse_cpuinfo(const char *text, const char *name, char *out, size_t size);

/* A line of /etc/group: true, and the name, if it is that group's. */
bool check_parse_group_line(const char *line, unsigned int gid, char *name, size_t size);

/* What /proc/mounts says of cgroups; feed it line by line. */
struct cgroup_mounts {
	char v2[128];	   /* where version 2 is mounted, "" if nowhere */
	unsigned int v1;   /* hierarchies with a controller */
	bool favordynmods; /* on all of those */
};

void cgroup_mounts_add(struct cgroup_mounts *mounts, const char *line);
