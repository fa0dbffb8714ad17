#include "virtio/vsock_conn.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "virtio/iov.h"

/* The table --------------------------------------------------------------------------------------*/

static void *promise(size_t bytes)
{
	void *map = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return map == MAP_FAILED ? NULL : map;
}

int vsock_table_init(struct vsock_table *table)
{
	*table = (struct vsock_table){ .next_port = VSOCK_HOST_PORT_FIRST };
	TAILQ_INIT(&table->ready);
	TAILQ_INIT(&table->waiting);
	table->conns = promise(VSOCK_CONNS_MAX * sizeof(*table->conns));
	table->buffers = promise(VSOCK_CONNS_MAX * VSOCK_BUFFER);
	if (table->conns && table->buffers)
		return 0;
	vsock_table_fini(table);
	return -ENOMEM;
}

void vsock_table_fini(struct vsock_table *table)
{
	if (table->conns)
		munmap(table->conns, VSOCK_CONNS_MAX * sizeof(*table->conns));
	if (table->buffers)
		munmap(table->buffers, VSOCK_CONNS_MAX * VSOCK_BUFFER);
	table->conns = NULL;
	table->buffers = NULL;
	table->fresh = table->count = 0;
}

struct vsock_conn *vsock_conn_new(struct vsock_table *table, int fd)
{
	unsigned int index;

	if (table->free) {
		index = table->free - 1u;
		table->free = table->conns[index].free_next;
	} else if (table->fresh < VSOCK_CONNS_MAX) {
		index = table->fresh++;
	} else {
		return NULL;
	}
	table->count++;
	table->conns[index] = (struct vsock_conn){
		.watch.fd = fd, .buffer = table->buffers + index * VSOCK_BUFFER
	};
	return &table->conns[index];
}

void vsock_conn_free(struct vsock_table *table, struct vsock_conn *conn)
{
	close_fd(&conn->watch.fd);
	vsock_conn_unname(table, conn);
	if (conn->is_ready)
		TAILQ_REMOVE(&table->ready, conn, ready_link);
	if (conn->is_waiting)
		TAILQ_REMOVE(&table->waiting, conn, waiting_link);
	if (conn->buffer_used)
		madvise(conn->buffer, VSOCK_BUFFER, MADV_DONTNEED);
	conn->is_ready = conn->is_waiting = false;
	conn->state = VSOCK_FREE;
	conn->free_next = table->free;
	table->free = (uint16_t)(conn - table->conns + 1);
	table->count--;
}

/* Both ports may be the guest's choice: whoever makes them collide waits for himself. */
static unsigned int bucket_of(uint32_t host_port, uint32_t guest_port)
{
	const uint32_t hash = (host_port * 0x9e3779b1u) ^ (guest_port * 0x85ebca6bu);

	return (hash >> 16 ^ hash) % VSOCK_CONNS_MAX;
}

void vsock_conn_name(struct vsock_table *table, struct vsock_conn *conn, uint32_t host_port,
		     uint32_t guest_port)
{
	uint16_t *bucket = &table->buckets[bucket_of(host_port, guest_port)];

	conn->host_port = host_port;
	conn->guest_port = guest_port;
	conn->hash_next = *bucket;
	conn->named = true;
	*bucket = (uint16_t)(conn - table->conns + 1);
}

void vsock_conn_unname(struct vsock_table *table, struct vsock_conn *conn)
{
	const uint16_t index = (uint16_t)(conn - table->conns + 1);
	uint16_t *at;

	if (!conn->named)
		return;
	at = &table->buckets[bucket_of(conn->host_port, conn->guest_port)];
	while (*at != index)
		at = &table->conns[*at - 1].hash_next;
	*at = conn->hash_next;
	conn->named = false;
}

struct vsock_conn *vsock_conn_find(const struct vsock_table *table, uint32_t host_port,
				   uint32_t guest_port)
{
	uint16_t at = table->buckets[bucket_of(host_port, guest_port)];

	while (at) {
		struct vsock_conn *conn = &table->conns[at - 1];

		if (conn->host_port == host_port && conn->guest_port == guest_port)
			return conn;
		at = conn->hash_next;
	}
	return NULL;
}

/* There are more ports than connections, so it ends. */
uint32_t vsock_host_port(struct vsock_table *table, uint32_t guest_port)
{
	uint32_t port;

	do {
		port = table->next_port++;
		if (table->next_port == UINT32_MAX) /* VMADDR_PORT_ANY */
			table->next_port = VSOCK_HOST_PORT_FIRST;
	} while (vsock_conn_find(table, port, guest_port));
	return port;
}

struct vsock_conn *vsock_conn_in_state(const struct vsock_table *table, enum vsock_state state)
{
	for (unsigned int i = 0; i < table->fresh; i++)
		if (table->conns[i].state == state)
			return &table->conns[i];
	return NULL;
}

/* Credits ----------------------------------------------------------------------------------------*/

uint32_t vsock_conn_credit(const struct vsock_conn *conn)
{
	const uint32_t under_way = conn->sent - conn->guest_forwarded;

	return under_way < conn->guest_alloc ? conn->guest_alloc - under_way : 0;
}

uint32_t vsock_conn_room(const struct vsock_conn *conn)
{
	return (uint32_t)VSOCK_BUFFER - vsock_conn_buffered(conn);
}

uint32_t vsock_conn_told_room(const struct vsock_conn *conn)
{
	return (uint32_t)VSOCK_BUFFER - (conn->received - conn->told);
}

/* Bytes ------------------------------------------------------------------------------------------*/

/* How many the socket took, 0 when it is full. */
static ssize_t write_some(const struct vsock_conn *conn, struct iovec *iov, unsigned int count)
{
	const struct msghdr message = { .msg_iov = iov, .msg_iovlen = count };
	const ssize_t ret =
		retry_eintr(sendmsg(conn->watch.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT));

	if (ret < 0)
		return errno == EAGAIN ? 0 : -errno;
	return ret;
}

/* The ring's bytes from one counter to another, in at most two parts. */
static unsigned int ring_parts(const struct vsock_conn *conn, uint32_t from, uint32_t to,
			       struct iovec parts[static 2])
{
	const uint32_t at = from & ((uint32_t)VSOCK_BUFFER - 1), len = to - from;
	const uint32_t first = MIN(len, (uint32_t)VSOCK_BUFFER - at);

	parts[0] = (struct iovec){ conn->buffer + at, first };
	parts[1] = (struct iovec){ conn->buffer, len - first };
	return len == 0 ? 0 : len > first ? 2 : 1;
}

/* Appends `len` bytes that start `skip` bytes into the vector; false: they are not to be had. */
static bool keep(struct vsock_conn *conn, const struct iovec *iov, unsigned int count, size_t skip,
		 uint32_t len)
{
	bool all = true;

	conn->buffer_used = true;
	for (unsigned int i = 0; i < count && len > 0; i++) {
		const size_t from = MIN(skip, iov[i].iov_len);
		const uint32_t want = (uint32_t)MIN(iov[i].iov_len - from, (size_t)len);
		const struct iovec source = { (char *)iov[i].iov_base + from, want };
		struct iovec parts[2];
		unsigned int n = ring_parts(conn, conn->received, conn->received + want, parts);

		for (unsigned int k = 0, done = 0; k < n; done += parts[k++].iov_len) {
			struct iovec rest = { (char *)source.iov_base + done, want - done };

			all &= iov_read(&rest, 1, parts[k].iov_base, parts[k].iov_len) ==
			       parts[k].iov_len;
		}
		conn->received += want;
		len -= want;
		skip -= from;
	}
	return all;
}

static int throw_away(struct vsock_conn *conn, int ret)
{
	conn->forwarded = conn->received;
	return ret;
}

int vsock_conn_take(struct vsock_conn *conn, const struct iovec *iov, unsigned int count,
		    uint32_t len)
{
	struct iovec exact[64];
	ssize_t done = 0;

	/* The usual case is that nothing waits: straight from the guest's pages to the socket. */
	if (vsock_conn_buffered(conn) == 0 && count <= ARRAY_SIZE(exact)) {
		uint32_t left = len;
		unsigned int n = 0;

		for (; n < count && left > 0; n++) {
			exact[n] = iov[n];
			exact[n].iov_len = MIN(iov[n].iov_len, (size_t)left);
			left -= (uint32_t)exact[n].iov_len;
		}
		done = write_some(conn, exact, n);
	}
	if (done < 0) {
		conn->received += len;
		return throw_away(conn, (int)done);
	}
	conn->received += (uint32_t)done;
	conn->forwarded += (uint32_t)done;
	return keep(conn, iov, count, (size_t)done, len - (uint32_t)done)
		       ? 0
		       : throw_away(conn, -EFAULT);
}

int vsock_conn_flush(struct vsock_conn *conn)
{
	while (vsock_conn_buffered(conn) > 0) {
		struct iovec parts[2];
		const unsigned int n = ring_parts(conn, conn->forwarded, conn->received, parts);
		const ssize_t done = write_some(conn, parts, n);

		if (done < 0)
			return throw_away(conn, (int)done);
		if (done == 0)
			break;
		conn->forwarded += (uint32_t)done;
	}
	return 0;
}
