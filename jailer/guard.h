/*
 * What the monitor may still do, whoever gets hold of it: system calls by seccomp, files by Landlock, no privileges that
 * it has no use for. Some of it holds at once, the rest for each thread from when it is armed (base/thread.h); then a
 * system call that the thread's kind has no rule for raises SIGSYS. Builds with a sanitizer have no guard: it needs
 * more system calls than any list of ours has.
 */
#pragma once

#include "base/error.h"

struct guard_options {
	const char *
		policy; /* a file with filters, in our text format or Firecracker's JSON; NULL: built in */
	bool no_seccomp; /* all the rest of the guard stays */
};

/* Before threads exist. From here on the process is non-dumpable and has no_new_privs. -errno and *err. */
must_check int guard_setup(const struct guard_options *options, struct error *err);

/* The name of a system call, or "unknown". Async-signal-safe. */
const char *guard_syscall_name(int number);
