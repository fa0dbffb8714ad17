/*
 * Connections of a vsock device: how far each has got, its credits in both directions, what the
 * guest sent that the host's program has not taken yet, and the table of them all.
 *
 * Memory is bounded and promised in advance: VSOCK_CONNS_MAX places, each with VSOCK_BUFFER bytes,
 * which is the credit that the guest is given; what is never used is never touched. Nothing is
 * allocated later. From the host to the guest nothing is buffered at all.
 *
 * Knows no rings. Runs on the device's loop.
 */
#pragma once

#include <linux/virtio_vsock.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "base/event_loop.h"

#define VSOCK_CONNS_MAX 1024u
#define VSOCK_BUFFER KIB(256)		 /* a power of 2 */
#define VSOCK_HOST_PORT_FIRST (1u << 30) /* what the host's programs get, from here on */

enum vsock_state {
	VSOCK_FREE,
	VSOCK_HANDSHAKE, /* a program of the host has connected and not said to which port */
	VSOCK_DIALING,	 /* the guest asks, and the host's program cannot take one more yet */
	VSOCK_REQUESTED, /* the guest was asked and has not answered */
	VSOCK_CONNECTED,
	VSOCK_ORPHAN, /* the guest is done with it; the host's program still gets what it sent */
	VSOCK_ENDED,  /* the socket is closed; the guest has to hear, or to confirm, of it */
};

/* What the guest is to be told, in this order. */
enum vsock_pending {
	VSOCK_SEND_RST = 1 << 0, /* the last thing ever */
	VSOCK_SEND_REQUEST = 1 << 1,
	VSOCK_SEND_RESPONSE = 1 << 2,
	VSOCK_SEND_CREDIT = 1 << 3,
	VSOCK_ASK_CREDIT = 1 << 4,
	VSOCK_SEND_SHUTDOWN = 1 << 5,
};

#define VSOCK_SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

struct vsock_conn {
	uint32_t host_port, guest_port; /* once named */
	enum vsock_state state;
	uint8_t pending;    /* VSOCK_SEND_*, VSOCK_ASK_* */
	uint8_t guest_shut; /* VIRTIO_VSOCK_SHUTDOWN_*: what the guest will not do any more */
	uint8_t host_shut;  /* ... and the host's program */
	bool named;	    /* can be found by its ports */
	bool is_ready;	    /* is in table->ready */
	bool is_waiting;    /* is in table->waiting */
	bool readable;	    /* the socket may have bytes, or an end, for us */
	bool bulk;	    /* it had more than fitted, the last time */
	bool asked;	    /* for credit, and not heard of it since */
	bool buffer_used;   /* its pages are ours */

	void *owner;
	struct loop_watch watch; /* fd: the socket; -1 when closed */
	uint64_t deadline;	 /* CLOCK_MONOTONIC, ns; while waiting */

	/* Guest to host; all three run freely and wrap. */
	uint32_t received;  /* bytes from the guest */
	uint32_t forwarded; /* of those, taken by the socket or thrown away: "fwd_cnt" */
	uint32_t told;	    /* what the guest knows of that */
	uint8_t *buffer;    /* a ring: what was received and not forwarded, at its counters */

	/* Host to guest. */
	uint32_t sent;
	uint32_t guest_alloc; /* "buf_alloc" and "fwd_cnt", as the guest says */
	uint32_t guest_forwarded;

	uint16_t hash_next; /* the index after the next in its bucket, plus 1 */
	uint16_t free_next; /* the next free place, plus 1 */
	TAILQ_ENTRY(vsock_conn) ready_link, waiting_link;
};

TAILQ_HEAD(vsock_conns, vsock_conn);

struct vsock_table {
	struct vsock_conn *conns; /* [VSOCK_CONNS_MAX] */
	uint8_t *buffers;	  /* [VSOCK_CONNS_MAX][VSOCK_BUFFER] */
	uint16_t buckets[VSOCK_CONNS_MAX];
	uint16_t free;	/* a place that was used before, plus 1; 0: none */
	uint16_t fresh; /* places from here on were never used */
	uint16_t count;
	uint32_t next_port;
	struct vsock_conns ready;   /* something is to be sent to the guest; in turn */
	struct vsock_conns waiting; /* for an answer, by deadline */
};

/* Control thread. -ENOMEM; then nothing is left to undo. */
must_check int vsock_table_init(struct vsock_table *table);
/* All connections were freed before. Harmless on zeroes. */
void vsock_table_fini(struct vsock_table *table);

/* A place for a connection over the socket `fd`, which it takes over; NULL: all are taken. */
struct vsock_conn *vsock_conn_new(struct vsock_table *table, int fd);
/* Closes the socket, which is not watched any more. */
void vsock_conn_free(struct vsock_table *table, struct vsock_conn *conn);

/* Gives it its ports: it can be found by them until it is unnamed or freed. */
void vsock_conn_name(struct vsock_table *table, struct vsock_conn *conn, uint32_t host_port,
		     uint32_t guest_port);
void vsock_conn_unname(struct vsock_table *table, struct vsock_conn *conn);
struct vsock_conn *vsock_conn_find(const struct vsock_table *table, uint32_t host_port,
				   uint32_t guest_port);

/* A port of the host's for a connection to this port of the guest's, not in use for one. */
uint32_t vsock_host_port(struct vsock_table *table, uint32_t guest_port);

/* Any connection in that state; NULL: none. Looks at all of them. */
struct vsock_conn *vsock_conn_in_state(const struct vsock_table *table, enum vsock_state state);

/* How many bytes the guest may be sent now. Whatever it claims, never more than it has said it has
 * room for. */
uint32_t vsock_conn_credit(const struct vsock_conn *conn);

/* How many more bytes the guest may send; and how many it thinks it may. */
uint32_t vsock_conn_room(const struct vsock_conn *conn);
uint32_t vsock_conn_told_room(const struct vsock_conn *conn);

/* Bytes that wait for the socket. */
static inline uint32_t vsock_conn_buffered(const struct vsock_conn *conn)
{
	return conn->received - conn->forwarded;
}

/*
 * Bytes of the guest: as many as the socket takes at once are written, the others kept. They are
 * at most vsock_conn_room(). -errno: the socket takes nothing any more; all is thrown away.
 */
must_check int vsock_conn_take(struct vsock_conn *conn, const struct iovec *iov, unsigned int count,
			       uint32_t len);

/* Writes what was kept, as far as the socket takes it. -errno as above. */
must_check int vsock_conn_flush(struct vsock_conn *conn);
