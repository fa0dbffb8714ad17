/* Private to base/event_loop*.c: what the two ways of waiting have in common. */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/event_loop.h"

/* The loop's side of a watch. It outlives event_loop_unwatch() until the kernel has let go of it;
 * from then on `watch` is NULL and an event that was under way is dropped. */
struct watch_node {
	struct loop_watch *watch;
	struct event_loop *loop;
	struct watch_node *next; /* all that the kernel may still name; epoll: or the dead ones */
	struct watch_node **prev;
	struct loop_op op; /* uring */
};

/* How a turn of the loop waits when nothing is ready. */
enum loop_wait {
	LOOP_LOOK,  /* not at all */
	LOOP_SLEEP, /* until something is */
	LOOP_LEND,  /* the same, and others may borrow the loop meanwhile */
};

struct loop_backend {
	int (*enable)(struct event_loop *loop); /* on the loop's thread, before its first turn */
	int (*watch)(struct event_loop *loop, struct watch_node *node);
	void (*unwatch)(struct event_loop *loop, struct watch_node *node, int fd);
	/* Handles what is ready; waits first if nothing is. */
	void (*turn)(struct event_loop *loop, enum loop_wait wait);
	/* Is there something that only the loop's own thread can send on its way? NULL: never. */
	bool (*has_unsent)(const struct event_loop *loop);
	void (*fini)(struct event_loop *loop);
};

struct loop_call {
	int (*fn)(void *arg);
	void *arg;
	int ret;
	sem_t done;
	struct loop_call *next;
};

struct event_loop {
	const struct loop_backend *backend;
	void *backend_state;
	bool is_uring;
	char name[16];

	bool quit;
	bool has_thread;
	pthread_t thread; /* the loop's thread: written before `started` */
	atomic_bool started;
	sem_t enabled;		   /* posted by the new thread when it can take calls */
	enum event_loop_kind kind; /* of a loop whose thread makes its own backend */
	struct error start_error;  /* the thread's; read after `enabled` was posted */
	bool enabled_once;	   /* it has had its first turn, or is about to */

	struct loop_defer *defer_head;
	struct loop_defer **defer_tail;

	struct loop_delay *delays;

	/* Held by whoever does the loop's work: its thread, but for the time that it sleeps with LOOP_LEND. */
	pthread_mutex_t baton;
	atomic_bool wants_baton; /* its thread is awake again: nobody else is let in */
	bool is_lent; /* under the baton: its thread sleeps, and has nothing left to do */

	/* What other threads touch without the baton. */
	pthread_mutex_t call_lock;
	struct loop_call *calls;
	struct loop_call **calls_tail;
	struct loop_watch wake; /* an eventfd that event_loop_call() writes */
};

int loop_epoll_init(struct event_loop *loop, struct error *err);

/* -errno when the kernel refuses a ring (disabled, forbidden, too old, out of memory). */
int loop_uring_init(struct event_loop *loop);

/* base/event_loop_lend.c, for backends: before and after a sleep in which the loop may be borrowed. Loop thread. */
void loop_lend(struct event_loop *loop);
void loop_take_back(struct event_loop *loop);

/* Has this thread borrowed it? */
bool loop_is_borrowed_here(const struct event_loop *loop);

/* base/event_loop.c: what was deferred, by whoever does the loop's work; and wakes its thread. Any thread. */
void loop_run_defers(struct event_loop *loop);
void loop_wake(struct event_loop *loop);

/* base/event_loop_delay.c: ns until the next one, UINT64_MAX without any; and runs those that are due. */
uint64_t loop_delay_left(const struct event_loop *loop);
void loop_run_delays(struct event_loop *loop);
