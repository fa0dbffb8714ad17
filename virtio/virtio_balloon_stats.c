/*
 * Statistics (5.5.6.3): the guest posts one buffer with its figures in it, which we keep; when we want new ones we
 * hand it back, and the guest posts it again. The timer is how we want new ones.
 */
#include "virtio/iov.h"
#include "virtio/virtio_balloon_priv.h"

#define NS_PER_SECOND 1000000000ull
/* More than any guest has to say; what is beyond is not looked at. */
#define ENTRIES_MAX 64u

static const char *const names[VIRTIO_BALLOON_TAGS] = {
	"swap_in",	    "swap_out",	   "major_faults",
	"minor_faults",	    "free_memory", "total_memory",
	"available_memory", "disk_caches", "hugetlb_allocations",
	"hugetlb_failures", "oom_kill",	   "alloc_stall",
	"async_scan",	    "direct_scan", "async_reclaim",
	"direct_reclaim",
};

const char *virtio_balloon_stat_name(unsigned int tag)
{
	return tag < VIRTIO_BALLOON_TAGS ? names[tag] : "?";
}

/* The guest's buffer ----------------------------------------------------------------------------*/

/* Each set replaces the one before; tags that we do not know are another version's. */
static void take_stats(struct virtio_balloon *balloon, const struct virtio_balloon_stat *entries,
		       size_t count)
{
	struct virtio_balloon_stats stats = { 0 };

	for (size_t i = 0; i < count; i++) {
		if (entries[i].tag >= VIRTIO_BALLOON_TAGS)
			continue;
		stats.present |= 1u << entries[i].tag;
		stats.values[entries[i].tag] = entries[i].val;
	}
	balloon->stats = stats;
	virtio_count(&balloon->dev, BALLOON_STATS_UPDATES_COUNT, 1);
	virtio_device_tell(&balloon->dev);
}

static void hand_back(struct virtio_balloon *balloon)
{
	if (!balloon->stats_held)
		return;
	balloon->stats_held = false;
	virtio_queue_push(balloon->stats_queue, balloon->stats_head, 0);
}

int balloon_serve_stats(struct virtio_queue *queue)
{
	struct virtio_balloon *balloon = balloon_of(queue->dev);
	struct virtio_balloon_stat entries[ENTRIES_MAX];
	struct balloon_work *work = &balloon->work[BALLOON_STATS];
	struct virtqueue_chain chain;
	size_t bytes;
	int ret = virtqueue_pop(&queue->ring, &chain, work->iov, BALLOON_IOV_MAX);

	if (ret <= 0)
		return ret;
	bytes = iov_read(chain.iov, chain.readable, entries, sizeof(entries));
	take_stats(balloon, entries, bytes / sizeof(entries[0]));
	hand_back(balloon); /* a second one: there is to be one, and it is the newest */
	balloon->stats_queue = queue;
	balloon->stats_held = true;
	balloon->stats_head = chain.head;
	return 1;
}

/* The timer -------------------------------------------------------------------------------------*/

static void arm(struct virtio_balloon *balloon)
{
	loop_timer_arm(&balloon->stats_timer, balloon->stats_interval_s * NS_PER_SECOND);
}

static void expired(struct loop_timer *timer)
{
	struct virtio_balloon *balloon = container_of(timer, struct virtio_balloon, stats_timer);

	if (!balloon->stats_held) /* the guest has not got round to the last time's */
		virtio_count(&balloon->dev, BALLOON_STATS_UPDATE_FAILS, 1);
	hand_back(balloon);
	arm(balloon);
}

/* A host without a descriptor for the timer has a balloon without new statistics. */
void balloon_stats_start(struct virtio_balloon *balloon)
{
	int ret;

	if (!balloon->stats_interval_s)
		return;
	ret = loop_timer_init(&balloon->stats_timer, balloon->dev.loop, expired);
	if (ret == 0) {
		arm(balloon);
		return;
	}
	virtio_count(&balloon->dev, BALLOON_STATS_UPDATE_FAILS, 1);
	log_warn("%s: no statistics: no timer: %s", balloon->dev.name, strerrordesc_np(-ret));
}

/* The guest gets its buffer back, and posts it anew when it goes on. */
void balloon_stats_stop(struct virtio_balloon *balloon)
{
	hand_back(balloon);
	loop_timer_fini(&balloon->stats_timer);
}

/* From outside ----------------------------------------------------------------------------------*/

struct interval_call {
	struct virtio_balloon *balloon;
	uint16_t seconds;
};

static int set_interval(void *arg)
{
	const struct interval_call *call = arg;

	call->balloon->stats_interval_s = call->seconds;
	if (call->balloon->stats_timer.armed)
		arm(call->balloon);
	return 0;
}

int virtio_balloon_set_stats_interval(struct virtio_device *dev, uint16_t seconds,
				      struct error *err)
{
	struct interval_call call = { balloon_of(dev), seconds };
	const bool enabled = dev->features & 1ull << VIRTIO_BALLOON_F_STATS_VQ;

	if (enabled != (seconds > 0))
		return error_set(err, EINVAL,
				 "Statistics cannot be enabled/disabled after activation.");
	return event_loop_call(dev->loop, set_interval, &call);
}

struct stats_call {
	struct virtio_balloon *balloon;
	struct virtio_balloon_stats *out;
};

static int get_stats(void *arg)
{
	const struct stats_call *call = arg;
	struct virtio_balloon *balloon = call->balloon;

	*call->out = balloon->stats;
	pthread_mutex_lock(&balloon->dev.lock);
	call->out->target_pages = balloon->config.num_pages;
	call->out->actual_pages = balloon->config.actual;
	pthread_mutex_unlock(&balloon->dev.lock);
	return 0;
}

int virtio_balloon_get_stats(struct virtio_device *dev, struct virtio_balloon_stats *out,
			     struct error *err)
{
	struct stats_call call = { balloon_of(dev), out };

	if (!(dev->features & 1ull << VIRTIO_BALLOON_F_STATS_VQ))
		return error_set(err, ENODATA, "Received stats query when stats are disabled.");
	return event_loop_call(dev->loop, get_stats, &call);
}
