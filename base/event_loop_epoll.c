/* The epoll way of waiting: for control loops, and for I/O where io_uring is forbidden. */
#include <sys/epoll.h>

#include "base/log.h"
#include "base/loop_backend.h"

#define EVENTS_PER_TURN 32

struct epoll_state {
	int fd;
	unsigned int turns;	  /* one inside another: a callback may wait by run_once() */
	struct watch_node *nodes; /* those that are armed */
	struct watch_node *dead;  /* unwatched during a turn whose events may still name them */
	/* What the kernel has told of and nobody has looked at: those from `next` on. */
	struct epoll_event events[EVENTS_PER_TURN];
	int count, next;
};

static int epoll_enable(struct event_loop *loop)
{
	(void)loop;
	return 0;
}

static int epoll_watch(struct event_loop *loop, struct watch_node *node)
{
	struct epoll_state *state = loop->backend_state;
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = node };

	if (node->watch->writable)
		event.events |= EPOLLOUT;
	if (epoll_ctl(state->fd, EPOLL_CTL_ADD, node->watch->fd, &event) < 0)
		return -errno;
	node->next = state->nodes;
	node->prev = &state->nodes;
	if (node->next)
		node->next->prev = &node->next;
	state->nodes = node;
	return 0;
}

static void free_nodes(struct watch_node **list)
{
	while (*list) {
		struct watch_node *node = *list;

		*list = node->next;
		free(node);
	}
}

static void epoll_unwatch(struct event_loop *loop, struct watch_node *node, int fd)
{
	struct epoll_state *state = loop->backend_state;

	epoll_ctl(state->fd, EPOLL_CTL_DEL, fd, NULL);
	*node->prev = node->next;
	if (node->next)
		node->next->prev = node->prev;
	node->next = state->dead;
	state->dead = node;
	if (state->turns == 0)
		free_nodes(&state->dead);
}

static void wait_for_events(struct event_loop *loop, enum loop_wait wait)
{
	struct epoll_state *state = loop->backend_state;
	int count;

	if (wait == LOOP_LEND)
		loop_lend(loop);
	count = epoll_wait(state->fd, state->events, EVENTS_PER_TURN, wait == LOOP_LOOK ? 0 : -1);
	if (wait == LOOP_LEND)
		loop_take_back(loop);
	if (count < 0 && errno != EINTR)
		log_error("loop %s: epoll_wait: %s", loop->name, strerrordesc_np(errno));
	state->count = count > 0 ? count : 0;
	state->next = 0;
}

/* A turn inside another goes on with the events of the outer one: the kernel tells of an edge once, and the
 * inner turn may be waiting for just that. */
static void epoll_turn(struct event_loop *loop, enum loop_wait wait)
{
	struct epoll_state *state = loop->backend_state;

	if (state->next == state->count)
		wait_for_events(loop, wait);
	state->turns++;
	while (state->next < state->count) {
		struct watch_node *node = state->events[state->next++].data.ptr;

		if (node->watch)
			node->watch->ready(node->watch);
	}
	if (--state->turns == 0)
		free_nodes(&state->dead);
}

static void epoll_fini(struct event_loop *loop)
{
	struct epoll_state *state = loop->backend_state;

	free_nodes(&state->nodes);
	free_nodes(&state->dead);
	close_fd(&state->fd);
	free(state);
}

static const struct loop_backend epoll_backend = {
	.enable = epoll_enable,
	.watch = epoll_watch,
	.unwatch = epoll_unwatch,
	.turn = epoll_turn,
	.fini = epoll_fini,
};

int loop_epoll_init(struct event_loop *loop, struct error *err)
{
	struct epoll_state *state = calloc(1, sizeof(*state));

	if (!state)
		return error_set(err, ENOMEM, "loop %s: out of memory", loop->name);
	state->fd = epoll_create1(EPOLL_CLOEXEC);
	if (state->fd < 0) {
		free(state);
		return error_set_errno(err, errno, "loop %s: cannot make an epoll", loop->name);
	}
	loop->backend = &epoll_backend;
	loop->backend_state = state;
	return 0;
}
