/* A balloon's five queues from honest to absurd: no page goes that nobody named, and nobody waits for ever. */
#include "tests/fuzz/guest.h"
#include "virtio/virtio_balloon_priv.h"

#define STEPS 32
#define RINGS 0x40000u
#define LIST 0x20000u
#define CANARY (FAKE_HIGH_END - PAGE_SIZE) /* a page that no honest chain names */

static struct fake_driver queues[BALLOON_QUEUES];

static void create(void)
{
	const struct virtio_balloon_params params = { .name = "balloon",
						      .stats_interval_s = 1,
						      .reporting = true,
						      .hinting = true,
						      .deflate_on_oom = true };
	struct fake_driver *fake = &queues[0];
	struct error err;

	log_set_level(LOG_ERROR);
	fake_init(fake, EVENT_LOOP_EPOLL);
	if (virtio_balloon_create(&fake->dev, &params, &fake->mem, fake->loop, &fake->irq, &err) <
	    0)
		give_up(err.text);
}

static void start(struct input *in)
{
	const uint64_t rings = (uint64_t)(~byte(in) & 3) << VIRTIO_RING_F_INDIRECT_DESC;
	const uint16_t size = (uint16_t)(16u << (byte(in) & 3));
	struct fake_driver *fake = &queues[0];

	fake_write(fake, VIRTIO_MMIO_STATUS, 0);
	if (!fake_negotiate(fake,
			    rings | (fake->dev->features & 0xffffff) | 1ull << VIRTIO_F_VERSION_1))
		give_up("the device refused the features");
	fake_place_rings(fake, size);
	for (unsigned int i = 0; i < BALLOON_QUEUES; i++) {
		struct fake_driver *queue = &queues[i];

		if (i > 0) {
			*queue = *fake;
			queue->queue = i;
			fake_place_rings_at(queue, RINGS + 0x8000 * i, size);
		}
		if (!fake_setup_queue(queue))
			give_up("the device refused a queue");
	}
	fake_write(fake, VIRTIO_MMIO_STATUS,
		   fake_read(fake, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* Page numbers of the high region, but for its last; a liar's are any. */
static void any_pages(struct input *in, struct fake_driver *fake)
{
	uint32_t *list = fake_ptr(fake, LIST, 4 * 64);

	for (unsigned int i = 0; i < 64; i++)
		list[i] = (FAKE_HIGH >> 12) + byte(in) % 255;
	if (rarely(in))
		for (unsigned int i = 0; i < 64; i++)
			list[i] = (uint32_t)word(in);
}

static void any_stats(struct input *in, struct fake_driver *fake)
{
	struct virtio_balloon_stat *list = fake_ptr(fake, LIST, 16 * sizeof(*list));

	for (unsigned int i = 0; i < 16; i++)
		list[i] = (struct virtio_balloon_stat){ .tag = byte(in) % 20, .val = i };
	if (rarely(in))
		list[0].tag = (uint16_t)word(in);
}

static struct fake_buffer any_range(struct input *in)
{
	return (struct fake_buffer){ FAKE_HIGH + PAGE_SIZE * (byte(in) & 63),
				     PAGE_SIZE * (1u + (byte(in) & 15)), true };
}

static void any_request(struct input *in)
{
	const uint8_t kind = byte(in) % BALLOON_QUEUES;
	struct fake_driver *queue = &queues[kind];
	struct fake_buffer buffers[4] = { { LIST, 1u + byte(in), false } };
	unsigned int n = 1;

	switch (kind) {
	case BALLOON_STATS:
		any_stats(in, queue);
		break;
	case BALLOON_HINT:
		*(uint32_t *)fake_ptr(queue, LIST, 4) = byte(in) & 7;
		if (byte(in) & 1)
			n = 0;
		break;
	case BALLOON_REPORT:
		n = 0;
		break;
	default:
		any_pages(in, queue);
		break;
	}
	if (kind == BALLOON_HINT || kind == BALLOON_REPORT)
		do
			buffers[n++] = any_range(in);
		while (n < 4 && byte(in) & 1);
	if (rarely(in))
		buffers[n - 1] = any_buffer(in, byte(in) & 1);
	offer(queue, in, buffers, n);
}

static void any_call(struct input *in)
{
	struct virtio_device *dev = queues[0].dev;
	struct virtio_balloon_stats stats;
	int ret = 0;

	switch (byte(in) & 7) {
	case 0:
		ret = virtio_balloon_set_target(dev, (uint32_t)word(in), NULL);
		break;
	case 1:
		ret = virtio_balloon_set_stats_interval(dev, (uint16_t)word(in), NULL);
		break;
	case 2:
		ret = virtio_balloon_hinting_stop(dev, NULL);
		break;
	case 3:
		ret = virtio_balloon_get_stats(dev, &stats, NULL);
		break;
	case 4:
		fake_write(&queues[0], VIRTIO_MMIO_CONFIG + byte(in), (uint32_t)word(in));
		break;
	default:
		ret = virtio_balloon_hinting_start(dev, byte(in) & 1, NULL);
		break;
	}
	(void)ret; /* refusals are fine */
}

/* However it was treated: after a reset an honest chain gives back its page, and answers. */
static void must_recover(void)
{
	const struct fake_buffer list = { LIST, 4, false };
	struct fake_driver *fake = &queues[0];
	struct input nothing = { NULL, 0 };
	struct vring_used_elem elem;
	uint8_t *page = fake_ptr(fake, FAKE_HIGH, PAGE_SIZE);

	start(&nothing);
	*page = 1;
	*(uint32_t *)fake_ptr(fake, LIST, 4) = FAKE_HIGH >> 12;
	fake_chain(fake, &list, 1);
	fake_kick(fake);
	if (!fake_wait_used(fake, &elem) || *page != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	volatile uint8_t *canary;
	const bool honest = !memchr(data, 0xa5, size); /* rarely() never says yes */

	if (!queues[0].loop)
		create();
	canary = fake_ptr(&queues[0], CANARY, 1);
	*canary = 0x55;
	start(&in);
	for (int i = 0; i < STEPS; i++) {
		const uint8_t step = byte(&in);

		any_request(&in);
		if ((step & 3) == 0)
			for (unsigned int q = 0; q < BALLOON_QUEUES; q++)
				fake_kick(&queues[q]);
		if ((step & 12) == 0)
			event_loop_run_once(queues[0].loop, false);
		if ((step & 0xf0) == 0x10)
			any_call(&in);
		if (step == 0xa5) /* in the middle of it */
			start(&in);
		if (step == 0xa6)
			virtio_device_pause(queues[0].dev), virtio_device_resume(queues[0].dev);
	}
	if (honest && *canary != 0x55)
		abort();
	must_recover();
	fake_write(&queues[0], VIRTIO_MMIO_STATUS, 0);
	return 0;
}
