#include "base/event_loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/loop_backend.h"
#include "base/thread.h"

/* Calls ----------------------------------------------------------------------------------------*/

/* Takes a call out of those that wait: this one, or the first when it is NULL. NULL: it is not there (any more). */
static struct loop_call *take_call(struct event_loop *loop, const struct loop_call *wanted)
{
	struct loop_call **at = &loop->calls, *call;

	pthread_mutex_lock(&loop->call_lock);
	while (*at && wanted && *at != wanted)
		at = &(*at)->next;
	call = *at;
	if (call)
		*at = call->next;
	if (call && loop->calls_tail == &call->next)
		loop->calls_tail = at;
	pthread_mutex_unlock(&loop->call_lock);
	return call;
}

/* One after the other: those behind one that takes long can be withdrawn. */
static void run_calls(struct loop_watch *wake)
{
	struct event_loop *loop = container_of(wake, struct event_loop, wake);
	struct loop_call *call;

	while ((call = take_call(loop, NULL))) {
		/* The caller's stack: gone once it is woken. */
		call->ret = call->fn(call->arg);
		sem_post(&call->done);
	}
}

static bool on_loop_thread(const struct event_loop *loop)
{
	return !atomic_load_explicit(&loop->started, memory_order_acquire) ||
	       pthread_equal(pthread_self(), loop->thread) || loop_is_borrowed_here(loop);
}

void loop_wake(struct event_loop *loop)
{
	const uint64_t one = 1;

	/* Cannot fail: the counter would need 2^64 - 1 unread calls. */
	if (write(loop->wake.fd, &one, sizeof(one)) < 0)
		log_error("loop %s: cannot wake it", loop->name);
}

static void add_call(struct event_loop *loop, struct loop_call *call)
{
	sem_init(&call->done, 0, 0);
	pthread_mutex_lock(&loop->call_lock);
	*loop->calls_tail = call;
	loop->calls_tail = &call->next;
	pthread_mutex_unlock(&loop->call_lock);
	loop_wake(loop);
}

int event_loop_call(struct event_loop *loop, int (*fn)(void *arg), void *arg)
{
	struct loop_call call = { .fn = fn, .arg = arg };

	if (on_loop_thread(loop))
		return fn(arg);
	add_call(loop, &call);
	while (sem_wait(&call.done) < 0)
		; /* EINTR: a kick meant for the vCPU that is calling */
	sem_destroy(&call.done);
	return call.ret;
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

bool event_loop_answers(struct event_loop *loop, uint64_t ns)
{
	const struct timespec until = clock_after_ns(CLOCK_MONOTONIC, ns);
	struct loop_call call = { .fn = do_nothing };
	bool answers = true;

	if (on_loop_thread(loop))
		return true;
	add_call(loop, &call);
	while (sem_clockwait(&call.done, CLOCK_MONOTONIC, &until) < 0) {
		/* One that is being made is nothing to wait for. */
		answers = errno != ETIMEDOUT || !take_call(loop, &call);
		if (!answers)
			break;
	}
	if (answers) { /* TSan knows sem_wait() and not sem_clockwait(): this shows it the order */
		sem_post(&call.done);
		while (sem_wait(&call.done) < 0)
			;
	}
	sem_destroy(&call.done);
	return answers;
}

/* Defers ---------------------------------------------------------------------------------------*/

void event_loop_defer(struct event_loop *loop, struct loop_defer *defer)
{
	if (defer->queued)
		return;
	defer->queued = true;
	defer->next = NULL;
	*loop->defer_tail = defer;
	loop->defer_tail = &defer->next;
}

void event_loop_undefer(struct event_loop *loop, struct loop_defer *defer)
{
	if (!defer->queued)
		return;
	for (struct loop_defer **at = &loop->defer_head; *at; at = &(*at)->next) {
		if (*at != defer)
			continue;
		*at = defer->next;
		if (loop->defer_tail == &defer->next)
			loop->defer_tail = at;
		break;
	}
	defer->queued = false;
}

/* A run() may defer again, itself or another: that is part of this batch too. */
void loop_run_defers(struct event_loop *loop)
{
	while (loop->defer_head) {
		struct loop_defer *defer = loop->defer_head;

		loop->defer_head = defer->next;
		if (!loop->defer_head)
			loop->defer_tail = &loop->defer_head;
		defer->queued = false;
		defer->run(defer);
	}
}

/* Watches --------------------------------------------------------------------------------------*/

int event_loop_watch(struct event_loop *loop, struct loop_watch *watch)
{
	struct watch_node *node = calloc(1, sizeof(*node));
	int ret;

	if (!node)
		return -ENOMEM;
	node->watch = watch;
	node->loop = loop;
	ret = loop->backend->watch(loop, node);
	if (ret < 0) {
		free(node);
		return ret;
	}
	watch->node = node;
	return 0;
}

void event_loop_unwatch(struct event_loop *loop, struct loop_watch *watch)
{
	if (!watch->node)
		return;
	watch->node->watch = NULL;
	loop->backend->unwatch(loop, watch->node, watch->fd);
	watch->node = NULL;
}

/* Life -----------------------------------------------------------------------------------------*/

static int init_wake(struct event_loop *loop, struct error *err)
{
	loop->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake.fd < 0)
		return error_set_errno(err, errno, "loop %s: cannot make an eventfd", loop->name);
	loop->wake.ready = run_calls;
	return 0;
}

static int fall_back(struct event_loop *loop, int refusal, struct error *err)
{
	log_warn("loop %s: no io_uring (%s); using epoll and worker threads", loop->name,
		 strerrordesc_np(-refusal));
	loop->backend = NULL;
	return loop_epoll_init(loop, err);
}

static int init_backend(struct event_loop *loop, enum event_loop_kind kind, struct error *err)
{
	if (kind == EVENT_LOOP_URING) {
		int ret = loop_uring_init(loop);

		return ret == 0 ? 0 : fall_back(loop, ret, err);
	}
	return loop_epoll_init(loop, err);
}

static struct event_loop *alloc_loop(const char *name, struct error *err)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));

	if (!loop) {
		error_set(err, ENOMEM, "loop %s: out of memory", name);
		return NULL;
	}
	snprintf(loop->name, sizeof(loop->name), "%s", name);
	loop->defer_tail = &loop->defer_head;
	loop->calls_tail = &loop->calls;
	pthread_mutex_init(&loop->call_lock, NULL);
	pthread_mutex_init(&loop->baton, NULL);
	sem_init(&loop->enabled, 0, 0);
	loop->wake.fd = -1;
	return loop;
}

static void free_loop(struct event_loop *loop)
{
	if (loop->backend)
		loop->backend->fini(loop);
	close_fd(&loop->wake.fd);
	sem_destroy(&loop->enabled);
	pthread_mutex_destroy(&loop->baton);
	pthread_mutex_destroy(&loop->call_lock);
	free(loop);
}

static int init_loop(struct event_loop *loop, enum event_loop_kind kind, struct error *err)
{
	int ret = init_wake(loop, err);

	return ret < 0 ? ret : init_backend(loop, kind, err);
}

int event_loop_create(struct event_loop **out, enum event_loop_kind kind, const char *name,
		      struct error *err)
{
	struct event_loop *loop = alloc_loop(name, err);
	int ret;

	if (!loop)
		return -ENOMEM;
	ret = init_loop(loop, kind, err);
	if (ret < 0)
		free_loop(loop);
	else
		*out = loop;
	return ret;
}

/* A ring that is SINGLE_ISSUER belongs to the thread that enables it, hence here and not in
 * create; the wake watch is a submission, so it comes after that. */
static int enable(struct event_loop *loop)
{
	struct error err = { 0 };
	int ret = loop->backend->enable(loop);

	if (ret < 0 && loop->is_uring) {
		loop->backend->fini(loop);
		loop->is_uring = false;
		ret = fall_back(loop, ret, &err);
	}
	if (ret == 0)
		ret = event_loop_watch(loop, &loop->wake);
	loop->enabled_once = ret == 0;
	return ret;
}

static void run_turn(struct event_loop *loop, enum loop_wait wait)
{
	loop_run_defers(loop);
	loop->backend->turn(loop, wait);
	if (loop->delays)
		loop_run_delays(loop);
	loop_run_defers(loop);
}

void event_loop_run_once(struct event_loop *loop, bool wait)
{
	/* A loop that is driven by hand: the first turn makes this thread its own. */
	if (!loop->enabled_once && enable(loop) < 0) {
		log_error("loop %s: cannot start", loop->name);
		return;
	}
	run_turn(loop, wait ? LOOP_SLEEP : LOOP_LOOK);
}

/* A callback that waits by event_loop_run_once() is in the middle of something: only this, outermost, sleep lends. */
static void run_until_quit(struct event_loop *loop, enum loop_wait wait)
{
	pthread_mutex_lock(&loop->baton);
	while (!loop->quit)
		run_turn(loop, wait);
	pthread_mutex_unlock(&loop->baton);
}

static void *loop_thread(void *arg)
{
	struct event_loop *loop = arg;
	int ret = init_loop(loop, loop->kind, &loop->start_error);

	if (ret == 0) {
		ret = enable(loop);
		if (ret < 0)
			error_set_errno(&loop->start_error, ret, "loop %s: cannot start",
					loop->name);
		else
			ret = thread_arm(THREAD_IO, &loop->start_error);
	}
	sem_post(&loop->enabled);
	if (ret == 0) {
		run_until_quit(loop, LOOP_LEND);
		/* Here and not in destroy: only this thread may submit to the ring. */
		event_loop_unwatch(loop, &loop->wake);
	}
	return NULL;
}

int event_loop_start(struct event_loop **out, enum event_loop_kind kind, const char *name,
		     struct error *err)
{
	struct event_loop *loop = alloc_loop(name, err);
	int ret;

	if (!loop)
		return -ENOMEM;
	loop->kind = kind;
	ret = thread_start(&loop->thread, loop->name, loop_thread, loop);
	if (ret < 0) {
		free_loop(loop);
		return error_set_errno(err, ret, "loop %s: cannot start its thread", name);
	}
	loop->has_thread = true;
	*out = loop;
	return 0;
}

int event_loop_wait_started(struct event_loop *loop, struct error *err)
{
	if (atomic_load_explicit(&loop->started, memory_order_relaxed))
		return 0;
	while (sem_wait(&loop->enabled) < 0)
		;
	if (loop->start_error.code < 0) {
		sem_post(&loop->enabled); /* so that event_loop_destroy() learns it too */
		*err = loop->start_error;
		return err->code;
	}
	atomic_store_explicit(&loop->started, true, memory_order_release);
	return 0;
}

void event_loop_run(struct event_loop *loop)
{
	int ret;

	loop->thread = pthread_self();
	atomic_store_explicit(&loop->started, true, memory_order_release);
	if (!loop->enabled_once) {
		ret = enable(loop);
		if (ret < 0) {
			log_error("loop %s: cannot start: %s", loop->name, strerrordesc_np(-ret));
			return;
		}
	}
	run_until_quit(loop, LOOP_SLEEP);
	loop->quit = false;
}

void event_loop_quit(struct event_loop *loop)
{
	loop->quit = true;
}

static int quit_call(void *arg)
{
	event_loop_quit(arg);
	return 0;
}

void event_loop_destroy(struct event_loop *loop)
{
	if (!loop)
		return;
	if (loop->has_thread) {
		struct error ignored = { 0 };

		if (event_loop_wait_started(loop, &ignored) == 0)
			event_loop_call(loop, quit_call, loop);
		pthread_join(loop->thread, NULL);
		atomic_store_explicit(&loop->started, false, memory_order_release);
	}
	event_loop_unwatch(loop, &loop->wake);
	free_loop(loop);
}
