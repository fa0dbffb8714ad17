/*
 * Free page hinting (5.5.6.6): a run has an id, which we put into the configuration. The guest says it in a readable
 * buffer, then names free pages by writable ones, then says "stop"; it keeps the pages away from everyone until our
 * id is "done" (or another run's).
 */
#include "virtio/iov.h"
#include "virtio/virtio_balloon_priv.h"

static void change_command(struct virtio_device *dev, const void *arg)
{
	balloon_of(dev)->config.free_page_hint_cmd_id = *(const uint32_t *)arg;
}

static void tell(struct virtio_balloon *balloon, uint32_t command)
{
	balloon->hinting.host_cmd = command;
	virtio_device_change_config(&balloon->dev, change_command, &command);
}

static bool in_run(const struct virtio_balloon *balloon)
{
	return balloon->hinting.host_cmd > VIRTIO_BALLOON_CMD_ID_DONE;
}

/* The readable part of a chain. What is no id is no command. */
static void hear(struct virtio_balloon *balloon, struct balloon_work *work)
{
	const unsigned int readable = work->readable;
	uint32_t command;
	const size_t bytes = iov_read(work->at, readable, &command, sizeof(command));

	work->at += readable;
	work->left -= readable;
	if (bytes < sizeof(command)) {
		virtio_count(&balloon->dev, BALLOON_HINT_FAILS, readable > 0);
		return;
	}
	balloon->hinting.guest_cmd = command;
	balloon->hinting.has_guest_cmd = true;
	if (command == VIRTIO_BALLOON_CMD_ID_STOP && in_run(balloon) &&
	    balloon->acknowledge_on_stop)
		tell(balloon, VIRTIO_BALLOON_CMD_ID_DONE);
}

/* Hints of a run that is over may name pages that the guest uses again. */
static bool hints_count(const struct virtio_balloon *balloon)
{
	const struct virtio_balloon_hinting *hinting = &balloon->hinting;

	return in_run(balloon) && hinting->has_guest_cmd && hinting->guest_cmd == hinting->host_cmd;
}

int balloon_serve_hint(struct virtio_queue *queue)
{
	struct virtio_balloon *balloon = balloon_of(queue->dev);
	struct balloon_work *work = &balloon->work[BALLOON_HINT];
	const bool is_new = !work->busy;
	int ret = balloon_take(queue, work);

	if (ret <= 0)
		return ret;
	if (is_new)
		hear(balloon, work);
	if (work->left > 0 && hints_count(balloon))
		balloon_give_back(balloon, work, BALLOON_HINT_FREED, BALLOON_HINT_FAILS);
	else
		work->left = 0;
	if (work->left == 0) {
		virtio_count(&balloon->dev, BALLOON_HINT_COUNT, 1);
		balloon_finish(queue, work);
	}
	return 1;
}

/* From outside ----------------------------------------------------------------------------------*/

struct hint_call {
	struct virtio_balloon *balloon;
	bool acknowledge_on_stop;
	struct virtio_balloon_hinting *out;
};

static int start(void *arg)
{
	const struct hint_call *call = arg;
	struct virtio_balloon *balloon = call->balloon;

	if (++balloon->last_run <= VIRTIO_BALLOON_CMD_ID_DONE) /* the numbers have wrapped around */
		balloon->last_run = VIRTIO_BALLOON_CMD_ID_DONE + 1;
	balloon->acknowledge_on_stop = call->acknowledge_on_stop;
	tell(balloon, balloon->last_run);
	return 0;
}

static int stop(void *arg)
{
	const struct hint_call *call = arg;

	tell(call->balloon, VIRTIO_BALLOON_CMD_ID_DONE);
	return 0;
}

static int status(void *arg)
{
	const struct hint_call *call = arg;

	*call->out = call->balloon->hinting;
	return 0;
}

static int call(struct virtio_device *dev, int (*fn)(void *arg), struct hint_call arg,
		struct error *err)
{
	if (!(dev->features & 1ull << VIRTIO_BALLOON_F_FREE_PAGE_HINT))
		return error_set(err, ENOTSUP, "Attempting to use hinting when not enabled");
	arg.balloon = balloon_of(dev);
	return event_loop_call(dev->loop, fn, &arg);
}

int virtio_balloon_hinting_start(struct virtio_device *dev, bool acknowledge_on_stop,
				 struct error *err)
{
	return call(dev, start, (struct hint_call){ .acknowledge_on_stop = acknowledge_on_stop },
		    err);
}

int virtio_balloon_hinting_stop(struct virtio_device *dev, struct error *err)
{
	return call(dev, stop, (struct hint_call){ 0 }, err);
}

int virtio_balloon_hinting_status(struct virtio_device *dev, struct virtio_balloon_hinting *out,
				  struct error *err)
{
	return call(dev, status, (struct hint_call){ .out = out }, err);
}
