/*
 * Threads as the monitor wants them: a small stack (it is the monitor's own memory, which thousands
 * of instances multiply), a name to account by, and no signals but those of a crash, which must
 * reach the handler that puts the terminal back.
 *
 * What a thread may ask of the kernel depends on its kind. When it has what it needs it arms itself, and from
 * then on can do only what its kind does. Who decides what that is sits above and sets the guard.
 */
#pragma once

#include <pthread.h>

#include "base/error.h"

/* The name is cut to 15 bytes. Returns 0 or -errno. Join it with pthread_join(). */
must_check int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);

/* A condition whose timed waits go by CLOCK_MONOTONIC. Undo it with pthread_cond_destroy(). */
void thread_cond_init(pthread_cond_t *cond);

/* The calling thread's name, as given to thread_start(); the main thread's is "main". Async-signal-safe. */
const char *thread_name(void);

enum thread_kind {
	THREAD_CONTROL, /* the main thread, once a machine runs */
	THREAD_IO,	/* event loops with a thread, and what they hand work to */
	THREAD_VCPU,
};
#define THREAD_KINDS 3

/* What thread_arm() calls, on the thread that is to be armed: 0 or -errno and *err. Before threads exist. */
void thread_set_guard(int (*guard)(enum thread_kind kind, struct error *err));

/*
 * Arms the calling thread for good, and every thread that it will start: those are of its kind. A second call
 * of one thread does nothing; without a guard none does anything. 0, or -errno and *err.
 */
must_check int thread_arm(enum thread_kind kind, struct error *err);
