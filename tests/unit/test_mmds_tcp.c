/* The metadata service's own small TCP, against a client that does what a guest may do. */
#include "tests/unit/mmds_fixture.h"

TestSuite(mmds_tcp, .init = setup, .fini = teardown);

static void expect_big(const char *answer, size_t len)
{
	const char *body = strstr(answer, "\r\n\r\n") + 4;

	cr_assert_eq(strlen(body), len);
	for (size_t i = 0; i < len; i++)
		cr_assert_eq(body[i], (char)('a' + i * 7 % 26), "at %zu", i);
}

Test(mmds_tcp, several_requests_on_a_connection_and_an_end)
{
	client_connect(&client, 1000);
	for (int i = 0; i < 300; i++)
		cr_assert(ends_with(client_ask(&client, GET), BODY));
	client_send(&client, TCP_FIN | TCP_ACK, NULL, 0);
	cr_assert_eq(last()->flags, TCP_FIN | TCP_ACK);
	cr_assert_eq(last()->ack, client.seq);
	client_drain(&client);
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp, a_request_in_single_bytes)
{
	client_connect(&client, 1000);
	for (size_t i = 0; i < strlen(GET); i++) {
		cr_assert_eq(client.text_len, 0);
		client_send(&client, TCP_ACK, &GET[i], 1);
		cr_assert_eq(last()->ack, client.seq);
		client_drain(&client);
	}
	cr_assert(ends_with(client.text, BODY));
}

Test(mmds_tcp, request_with_the_handshakes_ack_and_fin_with_the_request)
{
	client_send(&client, TCP_SYN, NULL, 0);
	client.ack = last()->seq + 1;
	client_forget(&client);
	client_send(&client, TCP_ACK | TCP_PSH | TCP_FIN, GET, strlen(GET));
	client_drain(&client);
	cr_assert(ends_with(client.text, BODY));
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp, pipelined_requests_are_answered_one_after_the_other)
{
	client_connect(&client, 1000);
	client_ask(&client, GET "GET /b HTTP/1.1\r\n\r\n" GET);
	cr_assert(strstr(client.text, "value"
				      "HTTP/1.1 404 "));
	cr_assert(ends_with(client.text, BODY));
}

Test(mmds_tcp, retransmitted_and_overlapping_segments_count_once)
{
	client_connect(&client, 1000);
	client_send(&client, TCP_ACK, GET, 10);
	client_send_at(&client, TCP_ACK, client.seq - 10, GET, 10);
	cr_assert_eq(last()->ack, client.seq);
	client_send_at(&client, TCP_ACK, client.seq - 4, &GET[6], strlen(GET) - 6);
	client.seq += (uint32_t)strlen(GET) - 10;
	client_drain(&client);
	cr_assert(ends_with(client.text, BODY));
	cr_assert_eq(strstr(client.text + 1, "HTTP/1.1"), NULL);
}

Test(mmds_tcp, a_hole_is_not_kept)
{
	client_connect(&client, 1000);
	client_send_at(&client, TCP_ACK, client.seq + 10, &GET[10], strlen(GET) - 10);
	cr_assert_eq(client.seen_count, 1);
	cr_assert_eq(last()->ack, client.seq);
	client_send(&client, TCP_ACK, GET, 10);
	cr_assert_eq(last()->ack, client.seq);
	client_send(&client, TCP_ACK, &GET[10], strlen(GET) - 10);
	client_drain(&client);
	cr_assert(ends_with(client.text, BODY));
}

Test(mmds_tcp, a_long_answer_comes_in_segments_of_the_peers_size)
{
	put_big(50000);
	client_connect(&client, 1000);
	client_send(&client, TCP_ACK, "GET /big HTTP/1.1\r\n\r\n", 21);
	cr_assert_eq(client.seen_count, MMDS_FLIGHT_MAX);
	for (unsigned int i = 0; i < client.seen_count; i++)
		cr_assert_eq(client.seen[i].len, 1000);
	client_drain(&client);
	expect_big(client.text, 50000);
}

Test(mmds_tcp, the_peers_window_is_kept)
{
	put_big(20000);
	client_connect(&client, 1000);
	client.window = 2500;
	client_send(&client, TCP_ACK, "GET /big HTTP/1.1\r\n\r\n", 21);
	cr_assert_eq(client.seen_count, 2);
	client_drain(&client);
	expect_big(client.text, 20000);
}

Test(mmds_tcp, a_closed_window_is_probed_until_it_opens)
{
	client_connect(&client, 1000);
	client.window = 0;
	client_send(&client, TCP_ACK, GET, strlen(GET));
	cr_assert_eq(client.seen_count, 1);
	cr_assert_eq(last()->len, 0);
	client_forget(&client);
	for (int i = 0; i < 3; i++) {
		client.now = mmds_net_tick(client.net, client.now);
		mmds_net_tick(client.net, client.now);
		cr_assert_eq(last()->len, 1);
		cr_assert_eq(last()->seq, client.ack);
		client_forget(&client);
		client_send(&client, TCP_ACK, NULL, 0); /* the probe is not taken */
		cr_assert_eq(client.seen_count, 0);
	}
	client.window = 0xffff;
	client_send(&client, TCP_ACK, NULL, 0);
	client_drain(&client);
	cr_assert(ends_with(client.text, BODY));
}

Test(mmds_tcp, what_was_lost_is_sent_again)
{
	put_big(5000);
	client_connect(&client, 1000);
	client_send(&client, TCP_ACK, "GET /big HTTP/1.1\r\n\r\n", 21);
	client.seen[1].len = 0; /* the second one is lost */
	client.seen[1].flags = TCP_ACK;
	client_drain(&client);
	cr_assert_eq(client.text_len, 1000);
	cr_assert_gt(mmds_net_tick(client.net, client.now), client.now);
	cr_assert_eq(client.seen_count, 0);
	client.now += MMDS_RETRY_MS;
	mmds_net_tick(client.net, client.now);
	client_drain(&client);
	expect_big(client.text, 5000);
}

Test(mmds_tcp, a_peer_that_is_gone_is_given_up)
{
	unsigned int sent = 0;

	client_connect(&client, 1000);
	client_send(&client, TCP_ACK, GET, strlen(GET));
	for (int i = 0; i < 100 && open_count(); i++) {
		uint64_t next = mmds_net_tick(client.net, client.now);

		sent += client.seen_count;
		cr_assert(!next || next > client.now);
		client.now = next;
		if (open_count())
			client_forget(&client);
	}
	cr_assert_eq(open_count(), 0);
	cr_assert(last()->flags & TCP_RST);
	cr_assert_leq(sent, MMDS_RETRIES_MAX + 2);
}

Test(mmds_tcp, no_buffer_in_the_guest_means_later)
{
	put_big(5000);
	client_connect(&client, 1000);
	client.full = true;
	client_send(&client, TCP_ACK, "GET /big HTTP/1.1\r\n\r\n", 21);
	for (int i = 0; i < 20; i++) { /* and is no reason to give up */
		client.now = mmds_net_tick(client.net, client.now);
		cr_assert_neq(client.now, 0);
	}
	cr_assert_eq(open_count(), 1);
	client.full = false;
	mmds_net_unblocked(client.net, client.now);
	client_drain(&client);
	expect_big(client.text, 5000);
	cr_assert_gt(client.mmds->counters.tx_errors, 0);
}

Test(mmds_tcp, a_syn_ack_that_found_no_buffer_comes_later)
{
	client.full = true;
	client.port = 1000;
	client_send(&client, TCP_SYN, NULL, 0);
	/* Acknowledging what was never sent opens nothing. */
	client_send(&client, TCP_ACK, GET, strlen(GET));
	client.full = false;
	client_forget(&client);
	mmds_net_unblocked(client.net, client.now);
	cr_assert_eq(last()->flags, TCP_SYN | TCP_ACK);
}

Test(mmds_tcp, a_syn_again_is_answered_again)
{
	uint32_t seq;

	client.port = 1000;
	client_send(&client, TCP_SYN, NULL, 0);
	seq = last()->seq;
	client_send_at(&client, TCP_SYN, client.seq - 1, NULL, 0);
	cr_assert_eq(client.seen_count, 2);
	cr_assert_eq(last()->flags, TCP_SYN | TCP_ACK);
	cr_assert_eq(last()->seq, seq);
	cr_assert_eq(open_count(), 1);
}

Test(mmds_tcp, a_wrong_ack_in_the_handshake_is_refused)
{
	client.port = 1000;
	client_send(&client, TCP_SYN, NULL, 0);
	client.ack = last()->seq + 2;
	client_forget(&client);
	client_send(&client, TCP_ACK, NULL, 0);
	cr_assert(client.seen[0].flags & TCP_RST);
	cr_assert_eq(client.seen[0].seq, client.ack);
}

Test(mmds_tcp, rst_counts_where_the_next_byte_is_expected)
{
	client_connect(&client, 1000);
	client_send_at(&client, TCP_RST, client.seq + 1, NULL, 0);
	cr_assert_eq(open_count(), 1);
	cr_assert_eq(last()->flags, TCP_ACK);
	client_forget(&client);
	client_send_at(&client, TCP_RST, client.seq, NULL, 0);
	cr_assert_eq(open_count(), 0);
	cr_assert_eq(client.seen_count, 0);
}

Test(mmds_tcp, syn_in_an_open_connection_is_only_answered)
{
	client_connect(&client, 1000);
	client_send_at(&client, TCP_SYN, client.seq + 1000, NULL, 0);
	cr_assert_eq(last()->flags, TCP_ACK);
	cr_assert_eq(last()->ack, client.seq);
	client_forget(&client);
	cr_assert(ends_with(client_ask(&client, GET), BODY));
}

Test(mmds_tcp, an_ack_of_what_was_never_sent_changes_nothing)
{
	client_connect(&client, 1000);
	client.ack += 100000;
	client_send(&client, TCP_ACK, NULL, 0);
	client.ack -= 100000;
	cr_assert_eq(last()->flags, TCP_ACK);
	client_forget(&client);
	cr_assert(ends_with(client_ask(&client, GET), BODY));
}
