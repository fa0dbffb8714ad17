/*
 * A one-shot timer of an event loop, on a timerfd. Everything here runs on the loop's thread (before
 * the loop's start: on its creator's).
 */
#pragma once

#include "base/event_loop.h"

struct loop_timer {
	void (*expired)(struct loop_timer *timer);
	struct event_loop *loop;
	struct loop_watch watch;
	bool armed; /* expired() will be called */
};

/* Not armed. -errno when the host has no descriptor for it; then nothing is left to undo. */
must_check int loop_timer_init(struct loop_timer *timer, struct event_loop *loop,
			       void (*expired)(struct loop_timer *timer));

/*
 * The same in two steps, for who must not fail later for want of a descriptor: the first takes one (-errno: the host
 * has none), the second can fail for want of memory only. A detached timer is disarmed and has its descriptor still;
 * to attach one that was never opened opens it.
 */
must_check int loop_timer_open(struct loop_timer *timer, void (*expired)(struct loop_timer *timer));
must_check int loop_timer_attach(struct loop_timer *timer, struct event_loop *loop);
void loop_timer_detach(struct loop_timer *timer);

/* expired() once, `ns` nanoseconds from now (0: at the loop's next turn); a timer that is armed
 * already is set anew. */
void loop_timer_arm(struct loop_timer *timer, uint64_t ns);

/* expired() is not called after it returns. */
void loop_timer_disarm(struct loop_timer *timer);

/* Disarms and closes. Harmless on a timer that was zeroed with watch.fd = -1 or never initialised
 * successfully. */
void loop_timer_fini(struct loop_timer *timer);
