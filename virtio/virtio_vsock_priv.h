/* Private to virtio/virtio_vsock*.c. All of it runs on the device's loop. */
#pragma once

#include "base/loop_timer.h"
#include "virtio/virtio_vsock.h"
#include "virtio/vsock_conn.h"
#include "virtio/vsock_unix.h"

#define VSOCK_QUEUE_SIZE 256u
#define VSOCK_HOST_CID 2u

/* How long the guest has to answer a request, and to confirm an end; and the host's program to take a connection. */
#define VSOCK_PATIENCE_NS 5000000000ull

/* How long a guest that was told of a reset may take to hand the event's buffer back. */
#define VSOCK_HOLD_NS 1000000000ull

/* Refusals that wait for a buffer of the guest's; while it is full no packet is taken. */
#define VSOCK_REFUSALS 256u

/* The receive buffers that one read may fill. */
#define VSOCK_BATCH 16u

enum { VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES };

/* Of Firecracker's metrics; tx is from the guest. */
enum vsock_counter {
	VSOCK_RX_EVENTS,
	VSOCK_TX_EVENTS,
	VSOCK_RX_BYTES,
	VSOCK_TX_BYTES,
	VSOCK_RX_PACKETS,
	VSOCK_TX_PACKETS,
	VSOCK_ADDED,
	VSOCK_REMOVED,
	VSOCK_KILLED, /* for silence */
	VSOCK_FLUSH_FAILS,
	VSOCK_WRITE_FAILS,
	VSOCK_READ_FAILS,
	VSOCK_CONN_EVENT_FAILS,
	VSOCK_MUXER_EVENT_FAILS,
	VSOCK_RX_EVENT_FAILS, /* these: the queue was broken; in the order of the queues */
	VSOCK_TX_EVENT_FAILS,
	VSOCK_EV_EVENT_FAILS,
	VSOCK_COUNTERS,
};

/* TRANSPORT_RESET, 5.10.6.7. */
enum vsock_reset { VSOCK_NO_RESET, VSOCK_RESET_TO_TELL, VSOCK_RESET_TOLD };

/* A refusal without a connection: the addresses of the packet that it answers. */
struct vsock_refusal {
	uint64_t cid; /* that the packet went to */
	uint32_t host_port, guest_port;
};

struct virtio_vsock {
	struct virtio_device dev;
	struct virtio_vsock_config config;
	struct log_limit warnings;

	struct vsock_unix host;
	struct loop_watch listening;
	struct vsock_table table;
	struct loop_timer timer; /* the first deadline of table.waiting */
	uint64_t patience_ns;	 /* VSOCK_PATIENCE_NS; tests have less */
	struct loop_timer
		redial;		/* made when it is wanted: connections in VSOCK_DIALING try again */
	uint64_t redial_ns;	/* after so long */
	struct loop_defer pump; /* something may be there for the guest */

	enum vsock_reset reset;
	bool is_held;		/* nothing goes to the guest */
	uint16_t reset_index;	/* the driver's in the event queue, when it was told */
	struct loop_timer hold; /* made when it is wanted */
	uint64_t hold_ns;	/* VSOCK_HOLD_NS; tests have another */

	struct vsock_refusal refusals[VSOCK_REFUSALS]; /* a ring; both indices run freely */
	unsigned int first_refusal, next_refusal;

	/* Scratch: nothing in them outlives a call. A chain has up to VSOCK_QUEUE_SIZE buffers. */
	struct iovec iov[2 * VSOCK_QUEUE_SIZE];
	struct iovec data[2 * VSOCK_QUEUE_SIZE];
};

static inline struct virtio_vsock *vsock_of(struct virtio_device *dev)
{
	return container_of(dev, struct virtio_vsock, dev);
}

/* virtio/virtio_vsock_conns.c: what happens to a connection ---------------------------------------*/

/* What the timer is for. */
void vsock_on_silence(struct loop_timer *timer);

/* Watches the listening socket and those of all connections again. -errno: none is watched. */
must_check int vsock_watch_all(struct virtio_vsock *vsock);
void vsock_unwatch_all(struct virtio_vsock *vsock);

/* Closes and forgets all connections, and the refusals; tells nobody. */
void vsock_drop_all(struct virtio_vsock *vsock);

/* The guest wants to connect to a port of the host. The answer is on its way. */
void vsock_open(struct virtio_vsock *vsock, uint32_t host_port, uint32_t guest_port);
/* The guest has accepted. */
void vsock_opened(struct virtio_vsock *vsock, struct vsock_conn *conn);
/* The guest will send no more, or take no more (VIRTIO_VSOCK_SHUTDOWN_*). */
void vsock_guest_shut(struct virtio_vsock *vsock, struct vsock_conn *conn, uint32_t flags);
/* The guest has forgotten it. */
void vsock_guest_reset(struct virtio_vsock *vsock, struct vsock_conn *conn);
/* The socket takes nothing any more; what was kept for it is lost. */
void vsock_host_refuses(struct virtio_vsock *vsock, struct vsock_conn *conn);
/* The socket has no more bytes. */
void vsock_host_ended(struct virtio_vsock *vsock, struct vsock_conn *conn);

/* Closes the socket, at once; `pending` is what the guest is to be told of it. */
void vsock_end(struct virtio_vsock *vsock, struct vsock_conn *conn, uint8_t pending);
/* Frees it: the guest needs to know nothing. */
void vsock_remove(struct virtio_vsock *vsock, struct vsock_conn *conn);

/* After bytes went to the socket or were kept for it: credit for the guest, a delayed end. */
void vsock_settle(struct virtio_vsock *vsock, struct vsock_conn *conn);

/* virtio/virtio_vsock_reset.c: the guest is told that all connections are gone -----------------------*/

/* With the next buffer of the guest. */
void vsock_reset_to_tell(struct virtio_vsock *vsock);
int vsock_serve_event(struct virtio_queue *queue);
/* Is nothing to go to the guest yet? Then the rx queue is served again when it may. */
bool vsock_holds_back(struct virtio_vsock *vsock);

/* virtio/virtio_vsock_rx.c: to the guest ----------------------------------------------------------*/

/* Something, `pending` or bytes, is there for the guest: it is this connection's turn in time. */
void vsock_ready(struct virtio_vsock *vsock, struct vsock_conn *conn);
/* A RST without a connection. */
void vsock_refuse(struct virtio_vsock *vsock, const struct vsock_refusal *refusal);
static inline bool vsock_refusals_full(const struct virtio_vsock *vsock)
{
	return vsock->next_refusal - vsock->first_refusal == VSOCK_REFUSALS;
}
int vsock_serve_rx(struct virtio_queue *queue);

/* virtio/virtio_vsock_tx.c: from the guest ---------------------------------------------------------*/

int vsock_serve_tx(struct virtio_queue *queue);
