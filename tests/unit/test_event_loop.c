/* The event loop, each test on epoll and on io_uring: callers must not be able to tell. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <liburing.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "tests/unit/started_loop.h"

/* Two tests and not a parameterized one: Criterion's parameters do not work under TSan. */
#define BOTH(name)                                 \
	static void name(struct event_loop *loop); \
	Test(event_loop, name##_epoll)             \
	{                                          \
		on_loop(EVENT_LOOP_EPOLL, name);   \
	}                                          \
	Test(event_loop, name##_uring)             \
	{                                          \
		on_loop(EVENT_LOOP_URING, name);   \
	}                                          \
	static void name(struct event_loop *loop)

static void on_loop(enum event_loop_kind kind, void (*test)(struct event_loop *loop))
{
	struct event_loop *loop = NULL;
	struct error err = { 0 };

	cr_assert_eq(event_loop_create(&loop, kind, "test", &err), 0, "%s", err.text);
	cr_assert_eq(event_loop_has_ring(loop), kind == EVENT_LOOP_URING);
	test(loop);
	event_loop_destroy(loop);
}

#define BOTH_THREADED(name)                        \
	static void name(struct event_loop *loop); \
	Test(event_loop_epoll, name)               \
	{                                          \
		on_thread(EVENT_LOOP_EPOLL, name); \
	}                                          \
	Test(event_loop_uring, name)               \
	{                                          \
		on_thread(EVENT_LOOP_URING, name); \
	}                                          \
	static void name(struct event_loop *loop)

/* Turns until nothing more happens: a watch may need a turn to be armed. */
static void settle(struct event_loop *loop)
{
	for (int i = 0; i < 4; i++)
		event_loop_run_once(loop, false);
}

BOTH(each_signal_of_an_eventfd_is_an_edge_without_reading_it)
{
	struct counter counter;

	counter_init(&counter, loop);
	cr_assert_eq(event_loop_watch(loop, &counter.watch), 0);
	settle(loop);
	cr_expect_eq(counter.calls, 0);
	for (int i = 1; i <= 3; i++) {
		signal_fd(counter.watch.fd);
		settle(loop);
		cr_expect_eq(counter.calls, i);
	}
	event_loop_unwatch(loop, &counter.watch);
	signal_fd(counter.watch.fd);
	settle(loop);
	cr_expect_eq(counter.calls, 3);
	close(counter.watch.fd);
}

BOTH(what_is_ready_already_is_reported)
{
	struct counter counter;

	counter_init(&counter, loop);
	signal_fd(counter.watch.fd);
	cr_assert_eq(event_loop_watch(loop, &counter.watch), 0);
	settle(loop);
	cr_expect_eq(counter.calls, 1);
	event_loop_unwatch(loop, &counter.watch);
	close(counter.watch.fd);
}

BOTH(a_watch_may_be_armed_again)
{
	struct counter counter;

	counter_init(&counter, loop);
	for (int i = 1; i <= 5; i++) {
		const int before = counter.calls;

		cr_assert_eq(event_loop_watch(loop, &counter.watch), 0);
		signal_fd(counter.watch.fd);
		settle(loop);
		cr_expect_gt(counter.calls, before);
		event_loop_unwatch(loop, &counter.watch);
		event_loop_unwatch(loop, &counter.watch);
		settle(loop);
	}
	close(counter.watch.fd);
}

/* Both are ready; whichever runs first takes the other one away. */
struct pair {
	struct counter a, b;
};

static struct pair the_pair;

static void first_wins(struct loop_watch *watch)
{
	struct counter *self = container_of(watch, struct counter, watch);
	struct counter *other = self == &the_pair.a ? &the_pair.b : &the_pair.a;

	self->calls++;
	event_loop_unwatch(self->loop, &other->watch);
	/* As a device's drain does, from inside a callback. */
	event_loop_run_once(self->loop, false);
}

BOTH(a_callback_may_unwatch_another_that_is_ready_and_run_a_nested_turn)
{
	counter_init(&the_pair.a, loop);
	counter_init(&the_pair.b, loop);
	the_pair.a.watch.ready = the_pair.b.watch.ready = first_wins;
	cr_assert_eq(event_loop_watch(loop, &the_pair.a.watch), 0);
	cr_assert_eq(event_loop_watch(loop, &the_pair.b.watch), 0);
	settle(loop);
	signal_fd(the_pair.a.watch.fd);
	signal_fd(the_pair.b.watch.fd);
	settle(loop);
	cr_expect_eq(the_pair.a.calls + the_pair.b.calls, 1);
	event_loop_unwatch(loop, &the_pair.a.watch);
	event_loop_unwatch(loop, &the_pair.b.watch);
	close(the_pair.a.watch.fd);
	close(the_pair.b.watch.fd);
}

BOTH(destroying_frees_what_is_still_watched)
{
	struct counter *counter = calloc(1, sizeof(*counter));

	counter_init(counter, loop);
	cr_assert_eq(event_loop_watch(loop, &counter->watch), 0);
	settle(loop);
	close(counter->watch.fd);
	free(counter); /* nothing may call it any more: the loop goes next */
}

struct deferred {
	struct loop_defer defer;
	struct event_loop *loop;
	int runs;
	int again;
};

static void run_deferred(struct loop_defer *defer)
{
	struct deferred *self = container_of(defer, struct deferred, defer);

	self->runs++;
	if (self->again-- > 0)
		event_loop_defer(self->loop, defer);
}

BOTH(deferring_twice_runs_once)
{
	struct deferred a = { .defer.run = run_deferred, .loop = loop };
	struct deferred b = a, c = a;

	event_loop_defer(loop, &a.defer);
	event_loop_defer(loop, &b.defer);
	event_loop_defer(loop, &c.defer);
	event_loop_defer(loop, &a.defer);
	event_loop_undefer(loop, &c.defer);
	event_loop_undefer(loop, &c.defer);
	c.again = 1;
	event_loop_run_once(loop, false);
	cr_expect_eq(a.runs, 1);
	cr_expect_eq(b.runs, 1);
	cr_expect_eq(c.runs, 0);
	event_loop_defer(loop, &c.defer); /* the list's tail is right after taking the last out */
	settle(loop);
	cr_expect_eq(c.runs, 2);
}

struct call {
	struct event_loop *loop;
	pthread_t ran_on;
	int value;
	int nested;
};

static int add(void *arg)
{
	struct call *call = arg;

	call->ran_on = pthread_self();
	call->value++;
	if (call->nested-- > 0)
		return event_loop_call(call->loop, add, call);
	return call->value;
}

BOTH_THREADED(a_call_runs_on_the_loops_thread_and_returns_its_value)
{
	struct call call = { .loop = loop, .value = 41, .nested = 2 };

	cr_expect_eq(event_loop_call(loop, add, &call), 44);
	cr_expect(!pthread_equal(call.ran_on, pthread_self()));
}

static void *call_often(void *arg)
{
	struct call *call = arg;

	for (int i = 0; i < 500; i++)
		event_loop_call(call->loop, add, call);
	return NULL;
}

BOTH_THREADED(calls_of_many_threads_are_served_one_at_a_time)
{
	struct call call = { .loop = loop };
	pthread_t threads[4];

	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_create(&threads[i], NULL, call_often, &call);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	cr_expect_eq(call.value, 2000);
}

BOTH_THREADED(a_running_loop_sees_a_storm_of_signals)
{
	struct counter counter;

	counter_init(&counter, loop);
	cr_assert_eq(event_loop_call(loop, watch_call, &counter), 0);
	for (int i = 0; i < 20000; i++)
		signal_fd(counter.watch.fd);
	while (atomic_load(&counter.calls) == 0)
		usleep(100);
	/* Still alive afterwards: the storm did not end the watch. */
	event_loop_call(loop, unwatch_call, &counter);
	counter.calls = 0;
	cr_assert_eq(event_loop_call(loop, watch_call, &counter), 0);
	signal_fd(counter.watch.fd);
	while (atomic_load(&counter.calls) == 0)
		usleep(100);
	event_loop_call(loop, unwatch_call, &counter);
	close(counter.watch.fd);
}

static void quit_when_ready(struct loop_watch *watch)
{
	struct counter *counter = container_of(watch, struct counter, watch);

	counter->calls++;
	event_loop_quit(counter->loop);
}

BOTH(run_returns_after_quit_and_may_run_again)
{
	struct counter counter;

	counter_init(&counter, loop);
	counter.watch.ready = quit_when_ready;
	signal_fd(counter.watch.fd);
	cr_assert_eq(event_loop_watch(loop, &counter.watch), 0);
	event_loop_run(loop);
	cr_expect_eq(counter.calls, 1);
	signal_fd(counter.watch.fd);
	event_loop_run(loop);
	cr_expect_eq(counter.calls, 2);
	event_loop_unwatch(loop, &counter.watch);
	close(counter.watch.fd);
}

/* No descriptor to be had: the thread fails, and so does the wait; the loop can be destroyed. */
Test(event_loop, a_start_that_fails_is_told_and_destroyed)
{
	struct rlimit before, none;
	struct event_loop *loop = NULL;
	struct error err = { 0 };

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = (struct rlimit){ 3, before.rlim_max };
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_eq(event_loop_start(&loop, EVENT_LOOP_EPOLL, "test", &err), 0);
	cr_expect_eq(event_loop_wait_started(loop, &err), -EMFILE);
	cr_expect(strstr(err.text, "loop test") != NULL, "%s", err.text);
	event_loop_destroy(loop);
	setrlimit(RLIMIT_NOFILE, &before);
}

/* Operations on the ring -------------------------------------------------------------------------*/

struct ring_read {
	struct loop_op op;
	char byte;
	int32_t res;
	int done;
};

static void read_done(struct loop_op *op, int32_t res, uint32_t flags)
{
	struct ring_read *self = container_of(op, struct ring_read, op);

	(void)flags;
	self->res = res;
	self->done++;
}

/* More than the submission queue holds: event_loop_sqe() makes room by itself. */
Test(event_loop, a_batch_larger_than_the_ring_completes)
{
	enum { N = 1000 };
	static struct ring_read reads[N];
	struct event_loop *loop = NULL;
	struct error err = { 0 };
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC), left = N;

	cr_assert_eq(event_loop_create(&loop, EVENT_LOOP_URING, "test", &err), 0, "%s", err.text);
	event_loop_run_once(loop, false);
	for (int i = 0; i < N; i++) {
		struct io_uring_sqe *sqe = event_loop_sqe(loop);

		cr_assert_not_null(sqe);
		io_uring_prep_read(sqe, fd, &reads[i].byte, 1, 0);
		reads[i].op.done = read_done;
		event_loop_submit_op(sqe, &reads[i].op);
	}
	while (left > 0) {
		event_loop_run_once(loop, true);
		left = 0;
		for (int i = 0; i < N; i++)
			left += !reads[i].done;
	}
	for (int i = 0; i < N; i++) {
		cr_expect_eq(reads[i].done, 1);
		cr_expect_eq(reads[i].res, 1);
	}
	event_loop_destroy(loop);
	close(fd);
}

Test(event_loop, the_ring_refuses_what_nobody_uses)
{
	struct ring_read op = { .op.done = read_done };
	struct event_loop *loop = NULL;
	struct io_uring_sqe *sqe;

	cr_assert_eq(event_loop_create(&loop, EVENT_LOOP_URING, "test", NULL), 0);
	event_loop_run_once(loop, false);
	sqe = event_loop_sqe(loop);
	io_uring_prep_openat(sqe, AT_FDCWD, "/etc/passwd", O_RDONLY, 0);
	event_loop_submit_op(sqe, &op.op);
	while (!op.done)
		event_loop_run_once(loop, true);
	cr_expect_eq(op.res, -EACCES);
	event_loop_destroy(loop);
}

/* A device's stop() waits inside a callback for what the same turn may have been told of already. */
static struct counter *inner;

static void wait_for_inner(struct loop_watch *watch)
{
	struct counter *outer = container_of(watch, struct counter, watch);

	outer->calls++;
	while (inner->calls == 0)
		event_loop_run_once(outer->loop, true);
}

BOTH(a_turn_inside_another_sees_what_the_outer_one_was_told)
{
	struct counter outer, other;

	counter_init(&outer, loop);
	counter_init(&other, loop);
	outer.watch.ready = wait_for_inner;
	inner = &other;
	cr_assert_eq(event_loop_watch(loop, &outer.watch), 0);
	cr_assert_eq(event_loop_watch(loop, &other.watch), 0);
	signal_fd(outer.watch.fd);
	signal_fd(other.watch.fd);
	alarm(20);
	event_loop_run_once(loop, true);
	cr_expect_eq(outer.calls, 1);
	cr_expect_eq(other.calls, 1);
	event_loop_unwatch(loop, &outer.watch);
	event_loop_unwatch(loop, &other.watch);
	close_fd(&outer.watch.fd);
	close_fd(&other.watch.fd);
}

struct later {
	struct loop_delay delay;
	uint64_t at;
};

static void note_time(struct loop_delay *delay)
{
	container_of(delay, struct later, delay)->at = clock_now_ns(CLOCK_MONOTONIC);
}

BOTH(delays_run_in_their_order_and_not_before_their_time)
{
	struct later late = { .delay.run = note_time }, soon = late, never = late;
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);

	event_loop_run_once(loop, false);
	if (!event_loop_delay(loop, &late.delay, 8000000)) {
		cr_expect_not(event_loop_has_ring(loop));
		return;
	}
	cr_expect(event_loop_has_ring(loop));
	cr_expect(event_loop_delay(loop, &never.delay, 1000000));
	cr_expect(event_loop_delay(loop, &soon.delay, 2000000));
	event_loop_undelay(loop, &never.delay);
	while (!late.at)
		event_loop_run_once(loop, true);
	cr_expect_geq(soon.at, start + 2000000);
	cr_expect_geq(late.at, start + 8000000);
	cr_expect_leq(soon.at, late.at);
	cr_expect_eq(never.at, 0);
}
