/* Delays: calls a moment later, by the time-out of the wait that there is anyway. */
#include <time.h>

#include "base/loop_backend.h"

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

bool event_loop_delay(struct event_loop *loop, struct loop_delay *delay, uint64_t ns)
{
	if (!loop->is_uring)
		return false;
	if (!delay->queued) {
		delay->next = loop->delays;
		loop->delays = delay;
		delay->queued = true;
	}
	delay->due = now_ns() + ns;
	return true;
}

void event_loop_undelay(struct event_loop *loop, struct loop_delay *delay)
{
	struct loop_delay **at = &loop->delays;

	if (!delay->queued)
		return;
	while (*at && *at != delay)
		at = &(*at)->next;
	*at = delay->next;
	delay->queued = false;
}

/* There are few: one for a queue that gathers just now. */
static struct loop_delay *soonest(const struct event_loop *loop)
{
	struct loop_delay *found = loop->delays;

	for (struct loop_delay *delay = found; delay; delay = delay->next)
		if (delay->due < found->due)
			found = delay;
	return found;
}

uint64_t loop_delay_left(const struct event_loop *loop)
{
	const struct loop_delay *next = soonest(loop);
	const uint64_t now = next ? now_ns() : 0;

	if (!next)
		return UINT64_MAX;
	return next->due > now ? next->due - now : 0;
}

void loop_run_delays(struct event_loop *loop)
{
	const uint64_t now = now_ns();

	for (;;) {
		struct loop_delay *delay = soonest(loop);

		if (!delay || delay->due > now)
			return;
		event_loop_undelay(loop, delay);
		delay->run(delay);
	}
}
