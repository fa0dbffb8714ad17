/* vsock packets from honest to absurd, with programs of the host that come, talk and go meanwhile. */
#include <stdio.h>
#include <sys/socket.h>

#include "tests/fuzz/guest.h"
#include "virtio/virtio_vsock_priv.h"

#define STEPS 48
#define CID 3u
#define RINGS 0x60000u
#define HEADERS FAKE_DATA /* one for each descriptor of the ring */
#define DATA 0x30000u
#define RX_SIZE 1024u
#define PROGRAMS 4 /* of the host at a time */
#define SERVICE 99u

static struct fake_driver fake, tx, event; /* receive, and the others */
static char path[64];
static int service = -1;
static int programs[PROGRAMS] = { -1, -1, -1, -1 };

static struct sockaddr_un address(const char *suffix)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s%s", path, suffix);
	return addr;
}

static void clean_up(void)
{
	char name[80];

	virtio_device_destroy(fake.dev);
	snprintf(name, sizeof(name), "%s_%u", path, SERVICE);
	unlink(name);
}

static void create(void)
{
	struct sockaddr_un addr;
	struct error err;

	snprintf(path, sizeof(path), "/tmp/mayfly-fuzz-vsock-%d", getpid());
	log_set_level(LOG_ERROR);
	fake_init(&fake, EVENT_LOOP_EPOLL);
	if (virtio_vsock_create(&fake.dev,
				&(struct virtio_vsock_params){ .path = path, .cid = CID },
				&fake.mem, fake.loop, &fake.irq, &err) < 0)
		give_up(err.text);
	vsock_of(fake.dev)->hold_ns = 1000000; /* for drivers that do not handle a reset */
	atexit(clean_up);
	addr = address("_99");
	service = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	unlink(addr.sun_path);
	/* One may wait to be accepted; the next are told to try again. */
	if (bind(service, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(service, 0) < 0)
		give_up("cannot listen");
}

static void setup(struct fake_driver *other, unsigned int index)
{
	*other = fake;
	other->queue = index;
	fake_place_rings_at(other, RINGS + 0x8000 * index, 64);
	if (!fake_setup_queue(other))
		give_up("the device refused a queue");
}

static void start(void)
{
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	fake_place_rings(&fake, 64);
	if (!fake_negotiate(&fake, fake.dev->features) || !fake_setup_queue(&fake))
		give_up("the device refused");
	setup(&tx, 1);
	setup(&event, 2);
	fake_write(&fake, VIRTIO_MMIO_STATUS,
		   fake_read(&fake, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* The guest --------------------------------------------------------------------------------------*/

static void give_rx(struct input *in, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct fake_buffer buffer = { FAKE_HIGH + (fake.next_desc & 63) * RX_SIZE, RX_SIZE,
					      true };

		if (rarely(in))
			buffer = any_buffer(in, true);
		offer(&fake, in, &buffer, 1);
	}
	fake_kick(&fake);
}

/* A few ports only, so that packets meet connections; those that the host's programs get, too. */
static struct virtio_vsock_hdr any_header(struct input *in)
{
	static const uint16_t ops[] = {
		VIRTIO_VSOCK_OP_REQUEST,       VIRTIO_VSOCK_OP_RW,
		VIRTIO_VSOCK_OP_RESPONSE,      VIRTIO_VSOCK_OP_SHUTDOWN,
		VIRTIO_VSOCK_OP_CREDIT_UPDATE, VIRTIO_VSOCK_OP_CREDIT_REQUEST,
		VIRTIO_VSOCK_OP_RST,	       VIRTIO_VSOCK_OP_RW
	};
	const uint8_t which = byte(in);
	struct virtio_vsock_hdr header = {
		.src_cid = CID,
		.dst_cid = VSOCK_HOST_CID,
		.src_port = 1 + (which >> 3 & 3),
		.dst_port = which & 32 ? vsock_of(fake.dev)->table.next_port - 1 - (which >> 6)
				       : SERVICE,
		.type = VIRTIO_VSOCK_TYPE_STREAM,
		.op = ops[which & 7],
		.flags = byte(in) & 3,
		.buf_alloc = 16u << (byte(in) & 15),
		.fwd_cnt = byte(in) * 64u,
	};

	if (rarely(in))
		header.src_cid = word(in);
	if (rarely(in))
		header.dst_cid = word(in);
	if (rarely(in))
		header.type = (uint16_t)word(in);
	if (rarely(in))
		header.op = (uint16_t)word(in);
	if (rarely(in))
		header.flags = (uint32_t)word(in);
	if (rarely(in))
		header.buf_alloc = (uint32_t)word(in);
	if (rarely(in))
		header.fwd_cnt = (uint32_t)word(in);
	return header;
}

static void any_packet(struct input *in)
{
	struct virtio_vsock_hdr header = any_header(in);
	const uint64_t at = HEADERS + (tx.next_desc & 63) * 64;
	const uint32_t size = header.op == VIRTIO_VSOCK_OP_RW ? 1 + byte(in) * 256u : 0;
	struct fake_buffer buffers[2] = { { at, sizeof(header), false }, { DATA, size, false } };

	header.len = size;
	if (rarely(in))
		header.len = (uint32_t)word(in);
	if (rarely(in))
		buffers[0].len = 1 + byte(in);
	if (rarely(in))
		buffers[1] = any_buffer(in, false);
	memcpy(fake_ptr(&fake, at, sizeof(header)), &header, sizeof(header));
	offer(&tx, in, buffers, buffers[1].len ? 2 : 1);
	fake_kick(&tx);
}

/* The host ---------------------------------------------------------------------------------------*/

static void close_program(unsigned int i)
{
	close_fd(&programs[i]);
}

static int dial(void)
{
	struct sockaddr_un addr = address("");
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		close_fd(&fd);
	return fd;
}

static void any_program(struct input *in)
{
	static const char *const lines[] = { "CONNECT 1\n", "CONNECT 2\nand more",   "CONNECT 3\n",
					     "CONN",	    "CONNECT 99999999999\n", "ECT 4\n" };
	static char data[65536];
	const unsigned int i = byte(in) % PROGRAMS;
	const uint8_t what = byte(in);
	const char *line = lines[(what >> 3) % ARRAY_SIZE(lines)];

	switch (what & 7) {
	case 0:
		close_program(i);
		programs[i] = dial();
		send(programs[i], line, strlen(line), MSG_NOSIGNAL);
		break;
	case 1:
		close_program(i);
		programs[i] = accept4(service, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		break;
	case 2:
	case 3:
		send(programs[i], data, 1 + (what >> 3) * 2000u, MSG_NOSIGNAL);
		break;
	case 4:
		recv(programs[i], data, sizeof(data), 0);
		break;
	case 5:
		shutdown(programs[i], what >> 3 & 1 ? SHUT_WR : SHUT_RD);
		break;
	case 6:
		send(programs[i], line, strlen(line), MSG_NOSIGNAL);
		break;
	default:
		close_program(i);
	}
}

/* Everything -------------------------------------------------------------------------------------*/

/* What a clone's guest finds: no connection, and an event that says so. */
static void restore(void)
{
	struct virtio_vsock_state state;
	struct error err;

	virtio_device_pause(fake.dev);
	fake.dev->ops->save(fake.dev, &state);
	vsock_drop_all(vsock_of(fake.dev));
	if (fake.dev->ops->load(fake.dev, &state, &err) < 0)
		give_up(err.text);
	virtio_device_resume(fake.dev);
}

static void any_step(struct input *in)
{
	const uint8_t step = byte(in);

	switch (step & 7) {
	case 0:
	case 1:
	case 2:
		any_packet(in);
		break;
	case 3:
		any_program(in);
		break;
	case 4:
		give_rx(in, 1 + (step >> 3));
		break;
	case 5:
		fake_chain(&event, &(struct fake_buffer){ FAKE_HIGH, 1u + byte(in), true }, 1);
		fake_kick(&event);
		break;
	default:
		break;
	}
	if (step == 0x77)
		restore();
	if (step == 0x7f)
		virtio_device_pause(fake.dev), virtio_device_resume(fake.dev);
	if (step == 0x7e)
		start();
	if (step == 0x76)
		usleep(2000); /* long enough for another try */
	if (step & 0x80)
		event_loop_run_once(fake.loop, false);
}

/* Counts say what is there, whatever was done. */
static void check_table(void)
{
	const struct vsock_table *table = &vsock_of(fake.dev)->table;
	unsigned int count = 0;

	for (unsigned int i = 0; i < table->fresh; i++) {
		const struct vsock_conn *conn = &table->conns[i];

		count += conn->state != VSOCK_FREE;
		if (conn->state != VSOCK_FREE && vsock_conn_buffered(conn) > VSOCK_BUFFER)
			abort();
		if (conn->state == VSOCK_CONNECTED && conn->watch.fd < 0)
			abort();
	}
	if (count != table->count)
		abort();
}

/* However it was treated: after a reset a program of the host reaches the guest. */
static void must_recover(void)
{
	struct input none = { 0 };
	struct vring_used_elem elem;
	const struct virtio_vsock_hdr *header;
	int fd;

	start();
	if (vsock_of(fake.dev)->table.count > 0)
		abort();
	give_rx(&none, 4);
	fd = dial();
	send(fd, "CONNECT 77\n", 11, MSG_NOSIGNAL);
	do {
		if (!fake_wait_used(&fake, &elem))
			abort();
		header = fake_ptr(&fake, FAKE_HIGH + elem.id * RX_SIZE, sizeof(*header));
	} while (header->dst_port != 77);
	if (header->op != VIRTIO_VSOCK_OP_REQUEST)
		abort();
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	int fd;

	if (!fake.loop)
		create();
	start();
	give_rx(&in, 8);
	for (int i = 0; i < STEPS && in.left > 0; i++) {
		any_step(&in);
		check_table();
	}
	fake_settle(&fake);
	for (unsigned int i = 0; i < PROGRAMS; i++)
		close_program(i);
	while ((fd = accept(service, NULL, NULL)) >= 0)
		close(fd);
	must_recover();
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	return 0;
}
