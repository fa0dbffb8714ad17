#include "base/loop_timer.h"

#include <sys/timerfd.h>

#define NS_PER_SECOND 1000000000u

/* An expiry that was disarmed after the kernel had noted it must not be reported. */
static void ready(struct loop_watch *watch)
{
	struct loop_timer *timer = container_of(watch, struct loop_timer, watch);
	uint64_t count;

	if (read(watch->fd, &count, sizeof(count)) != sizeof(count) || !timer->armed)
		return;
	timer->armed = false;
	timer->expired(timer);
}

int loop_timer_init(struct loop_timer *timer, struct event_loop *loop,
		    void (*expired)(struct loop_timer *timer))
{
	int ret;

	*timer = (struct loop_timer){ .expired = expired, .loop = loop, .watch.ready = ready };
	timer->watch.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (timer->watch.fd < 0)
		return -errno;
	ret = event_loop_watch(loop, &timer->watch);
	if (ret < 0)
		close_fd(&timer->watch.fd);
	return ret;
}

static void set(const struct loop_timer *timer, uint64_t ns)
{
	const struct itimerspec when = { .it_value = { .tv_sec = (time_t)(ns / NS_PER_SECOND),
						       .tv_nsec = (long)(ns % NS_PER_SECOND) } };

	timerfd_settime(timer->watch.fd, 0, &when, NULL);
}

void loop_timer_arm(struct loop_timer *timer, uint64_t ns)
{
	timer->armed = true;
	set(timer, ns ? ns : 1); /* 0 would disarm */
}

void loop_timer_disarm(struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	timer->armed = false;
	set(timer, 0);
}

void loop_timer_fini(struct loop_timer *timer)
{
	if (!timer->loop || timer->watch.fd < 0)
		return;
	event_loop_unwatch(timer->loop, &timer->watch);
	close_fd(&timer->watch.fd);
	timer->armed = false;
}
