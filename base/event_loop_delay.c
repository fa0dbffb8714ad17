/* Delays: calls a moment later, by the time-out of the wait that there is anyway. */

#include "base/clock.h"
#include "base/loop_backend.h"

bool event_loop_delay(struct event_loop *loop, struct loop_delay *delay, uint64_t ns)
{
	if (!loop->is_uring)
		return false;
	if (!delay->queued) {
		delay->next = loop->delays;
		loop->delays = delay;
		delay->queued = true;
	}
	delay->due = clock_now_ns(CLOCK_MONOTONIC) + ns;
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
	const uint64_t now = next ? clock_now_ns(CLOCK_MONOTONIC) : 0;

	if (!next)
		return UINT64_MAX;
	return next->due > now ? next->due - now : 0;
}

void loop_run_delays(struct event_loop *loop)
{
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);

	for (;;) {
		struct loop_delay *delay = soonest(loop);

		if (!delay || delay->due > now)
			return;
		event_loop_undelay(loop, delay);
		delay->run(delay);
	}
}
