/* Lending: while a loop sleeps, another thread may do its work. */
#include "base/loop_backend.h"

/* The one that this thread has borrowed. */
static _Thread_local const struct event_loop *borrowed;

bool loop_is_borrowed_here(const struct event_loop *loop)
{
	return borrowed == loop;
}

void loop_lend(struct event_loop *loop)
{
	loop->is_lent = true;
	pthread_mutex_unlock(&loop->baton);
}

/*
 * A mutex knows no turn: one who borrows again and again could keep the loop out for ever. So the wish is said first, and
 * the loop waits for the end of one borrowing, at most.
 */
void loop_take_back(struct event_loop *loop)
{
	atomic_store_explicit(&loop->wants_baton, true, memory_order_relaxed);
	pthread_mutex_lock(&loop->baton);
	atomic_store_explicit(&loop->wants_baton, false, memory_order_relaxed);
	loop->is_lent = false;
}

bool event_loop_borrow(struct event_loop *loop)
{
	if (pthread_mutex_trylock(&loop->baton) != 0)
		return false;
	/* Said while another had it: then it is the loop's, though we were faster. */
	if (loop->is_lent && !atomic_load_explicit(&loop->wants_baton, memory_order_relaxed)) {
		borrowed = loop;
		return true;
	}
	pthread_mutex_unlock(&loop->baton);
	return false;
}

/* What is left is for the loop's own thread: until it has had a turn nobody borrows it again, so it does not pile up. */
void event_loop_give_back(struct event_loop *loop)
{
	bool leaves;

	loop_run_defers(loop);
	leaves = loop->delays || (loop->backend->has_unsent && loop->backend->has_unsent(loop));
	loop->is_lent = !leaves;
	borrowed = NULL;
	pthread_mutex_unlock(&loop->baton);
	if (leaves)
		loop_wake(loop);
}
