/*
 * The server's side of TCP (RFC 9293), as much of it as the metadata service needs and no more. The
 * peer is the guest's own stack, one ring of memory away: nothing on the way loses, reorders or
 * doubles. So, deliberately:
 *
 * - One port, passive opens only. Everything else gets RST: a guest that connects elsewhere should
 *   fail at once, not hang.
 * - MSS is the only option. Windows of more than 64 KiB, SACK and timestamps pay off over distances.
 * - No reassembly: a segment that leaves a hole is dropped and what is there acknowledged again; the
 *   peer sends it once more. Buffers for holes would be memory that a guest decides on.
 * - No congestion control: at most MMDS_FLIGHT_MAX segments are on their way, which leaves most of a
 *   receive ring to real traffic; loss is only a ring without buffers, and that we are told.
 * - What was sent is kept until acknowledged and sent again from there, in doubling intervals; a
 *   closed window is probed in the same way.
 * - No TIME_WAIT: a connection that both sides have closed is forgotten; a late segment gets RST.
 * - Memory is bounded: MMDS_CONNS_MAX connections with a request buffer each, and answers up to
 *   MMDS_ANSWERS_MAX whole documents together. Further requests wait until there is room. A SYN to a full table takes the place of a half-open connection, else of one that has been idle
 *   for MMDS_EVICT_MS, else it is refused.
 * - Time limits: MMDS_LINGER_MS for a connection that is opening or closing, MMDS_IDLE_MS without
 *   progress for an open one. They count while the machine is paused too, and no connection is in a
 *   snapshot: a guest sees what it would see of a server that was restarted.
 *
 * Belongs to one network device and runs on its loop's thread. Time is passed in, in milliseconds
 * of a clock that never goes back; numbers are in host byte order.
 */
#pragma once

#include "vmm/mmds/mmds_http.h"

#define MMDS_PORT 80u
#define MMDS_CONNS_MAX 30u
#define MMDS_MSS 1460u	    /* what we take, and the longest that we send */
#define MMDS_MSS_MIN 48u    /* a peer that says less gets this: it means no real network */
#define MMDS_FLIGHT_MAX 16u /* segments of one connection */
#define MMDS_ANSWERS_MAX 8u
#define MMDS_EVICT_MS 10000u
#define MMDS_LINGER_MS 5000u
#define MMDS_IDLE_MS 60000u
#define MMDS_RETRY_MS 300u  /* the first retransmission; doubled for every further one */
#define MMDS_RETRIES_MAX 8u /* then the connection is reset */

enum {
	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_PSH = 8,
	TCP_ACK = 16,
};

struct mmds_peer {
	uint8_t mac[6];
	uint8_t ip[4];
	uint16_t port;
};

struct mmds_segment {
	uint16_t port; /* ours */
	uint8_t flags; /* TCP_* */
	uint16_t window;
	uint16_t mss; /* 0: not said */
	uint32_t seq, ack;
	const void *data;
	size_t len;
};

struct mmds_conn {
	enum { CONN_FREE, CONN_OPENING, CONN_OPEN } state;
	bool peer_closed; /* its FIN has come */
	bool closing;	  /* ours is sent after the answer; no further request is read */
	bool ack_due;
	bool blocked; /* the guest had no buffer for a segment */
	bool waits;   /* its request is there, and no room for the answer */
	unsigned int tries;
	uint16_t mss;
	uint16_t window; /* the peer's */
	uint16_t rx_len; /* bytes of requests */
	uint32_t rcv_nxt;
	uint32_t snd_una, snd_nxt, snd_max; /* acknowledged, next, and never sent so far */
	uint32_t tx_seq;		    /* of the answer's first byte */
	struct mmds_response tx;	    /* data NULL: none */
	uint64_t progress_at;
	uint64_t retry_at; /* 0: nothing waits for an answer */
	struct mmds_peer peer;
};

struct mmds_tcp {
	struct mmds *mmds;
	/* Sends one segment. False: the guest has no buffer just now; nothing is kept of it. */
	bool (*send)(struct mmds_tcp *tcp, const struct mmds_peer *peer,
		     const struct mmds_segment *segment);
	size_t answer_bytes; /* of all connections */
	struct mmds_conn conns[MMDS_CONNS_MAX];
	/* Apart, so that what no connection has used stays untouched memory. */
	uint8_t rx[MMDS_CONNS_MAX][MMDS_REQUEST_MAX];
};

/* An answer is never longer than this. */
static inline size_t mmds_answer_max(const struct mmds *mmds)
{
	return mmds->store.limit + 2 * MMDS_REQUEST_MAX;
}

/* A segment from the guest, already known to be whole. May send. */
void mmds_tcp_input(struct mmds_tcp *tcp, const struct mmds_peer *peer,
		    const struct mmds_segment *segment, uint64_t now_ms);

/* The guest has buffers again. */
void mmds_tcp_unblocked(struct mmds_tcp *tcp, uint64_t now_ms);

/* What is due by now; returns when to call again, 0: not before something else happens. */
uint64_t mmds_tcp_tick(struct mmds_tcp *tcp, uint64_t now_ms);

/* Forgets every connection without a word. */
void mmds_tcp_clear(struct mmds_tcp *tcp);
