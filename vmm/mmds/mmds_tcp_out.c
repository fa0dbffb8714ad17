#include "vmm/mmds/mmds_tcp_priv.h"

void mmds_tcp_drop_answer(struct mmds_tcp *tcp, struct mmds_conn *conn)
{
	tcp->answer_bytes -= conn->tx.len;
	conn->tx_seq += (uint32_t)conn->tx.len;
	free(conn->tx.data);
	conn->tx = (struct mmds_response){ 0 };
}

void mmds_tcp_release(struct mmds_tcp *tcp, struct mmds_conn *conn)
{
	mmds_tcp_drop_answer(tcp, conn);
	mmds_count(tcp->mmds, connections_destroyed, 1);
	*conn = (struct mmds_conn){ .state = CONN_FREE };
}

/* The end of everything that was ever sent moves along; retransmissions stay behind it. */
static bool emit(struct mmds_tcp *tcp, struct mmds_conn *conn, struct mmds_segment segment)
{
	const uint32_t numbers = (uint32_t)segment.len + !!(segment.flags & (TCP_SYN | TCP_FIN));

	segment.port = MMDS_PORT;
	segment.seq = conn->snd_nxt;
	segment.ack = conn->rcv_nxt;
	segment.flags |= TCP_ACK;
	segment.window = (uint16_t)(MMDS_REQUEST_MAX - conn->rx_len);
	conn->blocked = !tcp->send(tcp, &conn->peer, &segment);
	if (conn->blocked)
		return false;
	conn->ack_due = false;
	conn->snd_nxt += numbers;
	if (seq_diff(conn->snd_nxt, conn->snd_max) > 0)
		conn->snd_max = conn->snd_nxt;
	return true;
}

/* What may be sent of the answer now, 0: nothing. A piece smaller than a segment only if it is the
 * last one, or nothing else would bring the acknowledgement that opens the window. */
static size_t next_len(const struct mmds_conn *conn)
{
	const uint32_t flying = conn->snd_nxt - conn->snd_una;
	const uint32_t window = MIN((uint32_t)conn->window, MMDS_FLIGHT_MAX * conn->mss);
	const uint32_t room = flying < window ? window - flying : 0;
	const uint32_t left = tx_end(conn) - conn->snd_nxt, want = MIN(left, (uint32_t)conn->mss);

	if (!conn->tx.data || seq_diff(tx_end(conn), conn->snd_nxt) <= 0)
		return 0;
	return room >= want || !flying ? MIN(want, room) : 0;
}

static bool push_data(struct mmds_tcp *tcp, struct mmds_conn *conn, size_t len)
{
	const size_t offset = conn->snd_nxt - conn->tx_seq;
	const bool last = offset + len == conn->tx.len;

	return emit(tcp, conn,
		    (struct mmds_segment){ .flags = last ? TCP_PSH : 0,
					   .data = conn->tx.data + offset,
					   .len = len });
}

static void push_open(struct mmds_tcp *tcp, struct mmds_conn *conn)
{
	size_t len;

	while ((len = next_len(conn)) > 0)
		if (!push_data(tcp, conn, len))
			return;
	if (conn->closing && conn->snd_nxt == tx_end(conn))
		emit(tcp, conn, (struct mmds_segment){ .flags = TCP_FIN });
}

/* Is there anything that the peer must acknowledge or make room for? */
static bool waits(const struct mmds_conn *conn)
{
	return conn->state == CONN_OPENING || conn->snd_una != tx_end(conn) + conn->closing;
}

void mmds_tcp_push(struct mmds_tcp *tcp, struct mmds_conn *conn, uint64_t now_ms)
{
	if (conn->state == CONN_OPEN)
		push_open(tcp, conn);
	else if (conn->snd_nxt == conn->snd_una)
		emit(tcp, conn, (struct mmds_segment){ .flags = TCP_SYN, .mss = MMDS_MSS });
	if (conn->ack_due && conn->state == CONN_OPEN)
		emit(tcp, conn, (struct mmds_segment){ 0 });

	if (!waits(conn))
		conn->retry_at = 0;
	else if (!conn->retry_at)
		conn->retry_at = now_ms + ((uint64_t)MMDS_RETRY_MS << MIN(conn->tries, 5u));
}

void mmds_tcp_refuse(struct mmds_tcp *tcp, const struct mmds_peer *peer,
		     const struct mmds_segment *segment)
{
	struct mmds_segment reply = { .port = segment->port, .flags = TCP_RST };

	mmds_count(tcp->mmds, rx_accepted_unusual, 1);
	if (segment->flags & TCP_RST)
		return;
	if (segment->flags & TCP_ACK) {
		reply.seq = segment->ack;
	} else {
		reply.flags |= TCP_ACK;
		reply.ack = segment->seq + (uint32_t)segment->len + !!(segment->flags & TCP_SYN) +
			    !!(segment->flags & TCP_FIN);
	}
	tcp->send(tcp, peer, &reply);
}

void mmds_tcp_abort(struct mmds_tcp *tcp, struct mmds_conn *conn)
{
	const struct mmds_segment reply = { .port = MMDS_PORT,
					    .flags = TCP_RST | TCP_ACK,
					    .seq = conn->snd_nxt,
					    .ack = conn->rcv_nxt };

	tcp->send(tcp, &conn->peer, &reply);
	mmds_tcp_release(tcp, conn);
}

void mmds_tcp_unblocked(struct mmds_tcp *tcp, uint64_t now_ms)
{
	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++)
		if (tcp->conns[i].state != CONN_FREE && tcp->conns[i].blocked)
			mmds_tcp_push(tcp, &tcp->conns[i], now_ms);
}

/* A byte beyond a closed window: its acknowledgement says whether it has opened. It is sent again
 * with the rest, unless it was acknowledged itself. */
static void probe(struct mmds_tcp *tcp, struct mmds_conn *conn)
{
	if (conn->state != CONN_OPEN || conn->window || seq_diff(tx_end(conn), conn->snd_nxt) <= 0)
		return;
	push_data(tcp, conn, 1);
	conn->snd_nxt = conn->snd_una;
}

/* Everything from the first byte that is not acknowledged, once more. What the guest had no buffer
 * for does not count as a try: the limit for idle connections ends that. */
static void retry(struct mmds_tcp *tcp, struct mmds_conn *conn, uint64_t now_ms)
{
	if (!conn->blocked && conn->tries++ == MMDS_RETRIES_MAX)
		return mmds_tcp_abort(tcp, conn);
	conn->snd_nxt = conn->snd_una;
	conn->retry_at = 0;
	probe(tcp, conn);
	mmds_tcp_push(tcp, conn, now_ms);
}

static uint64_t expires_at(const struct mmds_conn *conn)
{
	const bool brief = conn->state == CONN_OPENING || (conn->closing && !conn->tx.data);

	return conn->progress_at + (brief ? MMDS_LINGER_MS : MMDS_IDLE_MS);
}

/* A client that keeps its connection for later is told in good order; one in the middle of something
 * is not. */
static void expire(struct mmds_tcp *tcp, struct mmds_conn *conn, uint64_t now_ms)
{
	if (conn->state != CONN_OPEN || conn->closing || conn->tx.data || conn->rx_len)
		return mmds_tcp_abort(tcp, conn);
	conn->closing = true;
	conn->progress_at = now_ms;
	mmds_tcp_push(tcp, conn, now_ms);
}

uint64_t mmds_tcp_tick(struct mmds_tcp *tcp, uint64_t now_ms)
{
	uint64_t next = 0;

	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++) {
		struct mmds_conn *conn = &tcp->conns[i];

		if (conn->state != CONN_FREE && now_ms >= expires_at(conn))
			expire(tcp, conn, now_ms);
		else if (conn->state != CONN_FREE && conn->retry_at && now_ms >= conn->retry_at)
			retry(tcp, conn, now_ms);
	}
	mmds_tcp_admit(tcp, now_ms);
	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++) {
		const struct mmds_conn *conn = &tcp->conns[i];
		uint64_t at = expires_at(conn);

		if (conn->state == CONN_FREE)
			continue;
		if (conn->retry_at && conn->retry_at < at)
			at = conn->retry_at;
		if (!next || at < next)
			next = at;
	}
	return next;
}
