/*
 * An event loop: one thread that waits for descriptors and for io_uring completions, and runs the
 * callbacks of whoever asked. It waits on its io_uring, or on epoll where io_uring is forbidden or
 * not wanted; watches and calls look the same on both.
 *
 * Every callback runs on the loop's thread (or on one that has borrowed the loop), one at a time. Everything
 * here may be used only there (before the start: by the creator), but for what says "any thread" and
 * event_loop_wait_started() and event_loop_destroy(). A callback must not block, and must never wait for a vCPU.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct event_loop;
struct io_uring;
struct io_uring_sqe;

enum event_loop_kind {
	EVENT_LOOP_EPOLL, /* for control: cheap to make, no ring */
	EVENT_LOOP_URING, /* for I/O: falls back to epoll where the kernel refuses a ring */
};

/*
 * A loop that its creator will run (event_loop_run) or drive by hand. The name is for messages, at
 * most 15 bytes. -errno and *err when neither way of waiting is to be had.
 */
must_check int event_loop_create(struct event_loop **out, enum event_loop_kind kind,
				 const char *name, struct error *err);

/*
 * A loop with a thread of its own, which also makes its ring there, beside whatever the caller does
 * meanwhile. Before anything else is done with it, event_loop_wait_started() must have said 0; if
 * it fails, destroy the loop.
 */
must_check int event_loop_start(struct event_loop **out, enum event_loop_kind kind,
				const char *name, struct error *err);
must_check int event_loop_wait_started(struct event_loop *loop, struct error *err);

/* Runs the loop in the calling thread until event_loop_quit(). */
void event_loop_run(struct event_loop *loop);

/* Ends event_loop_run() after the current batch. Loop thread only. */
void event_loop_quit(struct event_loop *loop);

/* Ends the loop's thread if it has one and frees everything. No watch's callback runs afterwards;
 * what it was watching stays its owner's. */
void event_loop_destroy(struct event_loop *loop);

/*
 * Runs fn(arg) on the loop's thread and returns what it returned; on that thread, at once. Any
 * thread. The caller sleeps meanwhile: never hold a lock that a callback of the loop may want.
 */
int event_loop_call(struct event_loop *loop, int (*fn)(void *arg), void *arg);

/* Does the loop's thread come to such a call within this time? Any thread, as event_loop_call(). */
bool event_loop_answers(struct event_loop *loop, uint64_t ns);

/*
 * A descriptor to be told of. Edge-triggered: ready() runs after the descriptor has become
 * readable (or hung up), maybe spuriously; the next call comes only after something new arrived,
 * so drain it. An eventfd need not be read at all: each signal is an edge.
 */
struct loop_watch {
	int fd;
	bool writable; /* also called after it has become writable; fixed while armed */
	void (*ready)(struct loop_watch *watch);
	struct watch_node *node; /* the loop's; NULL when not armed */
};

must_check int event_loop_watch(struct event_loop *loop, struct loop_watch *watch);

/* After it returns ready() is not called again and fd may be closed. No-op when not armed. */
void event_loop_unwatch(struct event_loop *loop, struct loop_watch *watch);

/*
 * Work for the end of the current batch: run() is called once after all that is ready now has
 * been handled, and before the loop submits and sleeps. Deferring twice in a batch runs it once.
 * This is how a device publishes a batch of completions with one index write and one interrupt.
 */
struct loop_defer {
	void (*run)(struct loop_defer *defer);
	struct loop_defer *next;
	bool queued;
};

void event_loop_defer(struct event_loop *loop, struct loop_defer *defer);

/* Takes it out again if it is queued. */
void event_loop_undefer(struct event_loop *loop, struct loop_defer *defer);

/*
 * A call a moment later, about `ns` from now (anew if it is queued): for waits that are short and many,
 * as it needs no descriptor and no system call of its own. False, and no call, on a loop without a
 * ring, which has no such clock.
 */
struct loop_delay {
	void (*run)(struct loop_delay *delay);
	uint64_t due;
	struct loop_delay *next;
	bool queued;
};

must_check bool event_loop_delay(struct event_loop *loop, struct loop_delay *delay, uint64_t ns);

/* run() is not called after it returns. */
void event_loop_undelay(struct event_loop *loop, struct loop_delay *delay);

/* True when the loop has an io_uring; what is below may be used only then. */
bool event_loop_has_ring(const struct event_loop *loop);

/* May this operation (IORING_OP_*) be submitted: the kernel has it, and the loop allows it? Fixed
 * once the loop has started. Any thread. */
bool event_loop_ring_has(const struct event_loop *loop, uint8_t op);

/* One operation in flight on the ring; embedded in its request, alive until done() has run. */
struct loop_op {
	/* res: the completion's result, a negative errno on failure; flags: IORING_CQE_F_* */
	void (*done)(struct loop_op *op, int32_t res, uint32_t flags);
};

/*
 * A free submission entry; a full queue is submitted first, so NULL means that the kernel has no
 * memory for more just now (-EAGAIN for the request). The caller fills it with an io_uring_prep_*()
 * and then calls event_loop_submit_op(), which directs its completion to op (prep clears the user
 * data). It is sent with the batch; nothing to flush.
 */
struct io_uring_sqe *event_loop_sqe(struct event_loop *loop);
void event_loop_submit_op(struct io_uring_sqe *sqe, struct loop_op *op);

/*
 * Registers a descriptor with the ring, which then holds its file: the slot that an entry with
 * IOSQE_FIXED_FILE names instead of the descriptor. -errno when that is not to be had: use the
 * descriptor. Loop thread only.
 */
int event_loop_register_file(struct event_loop *loop, int fd);

/* Nothing that names the slot may be in flight. No-op for a negative one. Loop thread only. */
void event_loop_unregister_file(struct event_loop *loop, int slot);

/*
 * For work that takes less time than it takes to wake the loop. True when the loop's thread sleeps and nothing waits for
 * it: then, until event_loop_give_back(), this thread is the loop's, and may do what a callback may. Not these: watch and
 * unwatch, register files, wait by event_loop_run_once(). What it defers runs in give_back(); what it submits (a few
 * operations) or delays, the loop's thread is woken for. Be as short as a callback: the loop, once it is woken, waits until
 * it is given back, and is next. False: wake it as ever. Any thread, with no lock held that a callback may want; of loops
 * with a thread of their own (event_loop_start()) only.
 */
must_check bool event_loop_borrow(struct event_loop *loop);
void event_loop_give_back(struct event_loop *loop);

/* Handles whatever is ready now and returns; when nothing is, waits for something if `wait`.
 * For drains and tests that drive a loop by hand. Loop thread only. */
void event_loop_run_once(struct event_loop *loop, bool wait);
