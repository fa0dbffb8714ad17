/*
 * Threads as the monitor wants them: a small stack (it is the monitor's own memory, which thousands
 * of instances multiply), a name to account by, and no signals but those of a crash, which must
 * reach the handler that puts the terminal back.
 */
#pragma once

#include <pthread.h>

#include "base/error.h"

/* The name is cut to 15 bytes. Returns 0 or -errno. Join it with pthread_join(). */
must_check int thread_start(pthread_t *thread, const char *name, void *(*run)(void *), void *arg);
