/* What code injected into a monitor would try. Each is one attempt: negative, with errno, when it was refused. */
#pragma once

#include "base/event_loop.h"

typedef int attempt_function(void);

/* By name; NULL: there is none. */
attempt_function *attempt_find(const char *name);

/* The loop is that of "ring-operation", NULL for all others; the argument, kept, is a path or a number. */
void attempt_use(struct event_loop *loop, const char *argument);

/* On the calling thread; then "done" or "refused: NAME", the error's name, on standard output. */
void attempt_make(attempt_function *attempt);
