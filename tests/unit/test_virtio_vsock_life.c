/* vsock's device: its socket file, reset, pause, restore, silence, descriptors that run out. */
#include <sys/stat.h>

#include "tests/unit/vsock_driver.h"

TestSuite(virtio_vsock_life, .timeout = 60);

LOOPS(virtio_vsock_life, reset_in_the_middle)
{
	uint32_t port;
	int fd = open_from_host(52, &port), early = host_dial(), again;

	say_bytes("half of", 7, port, 52);
	host_say(fd, "something for a guest that is gone");
	drive();
	give_rx(RX_COUNT);
	host_expect(fd, "half of");
	cr_assert_eq(host_hear(fd, &(char){ 0 }, 1), -ECONNRESET);
	cr_assert_leq(vsock()->table.count, 1); /* `early` may have come only now */
	expect_silence();
	again = open_from_host(52, &port);
	say_bytes("all", 3, port, 52);
	host_expect(again, "all");
	close(early);
	close(again);
	close(fd);
}

LOOPS(virtio_vsock_life, pause_keeps_connections)
{
	uint32_t port;
	int fd = open_from_host(52, &port);

	virtio_device_pause(fake.dev);
	host_say(fd, "meanwhile");
	expect_silence();
	virtio_device_resume(fake.dev);
	cr_assert_eq(expect(VIRTIO_VSOCK_OP_RW, port, 52).len, 9);
	say_bytes("after", 5, port, 52);
	host_expect(fd, "after");
	close(fd);
}

/* A host that connects before the driver is there waits, and is served then. */
LOOPS(virtio_vsock_life, host_before_the_driver)
{
	int fd;

	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	fd = host_dial();
	host_say(fd, "CONNECT 5\n");
	cr_assert_eq(host_hear(fd, &(char){ 0 }, 1), -EAGAIN);
	drive();
	give_rx(RX_COUNT);
	expect(VIRTIO_VSOCK_OP_REQUEST, 0, 5);
	close(fd);
}

static void give_event_buffer(void)
{
	fake_chain(&event, &(struct fake_buffer){ EVENT_BUFFER, 8, true }, 1);
	fake_kick(&event);
}

LOOPS(virtio_vsock_life, transport_reset)
{
	struct vring_used_elem elem;
	uint32_t port;
	int fd = open_from_host(52, &port);

	give_event_buffer();
	fake_settle(&fake);
	cr_assert(!fake_used(&event, &elem));
	restore();
	cr_assert(fake_wait_used(&event, &elem));
	cr_assert_eq(elem.len, 4);
	cr_assert_eq(*(uint32_t *)fake_ptr(&fake, EVENT_BUFFER, 4),
		     VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	host_expect_end(fd);
	expect_silence();
	cr_assert_eq(vsock()->table.count, 0);
	close(fd);
}

/* One that a timer lets go; hear() does not wait for those. */
static void wait_for_packet(void)
{
	for (int i = 0; i < 10000 && fake.used->idx == fake.last_used; i++) {
		event_loop_run_once(fake.loop, false);
		usleep(1000);
	}
}

/* Linux forgets all connections when it handles the event: one that it had before that would be lost. */
LOOPS(virtio_vsock_life, a_connection_waits_until_the_reset_is_handled)
{
	struct vring_used_elem elem;
	int fd;

	vsock()->hold_ns = 60000000000;
	give_event_buffer();
	give_event_buffer();
	fake_settle(&fake);
	restore();
	cr_assert(fake_wait_used(&event, &elem));
	fd = host_dial();
	host_say(fd, "CONNECT 52\n");
	expect_silence();
	/* The notification is asked for, though a buffer is there. */
	cr_assert_eq(*(uint16_t *)&event.used->ring[event.layout.size], event.avail->idx);
	give_event_buffer();
	expect(VIRTIO_VSOCK_OP_REQUEST, 0, 52);
	close(fd);
}

LOOPS(virtio_vsock_life, a_driver_that_never_handles_a_reset_gets_connections_all_the_same)
{
	int fd;

	vsock()->hold_ns = 1000000;
	restore();
	fd = host_dial();
	host_say(fd, "CONNECT 52\n");
	wait_for_packet();
	expect(VIRTIO_VSOCK_OP_REQUEST, 0, 52);
	/* And hears of it still. */
	give_event_buffer();
	cr_assert(fake_wait_used(&event, &(struct vring_used_elem){ 0 }));
	close(fd);
}

/* What it had by then it has dropped, and nobody may wait for that. */
LOOPS(virtio_vsock_life, a_reset_that_is_handled_late_ends_what_began_meanwhile)
{
	char byte;
	uint32_t port;
	int fd;

	vsock()->hold_ns = 1000000;
	give_event_buffer();
	restore();
	fd = host_dial();
	host_say(fd, "CONNECT 52\n");
	wait_for_packet();
	port = expect(VIRTIO_VSOCK_OP_REQUEST, 0, 52).src_port;
	say(VIRTIO_VSOCK_OP_RESPONSE, port, 52);
	cr_assert_gt(host_hear(fd, &byte, 1), 0);
	give_event_buffer();
	fake_settle(&fake);
	cr_expect_eq(vsock()->table.count, 0);
	close(fd);
	fd = open_from_host(53, &port);
	close(fd);
}

LOOPS(virtio_vsock_life, the_buffer_for_a_transport_reset_comes_later)
{
	struct vring_used_elem elem;

	restore();
	fake_settle(&fake);
	give_event_buffer();
	cr_assert(fake_wait_used(&event, &elem));
	give_event_buffer();
	fake_settle(&fake);
	cr_assert(!fake_used(&event, &elem));
}

LOOPS(virtio_vsock_life, guest_that_does_not_answer)
{
	int fd = host_dial();
	uint32_t port;

	vsock()->patience_ns = 20000000;
	host_say(fd, "CONNECT 5\n");
	port = expect(VIRTIO_VSOCK_OP_REQUEST, 0, 5).src_port;
	usleep(30000);
	host_expect_end(fd);
	expect(VIRTIO_VSOCK_OP_RST, port, 5);
	cr_assert_eq(counter(VSOCK_KILLED), 1);
	close(fd);
}

/* It listens, accepts nobody, and there is no more room in its queue. */
LOOPS(virtio_vsock_life, program_that_does_not_answer)
{
	const int listener = host_listen("_99");
	int first;

	vsock()->patience_ns = 20000000;
	listen(listener, 0);
	first = open_from_guest(listener, 99, 100);
	say(VIRTIO_VSOCK_OP_REQUEST, 99, 101);
	expect(VIRTIO_VSOCK_OP_RESPONSE, 99, 101);
	say(VIRTIO_VSOCK_OP_REQUEST, 99, 102);
	expect_silence();
	usleep(30000);
	expect(VIRTIO_VSOCK_OP_RST, 99, 102);
	cr_assert_eq(counter(VSOCK_KILLED), 1);
	say_bytes("still", 5, 100, 99);
	close(first);
	close(listener);
}

LOOPS(virtio_vsock_life, guest_that_does_not_confirm)
{
	uint32_t port;
	int fd;

	vsock()->patience_ns = 20000000;
	fd = open_from_host(5, &port);
	close(fd);
	expect(VIRTIO_VSOCK_OP_SHUTDOWN, port, 5);
	usleep(30000);
	expect(VIRTIO_VSOCK_OP_RST, port, 5);
	cr_assert_eq(vsock()->table.count, 0);
}

/* Programs that say nothing must not keep others out: they give way when all places are taken. */
LOOPS(virtio_vsock_life, silent_programs_give_way)
{
	const struct rlimit many = { 4096, 4096 };
	static int fds[VSOCK_CONNS_MAX];
	uint32_t port;
	int fd;

	if (setrlimit(RLIMIT_NOFILE, &many) < 0)
		cr_skip("no descriptors for it");
	for (unsigned int i = 0; i < VSOCK_CONNS_MAX; i++) {
		fds[i] = host_dial();
		fake_settle(&fake);
	}
	cr_assert_eq(vsock()->table.count, VSOCK_CONNS_MAX);
	fd = open_from_host(5, &port);
	cr_assert_eq(vsock()->table.count, VSOCK_CONNS_MAX);
	host_say(fd, "x");
	expect(VIRTIO_VSOCK_OP_RW, port, 5);
	close(fd);
	for (unsigned int i = 0; i < VSOCK_CONNS_MAX; i++)
		close(fds[i]);
}

/* Without a descriptor a connection is refused, from either side; later ones are not. */
LOOPS(virtio_vsock_life, descriptors_run_out)
{
	int listener = host_listen("_99"), fd = host_dial(), other = host_dial(), last;
	struct rlimit limit;
	uint32_t port;

	/* Below the lowest free number nothing is to be had. */
	getrlimit(RLIMIT_NOFILE, &limit);
	last = dup(0);
	close(last);
	limit.rlim_cur = (rlim_t)last;
	setrlimit(RLIMIT_NOFILE, &limit);
	host_expect_end(fd);
	host_expect_end(other);
	say(VIRTIO_VSOCK_OP_REQUEST, 99, 1);
	expect(VIRTIO_VSOCK_OP_RST, 99, 1);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	close(fd);
	close(other);
	fd = open_from_host(5, &port);
	close(fd);
	close(listener);
}

LOOPS(virtio_vsock_life, socket_file)
{
	struct virtio_device *first = fake.dev;
	struct error err = { 0 };
	struct stat st;
	char other[80];

	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(create(path, CID, &err), -EADDRINUSE);
	cr_assert(strstr(err.text, path), "%s", err.text);
	snprintf(other, sizeof(other), "%s/none/v", folder);
	cr_assert_eq(create(other, CID, &err), -ENOENT);
	cr_assert(strstr(err.text, other), "%s", err.text);
	fake.dev = first;
	virtio_device_destroy(fake.dev);
	fake.dev = NULL;
	cr_assert_lt(stat(path, &st), 0);
	/* What somebody else has put there stays. */
	cr_assert_eq(create(path, CID, &err), 0);
	unlink(path);
	fclose(fopen(path, "w"));
	virtio_device_destroy(fake.dev);
	fake.dev = NULL;
	cr_assert_eq(stat(path, &st), 0);
}

Test(virtio_vsock_life, impossible_parameters)
{
	char long_path[200] = "/tmp/";
	struct error err = { 0 };

	memset(long_path + 5, 'x', 150);
	fake_init(&fake, EVENT_LOOP_EPOLL);
	cr_assert_eq(create(long_path, CID, &err), -EINVAL);
	cr_assert_eq(create("", CID, &err), -EINVAL);
	cr_assert_eq(create("/tmp/mayfly-never", 2, &err), -EINVAL);
	cr_assert_eq(create("/tmp/mayfly-never", UINT32_MAX, &err), -EINVAL);
	cr_assert_lt(access("/tmp/mayfly-never", F_OK), 0);
	fake_fini(&fake);
}

static int listen_at(const char *where)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	memcpy(addr.sun_path, where, strlen(where));
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0, "%s", where);
	cr_assert_eq(listen(fd, 1), 0);
	return fd;
}

/* A longer one would be cut, or refused when a guest connects: too late to tell anybody. */
Test(virtio_vsock_life, behind_the_longest_path_fits_the_longest_port)
{
	char longest[VSOCK_UNIX_PATH_MAX + 2] = "/tmp/mayfly-longest-", port[sizeof(longest) + 16];
	struct vsock_unix host;
	struct error err = { 0 };
	int listener, fd;

	memset(longest + strlen(longest), 'x', VSOCK_UNIX_PATH_MAX + 1 - strlen(longest));
	cr_assert_eq(vsock_unix_open(&host, longest, 0, &err), -EINVAL);
	cr_expect(strstr(err.text, "1 to 96 bytes"), "%s", err.text);
	longest[VSOCK_UNIX_PATH_MAX] = '\0';
	unlink(longest);
	cr_assert_eq(vsock_unix_open(&host, longest, 0, &err), 0, "%s", err.text);
	snprintf(port, sizeof(port), "%s_%u", longest, UINT32_MAX);
	unlink(port);
	listener = listen_at(port);
	fd = vsock_unix_socket();
	cr_expect_eq(vsock_unix_connect(&host, fd, UINT32_MAX), 0);
	unlink(port);
	close(fd);
	close(listener);
	vsock_unix_close(&host);
}

/* Somebody's listener: accepted from without waiting, connected beside, and its file is not ours to remove. */
Test(virtio_vsock_life, a_listener_that_came)
{
	const char *at_path = "/tmp/mayfly-came", *port = "/tmp/mayfly-came_7";
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct vsock_unix host;
	struct error err = { 0 };
	int came, beside, fd;

	unlink(at_path);
	unlink(port);
	came = listen_at(at_path);
	beside = listen_at(port);
	cr_assert_eq(vsock_unix_open(&host, NULL, came, &err), 0, "%s", err.text);
	cr_expect_str_eq(host.path, at_path);
	cr_expect_eq(vsock_unix_accept(&host), -EAGAIN);
	close(came);
	memcpy(addr.sun_path, at_path, strlen(at_path));
	fd = vsock_unix_socket();
	cr_expect_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	came = vsock_unix_accept(&host);
	cr_expect_geq(came, 0);
	close(came);
	close(fd);
	fd = vsock_unix_socket();
	cr_expect_eq(vsock_unix_connect(&host, fd, 7), 0);
	close(fd);
	vsock_unix_close(&host);
	cr_expect_eq(access(at_path, F_OK), 0);
	unlink(at_path);
	unlink(port);
	close(beside);
}

LOOPS(virtio_vsock_life, saved_state)
{
	const struct virtio_ops *ops = fake.dev->ops;
	struct virtio_vsock_state state = { 0 };
	struct error err = { 0 };

	cr_assert_eq(ops->state->size, sizeof(state));
	ops->save(fake.dev, &state);
	cr_assert_eq(state.cid, CID);
	cr_assert_str_eq(state.path, path);
	state.cid = 2;
	cr_assert_eq(ops->load(fake.dev, &state, &err), -EINVAL);
	state.cid = 77;
	cr_assert_eq(ops->load(fake.dev, &state, &err), 0);
	cr_assert_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG), 77);
}

/* The guest of a snapshot learns of it without being asked: its connections have nobody any more. */
LOOPS(virtio_vsock_life, load_tells_of_a_transport_reset)
{
	struct virtio_vsock_state state;
	struct vring_used_elem elem;
	struct error err;
	uint32_t port;
	int fd = open_from_host(52, &port);

	virtio_device_pause(fake.dev);
	fake.dev->ops->save(fake.dev, &state);
	vsock()->table.next_port = VSOCK_HOST_PORT_FIRST; /* a fresh process's */
	cr_assert_eq(fake.dev->ops->load(fake.dev, &state, &err), 0);
	give_event_buffer();
	virtio_device_resume(fake.dev);
	cr_assert(fake_wait_used(&event, &elem));
	cr_assert_eq(*(uint32_t *)fake_ptr(&fake, EVENT_BUFFER, 4),
		     VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
	/* Nor does a new connection get the number of an old one, which a program may hold on to. */
	cr_assert_gt(vsock()->table.next_port, port);
	close(fd);
}
