/* A loop that sleeps is lent, on epoll and on io_uring: its work is done by one thread at a time, and it gets its turn. */
#include <fcntl.h>
#include <liburing.h>

#include "tests/unit/started_loop.h"

#define PATIENCE 5000 /* ms */

#define BOTH(name)                                 \
	static void name(struct event_loop *loop); \
	Test(event_loop_lend, name##_epoll)        \
	{                                          \
		on_thread(EVENT_LOOP_EPOLL, name); \
	}                                          \
	Test(event_loop_lend, name##_uring)        \
	{                                          \
		on_thread(EVENT_LOOP_URING, name); \
	}                                          \
	static void name(struct event_loop *loop)

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* It falls asleep when it has nothing to do, not at once; and a sleep that began with a submission is not lent. */
static void borrow(struct event_loop *loop)
{
	for (int i = 0; i < PATIENCE; i++) {
		if (event_loop_borrow(loop))
			return;
		event_loop_call(loop, nothing, NULL);
		usleep(1000);
	}
	cr_assert_fail("it never sleeps");
}

struct deferred {
	struct loop_defer defer;
	pthread_t ran_on;
	bool ran;
};

static void note_thread(struct loop_defer *defer)
{
	struct deferred *deferred = container_of(defer, struct deferred, defer);

	deferred->ran_on = pthread_self();
	deferred->ran = true;
}

BOTH(what_a_borrower_defers_runs_when_it_gives_back)
{
	struct deferred deferred = { .defer.run = note_thread };

	borrow(loop);
	event_loop_defer(loop, &deferred.defer);
	cr_expect(!deferred.ran);
	event_loop_give_back(loop);
	cr_expect(deferred.ran);
	cr_expect(pthread_equal(deferred.ran_on, pthread_self()));
}

BOTH(a_loop_at_work_is_not_lent)
{
	struct holder holder;
	pthread_t caller;

	holder_init(&holder, loop);
	pthread_create(&caller, NULL, call_hold, &holder);
	sem_wait(&holder.begun);
	for (int i = 0; i < 100; i++)
		cr_assert(!event_loop_borrow(loop));
	sem_post(&holder.go);
	pthread_join(caller, NULL);
	borrow(loop);
	event_loop_give_back(loop);
}

/* A drain: the callback sleeps in the loop, in the middle of something. */
struct drain {
	struct counter counter;
	sem_t begun;
};

static int drain_loop(void *arg)
{
	struct drain *drain = arg;
	struct event_loop *loop = drain->counter.loop;
	int ret = event_loop_watch(loop, &drain->counter.watch);

	sem_post(&drain->begun);
	while (ret == 0 && atomic_load(&drain->counter.calls) == 0)
		event_loop_run_once(loop, true);
	event_loop_unwatch(loop, &drain->counter.watch);
	return ret;
}

static void *call_drain(void *arg)
{
	struct drain *drain = arg;

	event_loop_call(drain->counter.loop, drain_loop, drain);
	return NULL;
}

BOTH(a_callback_that_waits_is_not_disturbed)
{
	struct drain drain;
	pthread_t caller;

	counter_init(&drain.counter, loop);
	sem_init(&drain.begun, 0, 0);
	pthread_create(&caller, NULL, call_drain, &drain);
	sem_wait(&drain.begun);
	for (int i = 0; i < 20; i++) {
		usleep(1000); /* it sleeps by now */
		cr_assert(!event_loop_borrow(loop));
	}
	signal_fd(drain.counter.watch.fd);
	pthread_join(caller, NULL);
	close(drain.counter.watch.fd);
}

Test(event_loop_lend, one_that_is_driven_by_hand_is_not_lent)
{
	struct event_loop *loop = NULL;
	struct error err = { 0 };

	cr_assert_eq(event_loop_create(&loop, EVENT_LOOP_EPOLL, "test", &err), 0);
	cr_expect(!event_loop_borrow(loop));
	event_loop_run_once(loop, false);
	cr_expect(!event_loop_borrow(loop));
	event_loop_destroy(loop);
}

struct reading {
	struct loop_op op;
	char byte;
	sem_t done;
	pthread_t done_on;
	int32_t res;
};

static void read_done(struct loop_op *op, int32_t res, uint32_t flags)
{
	struct reading *reading = container_of(op, struct reading, op);

	(void)flags;
	reading->res = res;
	reading->done_on = pthread_self();
	sem_post(&reading->done);
}

/* The ring takes submissions of its own thread alone. */
static void submit_as_borrower(struct event_loop *loop)
{
	struct reading reading = { .op.done = read_done };
	int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	struct io_uring_sqe *sqe;

	sem_init(&reading.done, 0, 0);
	borrow(loop);
	sqe = event_loop_sqe(loop);
	cr_assert(sqe);
	io_uring_prep_read(sqe, fd, &reading.byte, 1, 1);
	event_loop_submit_op(sqe, &reading.op);
	event_loop_give_back(loop);
	sem_wait(&reading.done);
	cr_expect_eq(reading.res, 1);
	cr_expect_eq(reading.byte, 'E'); /* of ELF */
	cr_expect(!pthread_equal(reading.done_on, pthread_self()));
	close(fd);
}

Test(event_loop_lend, what_a_borrower_submits_the_loop_sends)
{
	on_thread(EVENT_LOOP_URING, submit_as_borrower);
}

#define ROUNDS 20000

struct shared {
	struct event_loop *loop;
	unsigned int count; /* whoever does the loop's work may touch it, and nobody else */
	atomic_uint borrowed;
	atomic_bool over;
};

static int count_one(void *arg)
{
	((struct shared *)arg)->count++;
	return 0;
}

static void *keep_borrowing(void *arg)
{
	struct shared *shared = arg;

	while (!atomic_load(&shared->over)) {
		if (!event_loop_borrow(shared->loop))
			continue;
		/* A call to the loop is at once, as it would be on its thread. */
		event_loop_call(shared->loop, count_one, shared);
		event_loop_give_back(shared->loop);
		atomic_fetch_add(&shared->borrowed, 1);
	}
	return NULL;
}

/* A test that ends says too that the loop is not starved: each call waits for its turn. */
BOTH(one_at_a_time_and_the_loop_gets_its_turn)
{
	struct shared shared = { .loop = loop };
	pthread_t borrowers[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&borrowers[i], NULL, keep_borrowing, &shared);
	for (int i = 0; i < ROUNDS; i++)
		event_loop_call(loop, count_one, &shared);
	atomic_store(&shared.over, true);
	for (int i = 0; i < 2; i++)
		pthread_join(borrowers[i], NULL);
	cr_expect_eq(shared.count, ROUNDS + atomic_load(&shared.borrowed));
	cr_expect_gt(atomic_load(&shared.borrowed), 0);
}

#define TURNS 40

/* One who gives it back and asks again at once is behind the loop that waits. A loop that was not even woken in that time,
 * on a busy machine, does not wait yet: hence most of them, and not all. */
BOTH(the_loop_is_next)
{
	struct counter counter;
	int passed_over = 0;

	counter_init(&counter, loop);
	cr_assert_eq(event_loop_call(loop, watch_call, &counter), 0);
	for (int i = 0; i < TURNS; i++) {
		borrow(loop);
		signal_fd(counter.watch.fd);
		usleep(5000);
		event_loop_give_back(loop);
		if (event_loop_borrow(loop)) {
			passed_over += atomic_load(&counter.calls) <= i;
			event_loop_give_back(loop);
		}
		while (atomic_load(&counter.calls) <= i)
			usleep(100);
	}
	cr_expect_lt(passed_over, TURNS / 2);
	event_loop_call(loop, unwatch_call, &counter);
	close(counter.watch.fd);
}
