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

int loop_timer_open(struct loop_timer *timer, void (*expired)(struct loop_timer *timer))
{
	*timer = (struct loop_timer){ .expired = expired, .watch.ready = ready };
	timer->watch.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return timer->watch.fd < 0 ? -errno : 0;
}

int loop_timer_attach(struct loop_timer *timer, struct event_loop *loop)
{
	int ret = timer->watch.fd < 0 ? loop_timer_open(timer, timer->expired) : 0;

	if (ret == 0)
		ret = event_loop_watch(loop, &timer->watch);
	if (ret == 0)
		timer->loop = loop;
	return ret;
}

int loop_timer_init(struct loop_timer *timer, struct event_loop *loop,
		    void (*expired)(struct loop_timer *timer))
{
	int ret = loop_timer_open(timer, expired);

	if (ret < 0)
		return ret;
	ret = loop_timer_attach(timer, loop);
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

void loop_timer_detach(struct loop_timer *timer)
{
	if (!timer->loop || timer->watch.fd < 0)
		return;
	loop_timer_disarm(timer);
	event_loop_unwatch(timer->loop, &timer->watch);
	timer->loop = NULL;
}

void loop_timer_fini(struct loop_timer *timer)
{
	if (timer->loop && timer->watch.fd >= 0)
		event_loop_unwatch(timer->loop, &timer->watch);
	if (timer->expired)
		close_fd(&timer->watch.fd);
	timer->loop = NULL;
	timer->armed = false;
}
