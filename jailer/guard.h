/*
 * What the monitor's threads may still do once they are armed (base/thread.h): the guard that thread_arm()
 * calls. A system call that the thread's kind has no rule for raises SIGSYS. Builds with a sanitizer have no
 * guard: it needs more system calls than any list of ours has.
 */
#pragma once

#include "base/error.h"

/*
 * Sets the guard up, before threads exist; from here on the process is non-dumpable and has no_new_privs. Without a path the policy is the one built in, compiled at build;
 * else that file's, in our text format or Firecracker's JSON. -errno and *err.
 */
must_check int guard_setup(const char *policy_path, struct error *err);

/* The name of a system call, or "unknown". Async-signal-safe. */
const char *guard_syscall_name(int number);
