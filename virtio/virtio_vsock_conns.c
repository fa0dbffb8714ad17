/* What happens to connections, from either side: begin, half-close, end, silence. */
#include <stdio.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "virtio/virtio_vsock_priv.h"

#define ACCEPTS_PER_TURN 64

/* Between two tries to connect to a program that cannot take one more: at first, and at most. */
#define REDIAL_NS 1000000ull
#define REDIAL_MAX_NS 32000000ull

static void on_socket(struct loop_watch *watch);

/* The patience for answers -----------------------------------------------------------------------*/

static void wait_no_more(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	if (!conn->is_waiting)
		return;
	TAILQ_REMOVE(&vsock->table.waiting, conn, waiting_link);
	conn->is_waiting = false;
}

/* Everyone has the same patience, so the list is in the order of deadlines. */
static void wait_for_answer(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	wait_no_more(vsock, conn);
	conn->is_waiting = true;
	conn->deadline = clock_now_ns(CLOCK_MONOTONIC) + vsock->patience_ns;
	TAILQ_INSERT_TAIL(&vsock->table.waiting, conn, waiting_link);
	if (!vsock->timer.armed)
		loop_timer_arm(&vsock->timer, vsock->patience_ns);
}

void vsock_on_silence(struct loop_timer *timer)
{
	struct virtio_vsock *vsock = container_of(timer, struct virtio_vsock, timer);
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);
	struct vsock_conn *conn;

	while ((conn = TAILQ_FIRST(&vsock->table.waiting)) && conn->deadline <= now) {
		virtio_count(&vsock->dev, VSOCK_KILLED, 1);
		vsock_end(vsock, conn, VSOCK_SEND_RST);
	}
	if (conn)
		loop_timer_arm(timer, conn->deadline - now);
}

/* After a pause: the guest was not there to answer. */
static void wait_anew(struct virtio_vsock *vsock)
{
	struct vsock_conn *conn;

	TAILQ_FOREACH(conn, &vsock->table.waiting, waiting_link)
	conn->deadline = clock_now_ns(CLOCK_MONOTONIC) + vsock->patience_ns;
	if (!TAILQ_EMPTY(&vsock->table.waiting))
		loop_timer_arm(&vsock->timer, vsock->patience_ns);
}

/* Ends -------------------------------------------------------------------------------------------*/

static void close_socket(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	event_loop_unwatch(vsock->dev.loop, &conn->watch);
	close_fd(&conn->watch.fd);
	conn->forwarded = conn->received;
	conn->readable = false;
}

void vsock_remove(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	close_socket(vsock, conn);
	vsock_conn_free(&vsock->table, conn);
	virtio_count(&vsock->dev, VSOCK_REMOVED, 1);
}

void vsock_end(struct virtio_vsock *vsock, struct vsock_conn *conn, uint8_t pending)
{
	if (!conn->named) {
		vsock_remove(vsock, conn);
		return;
	}
	close_socket(vsock, conn);
	conn->state = VSOCK_ENDED;
	conn->pending = pending;
	if (pending & VSOCK_SEND_RST)
		wait_no_more(vsock, conn);
	else
		wait_for_answer(vsock, conn);
	vsock_ready(vsock, conn);
}

void vsock_host_refuses(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_RCV;
	conn->pending |= VSOCK_SEND_SHUTDOWN;
	vsock_ready(vsock, conn);
}

void vsock_host_ended(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	conn->readable = false;
	if (vsock_unix_hung_up(conn->watch.fd)) {
		conn->host_shut = VSOCK_SHUTDOWN_BOTH;
		vsock_end(vsock, conn, VSOCK_SEND_SHUTDOWN);
		return;
	}
	conn->host_shut |= VIRTIO_VSOCK_SHUTDOWN_SEND;
	conn->pending |= VSOCK_SEND_SHUTDOWN;
	vsock_ready(vsock, conn);
}

void vsock_guest_shut(struct virtio_vsock *vsock, struct vsock_conn *conn, uint32_t flags)
{
	if (conn->state == VSOCK_ORPHAN)
		return;
	if (conn->state != VSOCK_CONNECTED) {
		vsock_end(vsock, conn, VSOCK_SEND_RST);
		return;
	}
	conn->guest_shut |= flags & VSOCK_SHUTDOWN_BOTH;
	if (conn->guest_shut == VSOCK_SHUTDOWN_BOTH)
		conn->state = VSOCK_ORPHAN;
	else if (flags & VIRTIO_VSOCK_SHUTDOWN_RCV)
		shutdown(conn->watch.fd, SHUT_RD);
	vsock_settle(vsock, conn);
}

void vsock_guest_reset(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	if (conn->state == VSOCK_ORPHAN)
		vsock_conn_unname(&vsock->table, conn); /* its ports are free again */
	else
		vsock_remove(vsock, conn);
}

/* From now on the loop also tells us when the socket takes more. Not from the start: it costs a wake-up
 * for each read of a program that is fast enough. */
static void watch_for_room(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	if (conn->watch.writable)
		return;
	event_loop_unwatch(vsock->dev.loop, &conn->watch);
	conn->watch.writable = true;
	if (event_loop_watch(vsock->dev.loop, &conn->watch) < 0) {
		virtio_count(&vsock->dev, VSOCK_CONN_EVENT_FAILS, 1);
		vsock_end(vsock, conn, VSOCK_SEND_RST);
	}
}

void vsock_settle(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	if (vsock_conn_buffered(conn) > 0)
		watch_for_room(vsock, conn);
	else if (conn->state == VSOCK_ORPHAN)
		vsock_end(vsock, conn, VSOCK_SEND_RST); /* 5.10.6.5: nothing is left, it is gone */
	else if (conn->guest_shut & VIRTIO_VSOCK_SHUTDOWN_SEND)
		shutdown(conn->watch.fd, SHUT_WR);
	if (conn->state == VSOCK_CONNECTED && !(conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_RCV) &&
	    conn->told != conn->forwarded && vsock_conn_told_room(conn) < VSOCK_BUFFER / 2) {
		conn->pending |= VSOCK_SEND_CREDIT;
		vsock_ready(vsock, conn);
	}
}

/* Beginnings -------------------------------------------------------------------------------------*/

/* When all places are taken, those give way that nobody of the guest is behind. */
static struct vsock_conn *take_place(struct virtio_vsock *vsock, int fd)
{
	struct vsock_conn *conn = vsock_conn_new(&vsock->table, fd);

	if (!conn) {
		conn = vsock_conn_in_state(&vsock->table, VSOCK_ORPHAN);
		if (!conn)
			conn = vsock_conn_in_state(&vsock->table, VSOCK_HANDSHAKE);
		if (!conn)
			return NULL;
		virtio_count(&vsock->dev, VSOCK_KILLED, 1);
		vsock_remove(vsock, conn);
		conn = vsock_conn_new(&vsock->table, fd);
	}
	conn->owner = vsock;
	conn->watch.ready = on_socket;
	virtio_count(&vsock->dev, VSOCK_ADDED, 1);
	return conn;
}

/* The host's program will have it: the guest may know. */
static int answer_guest(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	const int ret = event_loop_watch(vsock->dev.loop, &conn->watch);

	if (ret < 0)
		return ret;
	wait_no_more(vsock, conn);
	conn->state = VSOCK_CONNECTED;
	conn->pending = VSOCK_SEND_RESPONSE;
	vsock_ready(vsock, conn);
	return 0;
}

static void redial(struct loop_timer *timer)
{
	struct virtio_vsock *vsock = container_of(timer, struct virtio_vsock, redial);
	bool again = false;

	for (unsigned int i = 0; i < vsock->table.fresh; i++) {
		struct vsock_conn *conn = &vsock->table.conns[i];
		int ret;

		if (conn->state != VSOCK_DIALING)
			continue;
		ret = vsock_unix_connect(&vsock->host, conn->watch.fd, conn->host_port);
		if (ret == -EAGAIN)
			again = true;
		else if (ret < 0 || answer_guest(vsock, conn) < 0)
			vsock_end(vsock, conn, VSOCK_SEND_RST);
	}
	vsock->redial_ns = MIN(2 * vsock->redial_ns, REDIAL_MAX_NS);
	if (again)
		loop_timer_arm(timer, vsock->redial_ns);
}

static int redial_later(struct virtio_vsock *vsock)
{
	int ret = 0;

	if (vsock->redial.watch.fd < 0)
		ret = loop_timer_init(&vsock->redial, vsock->dev.loop, redial);
	if (ret == 0 && !vsock->redial.armed) {
		vsock->redial_ns = REDIAL_NS;
		loop_timer_arm(&vsock->redial, vsock->redial_ns);
	}
	return ret;
}

/* One that waits for its turn holds up nobody else. */
static int dial(struct virtio_vsock *vsock, struct vsock_conn *conn, int connected)
{
	if (connected == 0)
		return answer_guest(vsock, conn);
	conn->state = VSOCK_DIALING;
	wait_for_answer(vsock, conn);
	return redial_later(vsock);
}

static int connect_to_host(struct virtio_vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	cleanup_fd int fd = vsock_unix_socket();
	struct vsock_conn *conn;
	int ret;

	if (fd < 0)
		return fd;
	ret = vsock_unix_connect(&vsock->host, fd, host_port);
	if (ret < 0 && ret != -EAGAIN)
		return ret;
	conn = take_place(vsock, fd);
	if (!conn)
		return -EUSERS;
	steal_fd(&fd);
	vsock_conn_name(&vsock->table, conn, host_port, guest_port);
	ret = dial(vsock, conn, ret);
	if (ret < 0)
		vsock_remove(vsock, conn);
	return ret;
}

void vsock_open(struct virtio_vsock *vsock, uint32_t host_port, uint32_t guest_port)
{
	const int ret = connect_to_host(vsock, host_port, guest_port);

	if (ret == 0)
		return;
	if (ret != -ENOENT && ret != -ECONNREFUSED)
		log_limited(&vsock->warnings, LOG_WARN,
			    "%s: the guest's connection to port %u is refused: %s", vsock->dev.name,
			    host_port, strerrordesc_np(-ret));
	vsock_refuse(vsock, &(struct vsock_refusal){ .cid = VSOCK_HOST_CID,
						     .host_port = host_port,
						     .guest_port = guest_port });
}

void vsock_opened(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	wait_no_more(vsock, conn);
	conn->state = VSOCK_CONNECTED;
	if (vsock_unix_accept_request(conn->watch.fd, conn->host_port) < 0) {
		vsock_end(vsock, conn, VSOCK_SEND_RST);
		return;
	}
	conn->readable = true; /* it may have sent bytes without waiting for us */
	vsock_ready(vsock, conn);
}

static void shake_hands(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	uint32_t port = 0;
	int ret = vsock_unix_read_request(conn->watch.fd, &port);

	if (ret < 0)
		vsock_remove(vsock, conn);
	if (ret <= 0)
		return;
	vsock_conn_name(&vsock->table, conn, vsock_host_port(&vsock->table, port), port);
	conn->state = VSOCK_REQUESTED;
	conn->pending = VSOCK_SEND_REQUEST;
	wait_for_answer(vsock, conn);
	vsock_ready(vsock, conn);
}

/* Events of the host -----------------------------------------------------------------------------*/

static void on_connected_socket(struct virtio_vsock *vsock, struct vsock_conn *conn)
{
	if (vsock_conn_buffered(conn) > 0) {
		if (vsock_conn_flush(conn) < 0) {
			virtio_count(&vsock->dev, VSOCK_FLUSH_FAILS, 1);
			vsock_host_refuses(vsock, conn);
		}
		vsock_settle(vsock, conn);
	}
	if (conn->state != VSOCK_CONNECTED)
		return;
	if (conn->host_shut & VIRTIO_VSOCK_SHUTDOWN_SEND) {
		/* After its half-close, the rest. */
		if (vsock_unix_hung_up(conn->watch.fd))
			vsock_host_ended(vsock, conn);
		return;
	}
	conn->readable = true;
	vsock_ready(vsock, conn);
}

static void on_socket(struct loop_watch *watch)
{
	struct vsock_conn *conn = container_of(watch, struct vsock_conn, watch);
	struct virtio_vsock *vsock = conn->owner;

	if (conn->state == VSOCK_HANDSHAKE)
		shake_hands(vsock, conn);
	else if (conn->state == VSOCK_CONNECTED || conn->state == VSOCK_ORPHAN)
		on_connected_socket(vsock, conn);
}

static void welcome(struct virtio_vsock *vsock, int fd)
{
	struct vsock_conn *conn = take_place(vsock, fd);

	if (!conn) {
		log_limited(&vsock->warnings, LOG_WARN,
			    "%s: a connection to %s is refused: there are %u already",
			    vsock->dev.name, vsock->host.path, VSOCK_CONNS_MAX);
		close(fd);
		return;
	}
	conn->state = VSOCK_HANDSHAKE;
	/* What is there already is an event, too. */
	if (event_loop_watch(vsock->dev.loop, &conn->watch) < 0) {
		virtio_count(&vsock->dev, VSOCK_CONN_EVENT_FAILS, 1);
		vsock_remove(vsock, conn);
	}
}

static void on_listener(struct loop_watch *watch)
{
	struct virtio_vsock *vsock = container_of(watch, struct virtio_vsock, listening);
	int budget = ACCEPTS_PER_TURN, fd;

	do {
		fd = vsock_unix_accept(&vsock->host);
		if (fd >= 0)
			welcome(vsock, fd);
	} while ((fd >= 0 || fd == -EMFILE) && --budget > 0);
	if (fd < 0 && fd != -EAGAIN)
		virtio_count(&vsock->dev, VSOCK_MUXER_EVENT_FAILS, 1);
	if (budget > 0)
		return;
	/* The others first; a new watch tells of those that still wait. */
	event_loop_unwatch(vsock->dev.loop, watch);
	if (event_loop_watch(vsock->dev.loop, watch) < 0)
		log_error("%s: no more connections to %s: out of memory", vsock->dev.name,
			  vsock->host.path);
}

/* All of them ------------------------------------------------------------------------------------*/

int vsock_watch_all(struct virtio_vsock *vsock)
{
	struct event_loop *loop = vsock->dev.loop;
	int ret = loop_timer_attach(&vsock->timer, loop);

	if (ret < 0)
		return ret;
	vsock->listening = (struct loop_watch){ .fd = vsock->host.listener, .ready = on_listener };
	ret = event_loop_watch(loop, &vsock->listening);
	for (unsigned int i = 0; i < vsock->table.fresh && ret == 0; i++) {
		struct vsock_conn *conn = &vsock->table.conns[i];

		if (conn->state == VSOCK_DIALING)
			ret = redial_later(vsock);
		else if (conn->state != VSOCK_FREE && conn->watch.fd >= 0)
			ret = event_loop_watch(loop, &conn->watch);
	}
	if (ret < 0)
		vsock_unwatch_all(vsock);
	else
		wait_anew(vsock);
	return ret;
}

void vsock_unwatch_all(struct virtio_vsock *vsock)
{
	struct event_loop *loop = vsock->dev.loop;

	loop_timer_detach(&vsock->timer);
	loop_timer_fini(&vsock->redial);
	event_loop_unwatch(loop, &vsock->listening);
	for (unsigned int i = 0; i < vsock->table.fresh; i++)
		event_loop_unwatch(loop, &vsock->table.conns[i].watch);
}

void vsock_drop_all(struct virtio_vsock *vsock)
{
	for (unsigned int i = 0; i < vsock->table.fresh; i++)
		if (vsock->table.conns[i].state != VSOCK_FREE)
			vsock_remove(vsock, &vsock->table.conns[i]);
	vsock->first_refusal = vsock->next_refusal;
}
