/*
 * The record of what a jailer makes for an instance, in BASE/PROGRAM/ID/jail.record, outside the jail's
 * root. A line is written before the thing is made, so that a jailer killed at any point leaves nothing
 * that `cleanup` does not know of. Whoever creates the file owns the id.
 *
 *   made-dir            the folder of the id itself: all below it is ours
 *   made PATH           a file or folder below it, when that was there before
 *   process PID START   PID with its start time in clock ticks since boot (proc(5), field 22)
 *   cgroup PATH
 *   cgroup-parent PATH  a folder above it that a jailer made, for one instance or several: it goes with the last
 *   pin PATH            a folder of BPF pins
 *   tap NAME NETNS      a tap with a clsact program of ours; "-": in the host's network namespace
 */
#pragma once

#include <sys/types.h>

#include "base/error.h"

#define JAIL_RECORD "jail.record"

/* Creates it in the folder: its descriptor, or -EEXIST when the id is in use. */
must_check int jail_record_create(int dir);

/* Adds a line "KIND TEXT". -errno. */
must_check int jail_record_add(int record, const char *kind, const char *text);

/* Adds the process with this id as seen from proc, an open /proc; 0: the caller. -errno. */
must_check int jail_record_process(int record, int proc, pid_t pid);

/* Does the process of such a line's text run? */
bool jail_record_runs(const char *text);

/*
 * Calls each() for every line, in the order of writing or backwards. The first negative answer ends it and
 * is returned; -ENOENT: there is no record. Lines that are not of this form are skipped.
 */
must_check int jail_record_each(int dir, bool backwards,
				int (*each)(const char *kind, char *text, void *opaque),
				void *opaque);
