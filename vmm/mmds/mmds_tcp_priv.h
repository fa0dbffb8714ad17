/* Private to vmm/mmds/mmds_tcp*.c. */
#pragma once

#include "vmm/mmds/mmds_request.h"
#include "vmm/mmds/mmds_tcp.h"

/* How far b is after a, as sequence numbers go. */
static inline int32_t seq_diff(uint32_t b, uint32_t a)
{
	return (int32_t)(b - a);
}

/* Where our FIN is, once the answer that is there is the last one. */
static inline uint32_t tx_end(const struct mmds_conn *conn)
{
	return conn->tx_seq + (uint32_t)conn->tx.len;
}

static inline uint8_t *rx_of(struct mmds_tcp *tcp, const struct mmds_conn *conn)
{
	return tcp->rx[conn - tcp->conns];
}

/* Sends whatever may be sent now, an acknowledgement at least if one is due. */
void mmds_tcp_push(struct mmds_tcp *tcp, struct mmds_conn *conn, uint64_t now_ms);

/* The answer to a segment that belongs to no connection (RFC 9293, 3.10.7.1). */
void mmds_tcp_refuse(struct mmds_tcp *tcp, const struct mmds_peer *peer,
		     const struct mmds_segment *segment);

/* Forgets the connection, after a RST. */
void mmds_tcp_abort(struct mmds_tcp *tcp, struct mmds_conn *conn);
void mmds_tcp_release(struct mmds_tcp *tcp, struct mmds_conn *conn);

/* Lets requests go on that wait for room, as far as there is. */
void mmds_tcp_admit(struct mmds_tcp *tcp, uint64_t now_ms);

/* Frees the answer and makes way for the next one. */
void mmds_tcp_drop_answer(struct mmds_tcp *tcp, struct mmds_conn *conn);
