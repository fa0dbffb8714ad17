/* The io_uring way of waiting: descriptors by multishot poll, block I/O by submissions. */
#include <liburing.h>
#include <poll.h>
#include <string.h>

#include "base/log.h"
#include "base/loop_backend.h"

/*
 * 128 entries take 8 KiB of kernel memory and hold a full batch of a 128-deep queue; a longer
 * batch is submitted in parts. Completions get four times that, so a burst of poll events beside
 * a full queue does not overflow.
 */
#define RING_ENTRIES 128
#define RING_COMPLETIONS 512

/* A drive has one, and for a moment its successor another; whoever finds none left does without. */
#define RING_FILES 32

struct uring_state {
	struct io_uring ring;
	uint64_t has;	     /* one bit for each of `operations` that the kernel has */
	uint32_t files_used; /* one bit for each slot */
	struct log_limit errors;
	struct watch_node *nodes; /* every one the kernel may still name in a completion */
};

/* Set-up ---------------------------------------------------------------------------------------*/

/*
 * SINGLE_ISSUER and DEFER_TASKRUN (Linux 6.1): completions are worked off by this thread when it
 * enters the kernel anyway, never by interrupting it. R_DISABLED because the issuer must be the
 * loop's thread, not the one that creates the ring.
 *
 * Measured, processor time of cached 4 KiB reads one by one and in batches of 32, ns each: no flag 1,535
 * and 869; COOP_TASKRUN 1,558 and 878; SINGLE_ISSUER alone 1,531 and 868; with DEFER_TASKRUN 1,464 and
 * 860; SUBMIT_ALL or a registered ring descriptor besides: the same, and left out. SQPOLL and IOPOLL
 * are for hosts with a core to spare for each guest.
 */
static const unsigned int setup_flags[] = {
	IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_DEFER_TASKRUN,
	IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE, /* Linux 5.13 to 6.0 */
};

/*
 * All that the loop and the devices use. URING_CMD is what a descriptor's owner makes of it: the
 * only descriptors here that have any are block devices, and theirs is to discard.
 */
static const uint8_t operations[] = {
	IORING_OP_POLL_ADD, IORING_OP_POLL_REMOVE, IORING_OP_READ,
	IORING_OP_WRITE,    IORING_OP_READV,	   IORING_OP_WRITEV,
	IORING_OP_FSYNC,    IORING_OP_FALLOCATE,   IORING_OP_URING_CMD,
};

/* Which of them the kernel has; a restriction that names others is refused. */
static int probe_operations(struct uring_state *state)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(&state->ring);

	if (!probe)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		if (io_uring_opcode_supported(probe, operations[i]))
			state->has |= 1ull << operations[i];
	io_uring_free_probe(probe);
	return 0;
}

/*
 * A ring is a way around seccomp: its operations pass no filter. So it is limited, for good, to
 * those above, before the first one is possible.
 */
static int restrict_ring(struct uring_state *state)
{
	struct io_uring_restriction rules[ARRAY_SIZE(operations) + 3] = { 0 };
	unsigned int n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(operations); i++) {
		if (!(state->has & 1ull << operations[i]))
			continue;
		rules[n].opcode = IORING_RESTRICTION_SQE_OP;
		rules[n++].sqe_op = operations[i];
	}
	rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[n++].sqe_flags = IOSQE_FIXED_FILE | IOSQE_ASYNC;
	rules[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[n++].register_op = IORING_REGISTER_ENABLE_RINGS;
	rules[n].opcode = IORING_RESTRICTION_REGISTER_OP;
	rules[n++].register_op = IORING_REGISTER_FILES_UPDATE;
	return io_uring_register_restrictions(&state->ring, rules, n);
}

/* An empty table: in a ring that is limited and has its one thread, slots may only be filled. */
static int register_table(struct uring_state *state)
{
	int none[RING_FILES];

	memset(none, -1, sizeof(none));
	return io_uring_register_files(&state->ring, none, RING_FILES);
}

static int init_ring(struct uring_state *state)
{
	int ret = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(setup_flags) && ret == -EINVAL; i++) {
		struct io_uring_params params = { .flags = setup_flags[i],
						  .cq_entries = RING_COMPLETIONS };

		ret = io_uring_queue_init_params(RING_ENTRIES, &state->ring, &params);
	}
	if (ret < 0)
		return ret;
	ret = register_table(state);
	if (ret == 0)
		ret = probe_operations(state);
	if (ret == 0)
		ret = restrict_ring(state);
	if (ret < 0)
		io_uring_queue_exit(&state->ring);
	return ret;
}

static struct uring_state *state_of(struct event_loop *loop)
{
	return loop->backend_state;
}

static int uring_enable(struct event_loop *loop)
{
	struct io_uring *ring = &state_of(loop)->ring;
	int ret = io_uring_enable_rings(ring);

	/* One entry to see that it is allowed: a filter may forbid this call alone. */
	return ret < 0 ? ret : io_uring_enter((unsigned int)ring->ring_fd, 0, 0, 0, NULL);
}

/* Submitting -----------------------------------------------------------------------------------*/

bool event_loop_has_ring(const struct event_loop *loop)
{
	return loop->is_uring;
}

bool event_loop_ring_has(const struct event_loop *loop, uint8_t op)
{
	const struct uring_state *state = loop->backend_state;

	return loop->is_uring && op < 64 && state->has & 1ull << op;
}

int event_loop_register_file(struct event_loop *loop, int fd)
{
	struct uring_state *state = state_of(loop);
	const int slot = __builtin_ffs((int)~state->files_used) - 1;
	int ret;

	if (slot < 0)
		return -ENFILE;
	ret = io_uring_register_files_update(&state->ring, (unsigned int)slot, &fd, 1);
	if (ret != 1)
		return ret < 0 ? ret : -EBADF;
	state->files_used |= 1u << slot;
	return slot;
}

void event_loop_unregister_file(struct event_loop *loop, int slot)
{
	struct uring_state *state = state_of(loop);

	if (slot < 0)
		return;
	/* A slot that cannot be emptied is not used again. */
	if (io_uring_register_files_update(&state->ring, (unsigned int)slot, &(int){ -1 }, 1) == 1)
		state->files_used &= ~(1u << slot);
}

struct io_uring_sqe *event_loop_sqe(struct event_loop *loop)
{
	struct io_uring *ring = &state_of(loop)->ring;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (sqe)
		return sqe;
	io_uring_submit(ring);
	return io_uring_get_sqe(ring);
}

void event_loop_submit_op(struct io_uring_sqe *sqe, struct loop_op *op)
{
	io_uring_sqe_set_data(sqe, op);
}

/* Watches --------------------------------------------------------------------------------------*/

static void forget_node(struct watch_node *node)
{
	*node->prev = node->next;
	if (node->next)
		node->next->prev = node->prev;
	free(node);
}

static int arm_poll(struct watch_node *node)
{
	struct io_uring_sqe *sqe = event_loop_sqe(node->loop);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_poll_multishot(sqe, node->watch->fd,
				     POLLIN | POLLRDHUP | (node->watch->writable ? POLLOUT : 0));
	event_loop_submit_op(sqe, &node->op);
	return 0;
}

/* Refused (EALREADY) when an event is on its way just then; that event comes, and is the next chance. */
static void remove_poll(struct watch_node *node)
{
	struct io_uring_sqe *sqe = event_loop_sqe(node->loop);

	if (!sqe)
		return; /* it stays armed and silent until the ring is closed */
	io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)&node->op);
	io_uring_sqe_set_data(sqe, NULL);
}

/* One edge, or the end of the poll: after an unwatch, or because the completion queue was full. */
static void poll_done(struct loop_op *op, int32_t res, uint32_t flags)
{
	struct watch_node *node = container_of(op, struct watch_node, op);
	bool ended = !(flags & IORING_CQE_F_MORE);

	if (!node->watch) {
		if (ended)
			forget_node(node);
		else
			remove_poll(node);
		return;
	}
	if (ended && (res < 0 || arm_poll(node) < 0))
		log_error("loop %s: lost the watch of descriptor %d: %s", node->loop->name,
			  node->watch->fd, strerrordesc_np(res < 0 ? -res : EAGAIN));
	if (res >= 0)
		node->watch->ready(node->watch);
}

static int uring_watch(struct event_loop *loop, struct watch_node *node)
{
	struct uring_state *state = state_of(loop);
	int ret;

	node->op.done = poll_done;
	ret = arm_poll(node);
	if (ret < 0)
		return ret;

	node->next = state->nodes;
	node->prev = &state->nodes;
	if (node->next)
		node->next->prev = &node->next;
	state->nodes = node;
	return 0;
}

/* The node stays until the poll's last completion. The poll holds the file, so the descriptor may
 * be closed at once, but it is submitted here so that the file does not live on until the next
 * batch. */
static void uring_unwatch(struct event_loop *loop, struct watch_node *node, int fd)
{
	(void)fd;
	remove_poll(node);
	io_uring_submit(&state_of(loop)->ring);
}

/* Turning --------------------------------------------------------------------------------------*/

static void uring_reap(struct io_uring *ring)
{
	while (io_uring_cq_ready(ring)) {
		struct io_uring_cqe *cqe;
		struct loop_op *op;
		int32_t res;
		uint32_t flags;

		if (io_uring_peek_cqe(ring, &cqe) < 0)
			break;
		op = io_uring_cqe_get_data(cqe);
		res = cqe->res;
		flags = cqe->flags;
		/* Given back first: done() may submit, and its completion may need the place. */
		io_uring_cqe_seen(ring, cqe);
		if (op)
			op->done(op, res, flags);
	}
}

static int submit_and_wait(struct event_loop *loop, struct io_uring *ring)
{
	const uint64_t ns = loop_delay_left(loop);
	struct __kernel_timespec limit = { .tv_nsec = (long long)(ns % 1000000000u),
					   .tv_sec = (long long)(ns / 1000000000u) };
	struct io_uring_cqe *cqe;
	int ret;

	if (ns == UINT64_MAX)
		return io_uring_submit_and_wait(ring, 1);
	ret = io_uring_submit_and_wait_timeout(ring, &cqe, 1, &limit, NULL);
	return ret == -ETIME ? 0 : ret;
}

/*
 * While it is lent the ring's submission side is whoever's has the loop, so the thread that sleeps must not look at it:
 * it enters the kernel by itself, to wait and for nothing else. Not when it has something to submit or to do in time.
 */
static int wait_lent(struct event_loop *loop, struct io_uring *ring)
{
	int ret;

	if (loop->delays || io_uring_sq_ready(ring) > 0)
		return submit_and_wait(loop, ring);
	loop_lend(loop);
	ret = io_uring_enter((unsigned int)ring->ring_fd, 0, 1, IORING_ENTER_GETEVENTS, NULL);
	loop_take_back(loop);
	return ret;
}

static int wait_for_completions(struct event_loop *loop, struct io_uring *ring, enum loop_wait wait)
{
	switch (wait) {
	case LOOP_LEND:
		return wait_lent(loop, ring);
	case LOOP_SLEEP:
		return submit_and_wait(loop, ring);
	default:
		return io_uring_submit_and_get_events(ring);
	}
}

/* One system call submits the batch and waits; with a completion already there it returns at once,
 * so what completes inline is reaped without a wake-up. */
static void uring_turn(struct event_loop *loop, enum loop_wait wait)
{
	struct io_uring *ring = &state_of(loop)->ring;
	int ret = wait_for_completions(loop, ring, wait);

	/* EBUSY and EAGAIN: the completion queue is full or memory short; reaping helps both. */
	if (ret < 0 && ret != -EINTR && ret != -EBUSY && ret != -EAGAIN)
		log_limited(&state_of(loop)->errors, LOG_ERROR, "loop %s: io_uring_enter: %s",
			    loop->name, strerrordesc_np(-ret));
	uring_reap(ring);
}

static bool uring_has_unsent(const struct event_loop *loop)
{
	const struct uring_state *state = loop->backend_state;

	return io_uring_sq_ready(&state->ring) > 0;
}

static void uring_fini(struct event_loop *loop)
{
	struct uring_state *state = state_of(loop);

	io_uring_queue_exit(&state->ring);
	for (struct watch_node *node = state->nodes, *next; node; node = next) {
		next = node->next;
		free(node);
	}
	free(state);
}

static const struct loop_backend uring_backend = {
	.enable = uring_enable,
	.watch = uring_watch,
	.unwatch = uring_unwatch,
	.turn = uring_turn,
	.has_unsent = uring_has_unsent,
	.fini = uring_fini,
};

int loop_uring_init(struct event_loop *loop)
{
	struct uring_state *state = calloc(1, sizeof(*state));
	int ret;

	if (!state)
		return -ENOMEM;
	ret = init_ring(state);
	if (ret < 0) {
		free(state);
		return ret;
	}
	loop->backend = &uring_backend;
	loop->backend_state = state;
	loop->is_uring = true;
	return 0;
}
