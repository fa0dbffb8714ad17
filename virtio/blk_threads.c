/*
 * Block I/O on worker threads, where io_uring is forbidden or cannot do it. Requests go out by a list under a
 * lock, completions come back by another and an eventfd that the loop watches.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "base/log.h"
#include "base/thread.h"
#include "virtio/blk_io_list.h"

/* Two keep a disk busy while one waits for a flush; more would cost memory in every instance. */
#define WORKERS 2

struct blk_threads {
	struct blk_backend backend;
	struct loop_watch completed; /* its fd: written when `finished` becomes non-empty */
	pthread_t workers[WORKERS];
	unsigned int worker_count;

	pthread_mutex_t lock;
	pthread_cond_t work;
	/* Under the lock. */
	struct blk_io_list waiting;
	struct blk_io_list finished;
	bool quit;
};

/* Workers ----------------------------------------------------------------------------------------*/

/* May block for long on a device that is slow at it; that is what the workers are for. */
static int discard(const struct blk_io *io, const struct blk_file *file)
{
	const uint64_t range[2] = { io->offset, io->length };

	if (file->is_block)
		return ioctl(file->fd, BLKDISCARD, range);
	return fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)io->offset,
			 (off_t)io->length);
}

static int64_t attempt(const struct blk_io *io, const struct blk_file *file)
{
	const int fd = file->fd, flags = io->durable ? RWF_DSYNC : 0;

	switch (io->kind) {
	case BLK_READ:
		return preadv2(fd, io->iov, (int)io->iov_count, (off_t)io->offset, 0);
	case BLK_WRITE:
		return pwritev2(fd, io->iov, (int)io->iov_count, (off_t)io->offset, flags);
	case BLK_FLUSH:
		return fdatasync(fd);
	case BLK_DISCARD:
		return discard(io, file);
	case BLK_PUNCH:
		return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)io->offset,
				 (off_t)io->length);
	case BLK_ZERO:
		return fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, (off_t)io->offset,
				 (off_t)io->length);
	default:
		errno = EOPNOTSUPP;
		return -1;
	}
}

/* The whole request, short transfers and all. */
static int perform(struct blk_io *io, const struct blk_file *file)
{
	int64_t moved;
	int ret;

	do
		moved = attempt(io, file);
	while (!blk_io_progress(io, moved < 0 ? -errno : moved, &ret));
	return ret;
}

static void report(struct blk_threads *threads)
{
	const uint64_t one = 1;

	if (write(threads->completed.fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
		log_error("block workers: cannot wake the loop");
}

static void *worker(void *arg)
{
	struct blk_threads *threads = arg;
	struct error err = { 0 };

	/* The loop is armed the same way before it, and a failure there has ended the start. */
	if (thread_arm(THREAD_IO, &err) < 0)
		log_error("block workers: %s", err.text);
	pthread_mutex_lock(&threads->lock);
	for (;;) {
		struct blk_io *io;
		bool first;

		while (!threads->waiting.head && !threads->quit)
			pthread_cond_wait(&threads->work, &threads->lock);
		if (threads->quit)
			break;
		io = blk_io_list_take(&threads->waiting);
		pthread_mutex_unlock(&threads->lock);
		io->result = perform(io, threads->backend.file);
		pthread_mutex_lock(&threads->lock);
		first = !threads->finished.head;
		blk_io_list_add(&threads->finished, io);
		if (first)
			report(threads);
	}
	pthread_mutex_unlock(&threads->lock);
	return NULL;
}

/* The loop's side --------------------------------------------------------------------------------*/

static struct blk_threads *threads_of(struct blk_backend *backend)
{
	return container_of(backend, struct blk_threads, backend);
}

static void completed(struct loop_watch *watch)
{
	struct blk_threads *threads = container_of(watch, struct blk_threads, completed);
	struct blk_io *io, *next;

	pthread_mutex_lock(&threads->lock);
	io = threads->finished.head;
	blk_io_list_init(&threads->finished);
	pthread_mutex_unlock(&threads->lock);
	for (; io; io = next) {
		next = io->next; /* done() may use it again at once */
		io->done(io, (int)io->result);
	}
}

static int start(struct blk_backend *backend)
{
	return event_loop_watch(backend->loop, &threads_of(backend)->completed);
}

static void stop(struct blk_backend *backend)
{
	event_loop_unwatch(backend->loop, &threads_of(backend)->completed);
}

static void submit(struct blk_backend *backend, struct blk_io *io)
{
	struct blk_threads *threads = threads_of(backend);

	pthread_mutex_lock(&threads->lock);
	blk_io_list_add(&threads->waiting, io);
	pthread_cond_signal(&threads->work);
	pthread_mutex_unlock(&threads->lock);
}

/* Life -------------------------------------------------------------------------------------------*/

static void join_workers(struct blk_threads *threads)
{
	pthread_mutex_lock(&threads->lock);
	threads->quit = true;
	pthread_cond_broadcast(&threads->work);
	pthread_mutex_unlock(&threads->lock);
	while (threads->worker_count > 0)
		pthread_join(threads->workers[--threads->worker_count], NULL);
}

static void destroy(struct blk_backend *backend)
{
	struct blk_threads *threads = threads_of(backend);

	join_workers(threads);
	close_fd(&threads->completed.fd);
	pthread_cond_destroy(&threads->work);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}

static const struct blk_backend_ops ops = {
	.name = "worker threads",
	.start = start,
	.stop = stop,
	.submit = submit,
	.destroy = destroy,
};

static int spawn_workers(struct blk_threads *threads)
{
	int ret = 0;

	while (ret == 0 && threads->worker_count < WORKERS) {
		ret = thread_start(&threads->workers[threads->worker_count], "blk-worker", worker,
				   threads);
		if (ret == 0)
			threads->worker_count++;
	}
	return ret;
}

int blk_threads_create(struct blk_backend **out, const struct blk_file *file,
		       struct event_loop *loop, struct error *err)
{
	struct blk_threads *threads = calloc(1, sizeof(*threads));
	int ret;

	if (!threads)
		return error_set(err, ENOMEM, "out of memory");
	threads->backend = (struct blk_backend){ .ops = &ops, .file = file, .loop = loop };
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->work, NULL);
	blk_io_list_init(&threads->waiting);
	blk_io_list_init(&threads->finished);
	threads->completed.ready = completed;
	threads->completed.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = threads->completed.fd < 0 ? -errno : spawn_workers(threads);
	if (ret < 0) {
		destroy(&threads->backend);
		return error_set_errno(err, ret, "cannot start block I/O threads");
	}
	*out = &threads->backend;
	return 0;
}
