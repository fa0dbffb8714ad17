/* The queue alone: whatever the rings say, what comes out lies in guest memory, within bounds. */
#include "tests/fuzz/guest.h"

#define IOVS 24
#define STEPS 64

static struct fake_driver fake;
static struct virtqueue vq;

static void check(const struct virtqueue_chain *chain)
{
	const unsigned int count = chain->readable + chain->writable;

	if (count == 0 || count > IOVS || chain->head >= vq.layout.size)
		abort();
	for (unsigned int i = 0; i < count; i++) {
		const uint8_t *base = chain->iov[i].iov_base;
		bool inside = false;

		for (unsigned int r = 0; r < fake.mem.count; r++) {
			const struct guest_region *region = &fake.mem.regions[r];

			inside |= base >= region->host && chain->iov[i].iov_len <= region->size &&
				  (uint64_t)(base - region->host) <=
					  region->size - chain->iov[i].iov_len;
		}
		if (!inside || chain->iov[i].iov_len == 0)
			abort();
	}
}

/* The state carries over a disable and an enable, as over a snapshot. */
static void enable(struct input *in, uint64_t features)
{
	struct virtqueue_layout layout = fake.layout;

	if (rarely(in))
		layout.desc = odd_address(in);
	if (rarely(in))
		layout.avail = odd_address(in);
	if (rarely(in))
		layout.used = odd_address(in);
	if (rarely(in))
		layout.size = (uint16_t)word(in);
	if (virtqueue_enable(&vq, &layout, 256, &fake.mem, features) < 0)
		return;
}

static void offer_any(struct input *in)
{
	struct fake_buffer buffers[IOVS + 2];
	const unsigned int n = 1 + byte(in) % (rarely(in) ? IOVS + 2 : 8);
	const unsigned int readable = byte(in) % (n + 1);

	for (unsigned int i = 0; i < n; i++)
		buffers[i] = any_buffer(in, i >= readable);
	offer(&fake, in, buffers, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct iovec iov[IOVS];
	struct virtqueue_chain chain;
	uint16_t taken[256];
	unsigned int held = 0;
	uint64_t features;

	if (!fake.loop)
		fake_init(&fake, EVENT_LOOP_EPOLL);
	fake_place_rings(&fake, (uint16_t)(16u << (byte(&in) & 4)));
	features = (uint64_t)(~byte(&in) & 3) << VIRTIO_RING_F_INDIRECT_DESC;
	vq = (struct virtqueue){ 0 };
	enable(&in, features);
	for (int i = 0; i < STEPS; i++) {
		const uint8_t step = byte(&in) % 8;

		if (step < 4)
			offer_any(&in);
		while (step < 6 && held < 256 && virtqueue_pop(&vq, &chain, iov, IOVS) > 0) {
			check(&chain);
			taken[held++] = chain.head;
		}
		while (held > (step & 3u))
			virtqueue_push(&vq, taken[--held], byte(&in));
		if (vq.used && virtqueue_publish(&vq) && rarely(&in))
			fake.avail->ring[vq.layout.size] = (uint16_t)word(&in);
		if (vq.used && step == 6)
			virtqueue_disable_notify(&vq);
		if (vq.used && virtqueue_enable_notify(&vq) && rarely(&in))
			spoil(&fake, &in);
		if (step == 7 && held == 0) {
			virtqueue_disable(&vq);
			enable(&in, features);
		}
		if (!vq.used)
			break;
	}
	return 0;
}
