#include <string.h>
#include <sys/random.h>

#include "vmm/mmds/mmds_tcp_priv.h"

#define MSS_UNSAID 536u /* RFC 9293, 3.7.1 */

static struct mmds_conn *find(struct mmds_tcp *tcp, const struct mmds_peer *peer)
{
	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++) {
		struct mmds_conn *conn = &tcp->conns[i];

		if (conn->state != CONN_FREE && conn->peer.port == peer->port &&
		    !memcmp(conn->peer.ip, peer->ip, sizeof(peer->ip)))
			return conn;
	}
	return NULL;
}

/* Rather a half-open one than an open one, rather an old one than a new one. */
static bool worse(const struct mmds_conn *a, const struct mmds_conn *b)
{
	if (!b || (a->state == CONN_OPENING) != (b->state == CONN_OPENING))
		return !b || a->state == CONN_OPENING;
	return a->progress_at < b->progress_at;
}

/* A free place, or one that is made free; NULL: all are in use. */
static struct mmds_conn *place(struct mmds_tcp *tcp, uint64_t now_ms)
{
	struct mmds_conn *worst = NULL;

	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++) {
		if (tcp->conns[i].state == CONN_FREE)
			return &tcp->conns[i];
		if (worse(&tcp->conns[i], worst))
			worst = &tcp->conns[i];
	}
	if (!worst || (worst->state == CONN_OPEN && now_ms - worst->progress_at < MMDS_EVICT_MS))
		return NULL;
	mmds_tcp_abort(tcp, worst);
	return worst;
}

/*
 * The first sequence number is random. Nobody but the guest sees or sends these segments, so there is
 * no stranger to guess it; it only must differ from what a connection of the same port had before.
 */
static struct mmds_conn *accept_syn(struct mmds_tcp *tcp, const struct mmds_peer *peer,
				    const struct mmds_segment *segment, uint64_t now_ms)
{
	const uint16_t mss = segment->mss ? segment->mss : MSS_UNSAID;
	struct mmds_conn *conn = place(tcp, now_ms);
	uint32_t first = (uint32_t)now_ms;

	if (!conn)
		return NULL;
	if (getrandom(&first, sizeof(first), GRND_NONBLOCK) < 0)
		first *= 250000; /* RFC 793's clock */
	mmds_count(tcp->mmds, connections_created, 1);
	*conn = (struct mmds_conn){
		.state = CONN_OPENING,
		.mss = mss < MMDS_MSS_MIN ? MMDS_MSS_MIN : MIN(mss, (uint16_t)MMDS_MSS),
		.window = segment->window,
		.rcv_nxt = segment->seq + 1,
		.snd_una = first,
		.snd_nxt = first,
		.snd_max = first,
		.tx_seq = first + 1,
		.progress_at = now_ms,
		.peer = *peer,
	};
	return conn;
}

static void take_ack(struct mmds_conn *conn, const struct mmds_segment *segment, bool current,
		     uint64_t now_ms)
{
	if (seq_diff(segment->ack, conn->snd_max) > 0) { /* of what was never sent */
		conn->ack_due = true;
		return;
	}
	if (seq_diff(segment->ack, conn->snd_una) < 0)
		return;
	if (segment->ack != conn->snd_una) {
		conn->snd_una = segment->ack;
		if (seq_diff(conn->snd_nxt, conn->snd_una) < 0)
			conn->snd_nxt = conn->snd_una;
		conn->progress_at = now_ms;
		conn->retry_at = 0;
		conn->tries = 0;
	}
	if (current)
		conn->window = segment->window;
	conn->state = CONN_OPEN;
}

/* From `skip` on it is new. What is over our window is not taken, so not acknowledged either; what
 * comes after the last request is acknowledged and forgotten. */
static void take_data(struct mmds_tcp *tcp, struct mmds_conn *conn,
		      const struct mmds_segment *segment, size_t skip, uint64_t now_ms)
{
	const size_t len = conn->peer_closed ? 0 : segment->len - skip;
	const size_t taken = conn->closing ? len : MIN(len, MMDS_REQUEST_MAX - conn->rx_len);

	if (segment->len > 0)
		conn->ack_due = true;
	if (taken > 0)
		conn->progress_at = now_ms;
	if (taken > 0 && !conn->closing) {
		memcpy(rx_of(tcp, conn) + conn->rx_len, (const uint8_t *)segment->data + skip,
		       taken);
		conn->rx_len += (uint16_t)taken;
	}
	conn->rcv_nxt += (uint32_t)taken;
	if (segment->flags & TCP_FIN && taken == len && !conn->peer_closed) {
		conn->rcv_nxt++;
		conn->peer_closed = true;
		conn->ack_due = true;
	}
}

/* RFC 5961: a RST counts only where the next byte is expected, a SYN never; else they are answered,
 * and a peer that has really lost the connection then says so. */
static bool take_control(struct mmds_tcp *tcp, struct mmds_conn *conn,
			 const struct mmds_segment *segment)
{
	if (segment->flags & TCP_RST) {
		if (segment->seq == conn->rcv_nxt)
			mmds_tcp_release(tcp, conn);
		else
			conn->ack_due = true;
		return true;
	}
	if (segment->flags & TCP_SYN) {
		if (conn->state == CONN_OPENING && segment->seq + 1 == conn->rcv_nxt)
			conn->snd_nxt = conn->snd_una; /* our answer did not arrive */
		else
			conn->ack_due = true;
		return true;
	}
	return !(segment->flags & TCP_ACK);
}

static void receive(struct mmds_tcp *tcp, struct mmds_conn *conn,
		    const struct mmds_segment *segment, uint64_t now_ms)
{
	const int32_t ahead = seq_diff(segment->seq, conn->rcv_nxt);
	const size_t skip = ahead < 0 ? conn->rcv_nxt - segment->seq : 0;

	if (take_control(tcp, conn, segment)) {
		mmds_count(tcp->mmds, rx_accepted_unusual, 1);
		return;
	}
	if (conn->state == CONN_OPENING && segment->ack != conn->tx_seq)
		return mmds_tcp_refuse(tcp, &conn->peer, segment);
	if (ahead > 0) { /* a hole */
		mmds_count(tcp->mmds, rx_accepted_unusual, 1);
		conn->ack_due = true;
		return;
	}
	take_ack(conn, segment, skip == 0, now_ms);
	if (skip > 0)
		conn->ack_due = true;
	if (conn->state == CONN_OPEN && skip <= segment->len)
		take_data(tcp, conn, segment, skip, now_ms);
}

/* For one more answer, however long. */
static bool has_room(const struct mmds_tcp *tcp)
{
	return tcp->answer_bytes <= (MMDS_ANSWERS_MAX - 1) * mmds_answer_max(tcp->mmds);
}

/* The next request, if it is all there. False: the connection has to end now. */
static bool answer(struct mmds_tcp *tcp, struct mmds_conn *conn, uint64_t now_ms)
{
	char *rx = (char *)rx_of(tcp, conn);
	const size_t head = mmds_request_head(rx, conn->rx_len);

	if (!head) {
		conn->closing = conn->peer_closed;
		return conn->rx_len < MMDS_REQUEST_MAX;
	}
	conn->waits = !has_room(tcp);
	if (conn->waits)
		return true;
	if (mmds_http_answer(tcp->mmds, rx, head, now_ms, &conn->tx) < 0)
		return false;
	tcp->answer_bytes += conn->tx.len;
	conn->closing = conn->tx.close;
	conn->rx_len -= (uint16_t)head;
	memmove(rx, rx + head, conn->rx_len);
	if (conn->closing)
		conn->rx_len = 0;
	return true;
}

/* Once a segment has been taken in: what the connection does about it. False: it is gone. */
static bool serve(struct mmds_tcp *tcp, struct mmds_conn *conn, uint64_t now_ms)
{
	const bool ours_acked = conn->closing && conn->snd_una == tx_end(conn) + 1;

	if (conn->tx.data && seq_diff(conn->snd_una, tx_end(conn)) >= 0)
		mmds_tcp_drop_answer(tcp, conn);
	if (!conn->tx.data && !conn->closing && !answer(tcp, conn, now_ms)) {
		mmds_tcp_abort(tcp, conn);
		return false;
	}
	if (ours_acked && conn->peer_closed) {
		if (conn->ack_due)
			mmds_tcp_push(tcp, conn, now_ms);
		mmds_tcp_release(tcp, conn);
		return false;
	}
	return true;
}

void mmds_tcp_admit(struct mmds_tcp *tcp, uint64_t now_ms)
{
	for (unsigned int i = 0; i < MMDS_CONNS_MAX && has_room(tcp); i++) {
		struct mmds_conn *conn = &tcp->conns[i];

		if (conn->waits && serve(tcp, conn, now_ms))
			mmds_tcp_push(tcp, conn, now_ms);
	}
}

static void input(struct mmds_tcp *tcp, const struct mmds_peer *peer,
		  const struct mmds_segment *segment, uint64_t now_ms)
{
	const unsigned int kind = segment->flags & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN);
	struct mmds_conn *conn = NULL;

	if (segment->port == MMDS_PORT)
		conn = find(tcp, peer);
	if (conn)
		receive(tcp, conn, segment, now_ms);
	else if (segment->port == MMDS_PORT && kind == TCP_SYN)
		conn = accept_syn(tcp, peer, segment, now_ms);
	if (!conn)
		return mmds_tcp_refuse(tcp, peer, segment);
	if (conn->state == CONN_OPEN && !serve(tcp, conn, now_ms))
		return;
	if (conn->state != CONN_FREE)
		mmds_tcp_push(tcp, conn, now_ms);
}

void mmds_tcp_input(struct mmds_tcp *tcp, const struct mmds_peer *peer,
		    const struct mmds_segment *segment, uint64_t now_ms)
{
	mmds_count(tcp->mmds, rx_count, 1);
	input(tcp, peer, segment, now_ms);
	mmds_tcp_admit(tcp, now_ms);
}

void mmds_tcp_clear(struct mmds_tcp *tcp)
{
	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++)
		if (tcp->conns[i].state != CONN_FREE)
			mmds_tcp_release(tcp, &tcp->conns[i]);
}
