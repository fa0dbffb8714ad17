/* A network driver from honest to absurd, over socket pairs; what is honest must get through. */
#include <signal.h>
#include <sys/socket.h>

#include "tests/fuzz/guest.h"
#include "virtio/virtio_net_priv.h"

#define STEPS 48
#define PAIRS 2u
#define QUEUES (2 * PAIRS + 1)
#define RINGS 0x400000u
#define RING_BYTES 0x2000u
#define FRAME 0x480000u

static struct fake_driver fake;
static struct fake_driver drivers[QUEUES]; /* copies, each with its own ring */
static int ends[PAIRS];			   /* the network's side */
static const uint8_t mac[6] = { 2, 0, 0, 0, 0, 1 };

/* The network ------------------------------------------------------------------------------------*/

static int accept_offloads(struct net_backend *backend, uint64_t features)
{
	if (features & ~backend->features)
		abort();
	return 0;
}

static int accept_pairs(struct net_backend *backend, unsigned int pairs)
{
	if (pairs < 1 || pairs > backend->pairs)
		abort();
	return 0;
}

static void close_all(struct net_backend *backend)
{
	(void)backend;
}

static const struct net_backend_ops ops = { accept_offloads, accept_pairs, close_all };
static struct net_backend backend = {
	.ops = &ops,
	.pairs = PAIRS,
	.features = NET_FEATURE(CSUM) | NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) |
		    NET_FEATURE(HOST_TSO4) | NET_FEATURE(GUEST_USO4) | NET_FEATURE(HOST_USO),
};

/* Somebody who takes short frames and answers with what he got. */
static bool answer(struct net_filter *filter, const struct iovec *iov, unsigned int count,
		   size_t len)
{
	(void)filter;
	if (len > 100)
		return false;
	for (unsigned int i = 0; i < count; i++)
		if (virtio_net_inject(fake.dev, iov[i].iov_base, iov[i].iov_len) == -EINVAL)
			abort();
	return true;
}

static void room(struct net_filter *filter)
{
	static const uint8_t frame[60];

	(void)filter;
	if (virtio_net_inject(fake.dev, frame, sizeof(frame)) == 0)
		return;
}

static struct net_filter filter = { .frame = answer, .rx_room = room };

static void open_network(void)
{
	for (unsigned int i = 0; i < PAIRS; i++) {
		int both[2];

		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, both) < 0)
			give_up("cannot make a socket pair");
		backend.fds[i] = both[0];
		ends[i] = both[1];
	}
}

static void create(bool ring)
{
	struct virtio_net_params params = { .name = "net0", .has_mac = true, .antispoof = true };
	struct error err;

	log_set_level(LOG_ERROR);
	signal(SIGPIPE, SIG_IGN);
	fake_init(&fake, ring ? EVENT_LOOP_URING : EVENT_LOOP_EPOLL);
	open_network();
	memcpy(params.mac, mac, sizeof(mac));
	if (virtio_net_create(&fake.dev, &params, &backend, &fake.mem, fake.loop, &fake.irq, &err) <
	    0)
		give_up(err.text);
}

static void destroy(void)
{
	fake_fini(&fake);
	for (unsigned int i = 0; i < PAIRS; i++) {
		close(backend.fds[i]);
		close(ends[i]);
	}
}

/* A frame of any length and content from the network; what it has sent is taken away. */
static void move_network(struct input *in)
{
	static uint8_t frame[NET_FRAME_ROOM + 100];
	const unsigned int pair = byte(in) % PAIRS;
	size_t len = NET_HEADERS + byte(in) * 8u;

	if (rarely(in))
		len = 1 + word(in) % (sizeof(frame) - 1); /* none would be the end */
	frame[0] = byte(in);
	while (read(ends[pair], frame + 1, sizeof(frame) - 1) > 0)
		;
	if (write(ends[pair], frame, len) < 0 && errno != EAGAIN && errno != EPIPE)
		give_up("cannot write to the network");
}

/* The driver ------------------------------------------------------------------------------------*/

static void start(uint64_t features, uint16_t size)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	if (!fake_negotiate(&fake, features | 1ull << VIRTIO_F_VERSION_1))
		give_up("the device refused the features");
	for (unsigned int i = 0; i < QUEUES; i++) {
		drivers[i] = fake;
		drivers[i].queue = i;
		fake_place_rings_at(&drivers[i], RINGS + i * RING_BYTES, size);
		if (!fake_setup_queue(&drivers[i]))
			give_up("the device refused the queue");
	}
	fake_write(&fake, VIRTIO_MMIO_STATUS, 15);
}

static void start_anyhow(struct input *in)
{
	const uint64_t offered = fake.dev->features;
	const uint8_t refused = byte(in);
	uint64_t features = offered;

	features &= ~((refused & 1 ? NET_FEATURE(MRG_RXBUF) : 0) |
		      (refused & 2 ? NET_FEATURE(GUEST_CSUM) : 0) |
		      (refused & 4 ? NET_FEATURE(MQ) : 0) |
		      (refused & 8 ? NET_FEATURE(CTRL_GUEST_OFFLOADS) : 0) |
		      (refused & 16 ? 1ull << VIRTIO_RING_F_EVENT_IDX : 0));
	start(features, (uint16_t)(8u << (byte(in) & 3)));
}

static void offer_to(unsigned int queue, struct input *in, const struct fake_buffer *buffers,
		     unsigned int n)
{
	offer(&drivers[queue], in, buffers, n);
	if (byte(in) & 1)
		fake_kick(&drivers[queue]);
}

static void any_receive_buffer(unsigned int queue, struct input *in)
{
	struct fake_buffer buffers[3];
	const unsigned int n = 1 + byte(in) % 3;

	for (unsigned int i = 0; i < n; i++) {
		buffers[i] = any_buffer(in, true);
		if (!rarely(in))
			buffers[i].len += 2 * NET_HEADER;
	}
	offer_to(queue, in, buffers, n);
}

/* Cut where the input says, from its own MAC unless it lies. */
static void any_frame(unsigned int queue, struct input *in)
{
	const uint32_t cut = 1 + byte(in) % 40;
	const uint64_t at = FRAME + 64u * byte(in);
	uint8_t *frame = fake_ptr(&fake, at, NET_HEADERS);
	struct fake_buffer buffers[3] = { { at, cut, false },
					  { at + cut, 40 + byte(in) * 4u, false },
					  any_buffer(in, false) };

	memset(frame, 0, NET_HEADERS);
	memcpy(frame + NET_HEADER + 6, mac, sizeof(mac));
	if (rarely(in))
		frame[byte(in) % NET_HEADERS] = byte(in);
	offer_to(queue, in, buffers, 1 + byte(in) % 3);
}

static void any_command(struct input *in)
{
	static const uint8_t commands[][2] = {
		{ VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET },
		{ VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET },
		{ VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET },
		{ VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC },
	};
	static const uint32_t lengths[] = { 6, 2, 8, 1 };
	const uint8_t which = byte(in) & 3;
	uint8_t *at = fake_ptr(&fake, FRAME, 16);
	struct fake_buffer buffers[3] = { { FRAME, 2, false },
					  { FRAME + 2, lengths[which], false },
					  { FRAME + 0x100, 1, true } };

	memcpy(at, commands[which], 2);
	for (unsigned int i = 2; i < 10; i++)
		at[i] = byte(in);
	if (rarely(in))
		buffers[1].len = 1u + byte(in);
	if (rarely(in))
		buffers[2] = any_buffer(in, byte(in) & 1);
	offer_to(fake.dev->active_features & NET_FEATURE(MQ) ? 2 * PAIRS : 2, in, buffers,
		 rarely(in) ? 1 : 3);
}

static int toggle_link(void *arg)
{
	return virtio_net_set_link(arg, !net_of(arg)->link_up);
}

static void any_step(struct input *in)
{
	const unsigned int pair = byte(in) % PAIRS;

	switch (byte(in) & 7) {
	case 0:
	case 1:
		any_receive_buffer(2 * pair, in);
		break;
	case 2:
	case 3:
		any_frame(2 * pair + 1, in);
		break;
	case 4:
		any_command(in);
		break;
	case 5:
	case 6:
		move_network(in);
		break;
	default:
		virtio_net_set_filter(fake.dev, byte(in) & 1 ? &filter : NULL);
		break;
	}
	if (rarely(in))
		start_anyhow(in);
	if (rarely(in))
		virtio_device_pause(fake.dev), virtio_device_resume(fake.dev);
	if (rarely(in) && event_loop_call(fake.loop, toggle_link, fake.dev) < 0 &&
	    !net_of(fake.dev)->gone)
		abort();
	if (rarely(in)) /* the network ends, for those who look */
		shutdown(ends[pair], SHUT_RDWR);
	event_loop_run_once(fake.loop, false);
}

/* However it was treated: after a reset frames pass both ways, if there is a network still. */
static void must_recover(void)
{
	const uint8_t frame[NET_HEADERS + 46] = { 0 };
	const struct fake_buffer rx = { FAKE_DATA, 2100,
					true }; /* frames of before may come first */
	const struct fake_buffer tx = { FRAME, sizeof(frame), false };
	uint8_t back[NET_HEADERS + 46];
	struct vring_used_elem elem;

	virtio_net_set_filter(fake.dev, NULL);
	if (!net_of(fake.dev)->gone && !net_of(fake.dev)->link_up)
		event_loop_call(fake.loop, toggle_link, fake.dev);
	start(NET_FEATURE(MRG_RXBUF), 16);
	memset(fake_ptr(&fake, FRAME, sizeof(frame)), 0, sizeof(frame));
	memcpy(fake_ptr(&fake, FRAME + NET_HEADER + 6, 6), mac, 6);
	for (int i = 0; i < 1000 && read(ends[0], back, sizeof(back)) > 0; i++)
		event_loop_run_once(fake.loop, false);
	fake_chain(&drivers[1], &tx, 1);
	fake_kick(&drivers[1]);
	if (!fake_wait_used(&drivers[1], &elem))
		abort();
	if (net_of(fake.dev)->gone)
		return;
	if (read(ends[0], back, sizeof(back)) != sizeof(back))
		abort();
	for (int i = 0; i < 16; i++)
		fake_chain(&drivers[0], &rx, 1);
	fake_kick(&drivers[0]);
	if (write(ends[0], frame, sizeof(frame)) < 0 && errno != EAGAIN)
		abort();
	if (!fake_wait_used(&drivers[0], &elem))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	create(byte(&in) & 1);
	start_anyhow(&in);
	for (int i = 0; i < STEPS && in.left > 0; i++)
		any_step(&in);
	must_recover();
	destroy();
	return 0;
}
