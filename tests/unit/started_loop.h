/* What tests of event loops share: a loop with a thread, what counts an eventfd's signals, and a call that holds a loop. */
#pragma once

#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/event_loop.h"

static inline void on_thread(enum event_loop_kind kind, void (*test)(struct event_loop *loop))
{
	struct event_loop *loop = NULL;
	struct error err = { 0 };

	cr_assert_eq(event_loop_start(&loop, kind, "test", &err), 0, "%s", err.text);
	cr_assert_eq(event_loop_wait_started(loop, &err), 0, "%s", err.text);
	cr_assert_eq(event_loop_has_ring(loop), kind == EVENT_LOOP_URING);
	test(loop);
	event_loop_destroy(loop);
}

struct counter {
	struct loop_watch watch;
	struct event_loop *loop;
	atomic_int calls;
};

static inline void count(struct loop_watch *watch)
{
	atomic_fetch_add(&container_of(watch, struct counter, watch)->calls, 1);
}

static inline void counter_init(struct counter *counter, struct event_loop *loop)
{
	*counter = (struct counter){ .loop = loop };
	counter->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	counter->watch.ready = count;
	cr_assert_geq(counter->watch.fd, 0);
}

static inline void signal_fd(int fd)
{
	const uint64_t one = 1;

	cr_assert_eq(write(fd, &one, sizeof(one)), (ssize_t)sizeof(one));
}

static inline int watch_call(void *arg)
{
	struct counter *counter = arg;

	return event_loop_watch(counter->loop, &counter->watch);
}

static inline int unwatch_call(void *arg)
{
	struct counter *counter = arg;

	event_loop_unwatch(counter->loop, &counter->watch);
	return 0;
}

/* A call that keeps the loop until it is let go. */
struct holder {
	struct event_loop *loop;
	sem_t begun, go;
};

static inline void holder_init(struct holder *holder, struct event_loop *loop)
{
	holder->loop = loop;
	sem_init(&holder->begun, 0, 0);
	sem_init(&holder->go, 0, 0);
}

static inline int hold(void *arg)
{
	struct holder *holder = arg;

	sem_post(&holder->begun);
	while (sem_wait(&holder->go) < 0)
		;
	return 0;
}

/* A thread's. */
static inline void *call_hold(void *arg)
{
	struct holder *holder = arg;

	event_loop_call(holder->loop, hold, holder);
	return NULL;
}
