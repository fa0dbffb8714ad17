/* Calls that a loop does not come to. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <semaphore.h>

#include "base/event_loop.h"

struct held {
	sem_t begun, go;
};

static int hold(void *arg)
{
	struct held *held = arg;

	sem_post(&held->begun);
	while (sem_wait(&held->go) < 0)
		;
	return 0;
}

struct holder {
	struct event_loop *loop;
	struct held held;
};

static void *call_hold(void *arg)
{
	struct holder *holder = arg;

	event_loop_call(holder->loop, hold, &holder->held);
	return NULL;
}

/* What was withdrawn is not made later, when its caller's stack is another's; and what comes behind it is. */
static void a_loop_that_is_held_does_not_answer(enum event_loop_kind kind)
{
	struct event_loop *loop = NULL;
	struct error err = { 0 };
	struct holder holder = { 0 };
	pthread_t thread, behind;

	cr_assert_eq(event_loop_start(&loop, kind, "test", &err), 0, "%s", err.text);
	cr_assert_eq(event_loop_wait_started(loop, &err), 0, "%s", err.text);
	holder.loop = loop;
	cr_expect(event_loop_answers(loop, 1000000000));
	sem_init(&holder.held.begun, 0, 0);
	sem_init(&holder.held.go, 0, 0);
	pthread_create(&thread, NULL, call_hold, &holder);
	while (sem_wait(&holder.held.begun) < 0)
		;
	cr_expect_not(event_loop_answers(loop, 1000000));
	cr_expect_not(event_loop_answers(loop, 0));
	pthread_create(&behind, NULL, call_hold, &holder);
	cr_expect_not(event_loop_answers(loop, 20000000));
	sem_post(&holder.held.go);
	sem_post(&holder.held.go);
	pthread_join(thread, NULL);
	pthread_join(behind, NULL);
	cr_expect(event_loop_answers(loop, 1000000000));
	event_loop_destroy(loop);
}

Test(event_loop_calls, a_loop_that_is_held_does_not_answer_epoll)
{
	a_loop_that_is_held_does_not_answer(EVENT_LOOP_EPOLL);
}

Test(event_loop_calls, a_loop_that_is_held_does_not_answer_uring)
{
	a_loop_that_is_held_does_not_answer(EVENT_LOOP_URING);
}
