#include "vmm/legacy/console_sink.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

#include "base/clock.h"
#include "base/thread.h"

#define UART_FIFO_SIZE 16u

/* Between two attempts at a descriptor that takes nothing, and how long a named pipe may do so before nobody reads it. */
#define PAUSE_MAX_MS 64u
#define UNREAD_MS 250u

static uint32_t used(const struct console_sink *sink)
{
	return sink->tail - sink->head;
}

static bool has_room(const struct console_sink *sink)
{
	return sink->broken || sink->unread || CONSOLE_SINK_SIZE - used(sink) >= UART_FIFO_SIZE;
}

bool console_sink_has_room(struct console_sink *sink)
{
	bool room;

	pthread_mutex_lock(&sink->lock);
	room = has_room(sink);
	sink->was_full |= !room;
	pthread_mutex_unlock(&sink->lock);
	return room;
}

/* The writer's own copy of the oldest bytes, so that write() runs without the lock. */
static uint32_t copy_out(struct console_sink *sink, uint8_t *to, uint32_t max)
{
	uint32_t count = MIN(used(sink), max);

	for (uint32_t i = 0; i < count; i++)
		to[i] = sink->buffer[(sink->head + i) % CONSOLE_SINK_SIZE];
	return count;
}

/* The writer's thread, without the lock: longer each time. */
static void pause_a_little(struct console_sink *sink)
{
	sink->pause_ms = MIN(MAX(2 * sink->pause_ms, 1u), PAUSE_MAX_MS);
	sink->paused_ms += sink->pause_ms;
	nanosleep(&(struct timespec){ .tv_nsec = sink->pause_ms * 1000000L }, NULL);
}

/* With the lock held. What nobody reads is no reason for a guest to wait. */
static void note_taken(struct console_sink *sink, size_t count)
{
	if (count > 0) {
		if (sink->unread)
			log_limited(
				&sink->limit, LOG_WARN,
				"console: the guest's output is read again; %lu bytes were lost",
				sink->dropped);
		sink->pause_ms = sink->paused_ms = 0;
		sink->unread = false;
	} else if (sink->is_fifo && !sink->unread && sink->paused_ms >= UNREAD_MS) {
		log_limited(&sink->limit, LOG_WARN,
			    "console: nobody reads the guest's output; what finds no room is lost");
		sink->unread = true;
	}
}

/* With the lock held on entry and exit. */
static void write_some(struct console_sink *sink)
{
	uint8_t chunk[1024];
	uint32_t count = copy_out(sink, chunk, sizeof(chunk));
	ssize_t written;

	pthread_mutex_unlock(&sink->lock);
	written = retry_eintr(write(sink->fd, chunk, count));
	/* A named pipe, or a non-blocking descriptor inherited from somebody: wait a little and try again. */
	if (written < 0 && errno == EAGAIN) {
		pause_a_little(sink);
		written = 0;
	}
	sink->writes++;
	pthread_mutex_lock(&sink->lock);
	if (written < 0) {
		log_error("console: cannot write the guest's output: %s", strerrordesc_np(errno));
		sink->broken = true;
		sink->head = sink->tail;
	} else {
		sink->head += (uint32_t)written;
		note_taken(sink, (size_t)written);
	}
	pthread_cond_broadcast(&sink->changed);
	/* It may have been full when write() began, or have become so while that waited: who was told counts. */
	if (!sink->was_full || !has_room(sink) || !sink->room)
		return;
	sink->was_full = false;
	/* The port's lock comes before ours everywhere, and room() takes it. */
	pthread_mutex_unlock(&sink->lock);
	sink->room(sink->opaque);
	pthread_mutex_lock(&sink->lock);
}

static void *writer_thread(void *arg)
{
	struct console_sink *sink = arg;

	pthread_mutex_lock(&sink->lock);
	for (;;) {
		while (used(sink) == 0 && !sink->ending)
			pthread_cond_wait(&sink->changed, &sink->lock);
		if (used(sink) == 0)
			break;
		write_some(sink);
	}
	pthread_mutex_unlock(&sink->lock);
	return NULL;
}

static void start_writer(struct console_sink *sink)
{
	int ret = thread_start(&sink->writer, "console", writer_thread, sink);

	sink->has_writer = ret == 0;
	if (ret == 0)
		return;
	log_error("console: cannot start a thread for the guest's output: %s",
		  strerrordesc_np(-ret));
	sink->broken = true;
}

/* RWF_NOWAIT instead of O_NONBLOCK: the flag would change the descriptor for the shell too.
 * What does not know it (a terminal) says so once, and the writer does all the work from then. */
static bool put_directly(struct console_sink *sink, uint8_t byte)
{
	struct iovec iov = { &byte, 1 };

	if (!sink->direct || used(sink))
		return false;
	if (pwritev2(sink->fd, &iov, 1, -1, RWF_NOWAIT) == 1) {
		sink->writes++;
		return true;
	}
	if (errno != EAGAIN)
		sink->direct = false;
	return false;
}

static void put_locked(struct console_sink *sink, uint8_t byte)
{
	if (put_directly(sink, byte))
		return;
	if (!sink->has_writer)
		start_writer(sink);
	if (sink->broken || used(sink) == CONSOLE_SINK_SIZE) {
		sink->dropped++;
		return;
	}
	sink->buffer[sink->tail++ % CONSOLE_SINK_SIZE] = byte;
	if (used(sink) == 1)
		pthread_cond_broadcast(&sink->changed);
}

void console_sink_put(struct console_sink *sink, uint8_t byte)
{
	if (sink->fd < 0)
		return;
	pthread_mutex_lock(&sink->lock);
	put_locked(sink, byte);
	pthread_mutex_unlock(&sink->lock);
}

/* A named pipe opened for reading too: it does not tell whether anybody else reads it. */
static bool is_own_fifo(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) == O_RDWR && fstat(fd, &st) == 0 &&
	       S_ISFIFO(st.st_mode);
}

void console_sink_init(struct console_sink *sink, int fd, void (*room)(void *), void *opaque)
{
	sink->fd = fd;
	sink->direct = true;
	sink->is_fifo = is_own_fifo(fd);
	sink->room = room;
	sink->opaque = opaque;
	pthread_mutex_init(&sink->lock, NULL);
	thread_cond_init(&sink->changed);
}

/* True when all is written; false when the reader did not take it in time. */
static bool wait_until_empty(struct console_sink *sink, unsigned int patience_ms)
{
	const struct timespec until = clock_after_ns(CLOCK_MONOTONIC,
						     UINT64_C(1000000) * patience_ms);

	while (used(sink) > 0)
		if (pthread_cond_timedwait(&sink->changed, &sink->lock, &until) == ETIMEDOUT)
			return used(sink) == 0;
	return true;
}

bool console_sink_fini(struct console_sink *sink, unsigned int patience_ms)
{
	uint64_t lost;
	bool empty;

	pthread_mutex_lock(&sink->lock);
	sink->room = NULL;
	empty = !sink->has_writer || (!sink->unread && wait_until_empty(sink, patience_ms));
	sink->ending = true;
	lost = sink->dropped + used(sink);
	pthread_cond_broadcast(&sink->changed);
	pthread_mutex_unlock(&sink->lock);
	if (lost)
		log_warn("console: %lu bytes of the guest's output were lost: nobody read them",
			 lost);
	/* A writer stuck in write() cannot be joined; it ends with the process. */
	if (sink->has_writer && empty)
		pthread_join(sink->writer, NULL);
	return !sink->has_writer || empty;
}

int console_sink_swap_fd(struct console_sink *sink, int fd)
{
	int old;

	pthread_mutex_lock(&sink->lock);
	old = sink->fd;
	sink->fd = fd;
	sink->direct = true;
	sink->is_fifo = is_own_fifo(fd);
	pthread_mutex_unlock(&sink->lock);
	return old;
}
