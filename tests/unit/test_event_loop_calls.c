/* Calls that a loop does not come to. */
#include "tests/unit/started_loop.h"

/* What was withdrawn is not made later, when its caller's stack is another's; and what comes behind it is. */
static void a_loop_that_is_held_does_not_answer(struct event_loop *loop)
{
	struct holder holder;
	pthread_t thread, behind;

	holder_init(&holder, loop);
	cr_expect(event_loop_answers(loop, 1000000000));
	pthread_create(&thread, NULL, call_hold, &holder);
	while (sem_wait(&holder.begun) < 0)
		;
	cr_expect_not(event_loop_answers(loop, 1000000));
	cr_expect_not(event_loop_answers(loop, 0));
	pthread_create(&behind, NULL, call_hold, &holder);
	cr_expect_not(event_loop_answers(loop, 20000000));
	sem_post(&holder.go);
	sem_post(&holder.go);
	pthread_join(thread, NULL);
	pthread_join(behind, NULL);
	cr_expect(event_loop_answers(loop, 1000000000));
}

Test(event_loop_calls, a_loop_that_is_held_does_not_answer_epoll)
{
	on_thread(EVENT_LOOP_EPOLL, a_loop_that_is_held_does_not_answer);
}

Test(event_loop_calls, a_loop_that_is_held_does_not_answer_uring)
{
	on_thread(EVENT_LOOP_URING, a_loop_that_is_held_does_not_answer);
}
