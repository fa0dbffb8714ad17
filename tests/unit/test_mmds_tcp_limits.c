/* The metadata service's small TCP: strangers, floods, and everything that is bounded. */
#include "tests/unit/mmds_fixture.h"

TestSuite(mmds_tcp_limits, .init = setup, .fini = teardown);

static void expect_rst(uint32_t seq)
{
	cr_assert_eq(client.seen_count, 1);
	cr_assert(last()->flags & TCP_RST);
	cr_assert_eq(last()->seq, seq);
}

Test(mmds_tcp_limits, strangers_get_rst)
{
	client.port = 1000;
	client.seq = 77;
	client.ack = 5555;
	client_send_at(&client, TCP_ACK, 77, "x", 1);
	expect_rst(5555);
	client_forget(&client);
	client_send_at(&client, TCP_FIN, 77, "xyz", 3);
	expect_rst(0);
	cr_assert_eq(last()->ack, 77 + 3 + 1);
	client_forget(&client);
	client_send_at(&client, TCP_SYN | TCP_FIN, 77, NULL, 0);
	expect_rst(0);
	client_forget(&client);
	client_send_at(&client, TCP_RST, 77, NULL, 0);
	client_send_at(&client, 0, 77, NULL, 0);
	cr_assert_eq(client.seen_count, 1);
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp_limits, another_port_is_refused)
{
	uint8_t frame[128];
	size_t len;

	client.port = 1000;
	len = client_build(&client, frame, TCP_SYN, 41, NULL, 0);
	frame[37] = 81;
	client_fix_tcp(frame);
	cr_assert(client_frame(&client, frame, len, false));
	expect_rst(0);
	cr_assert_eq(last()->from, 81);
	cr_assert_eq(last()->ack, 42);
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp_limits, a_flood_of_syns_leaves_room_for_who_means_it)
{
	for (uint16_t port = 1; port <= 5000; port++) {
		client_forget(&client);
		client.port = port;
		client_send(&client, TCP_SYN, NULL, 0);
		cr_assert_leq(open_count(), MMDS_CONNS_MAX);
	}
	client_forget(&client);
	client.port = 6000;
	client_send(&client, TCP_SYN, NULL, 0);
	cr_assert_eq(last()->flags, TCP_SYN | TCP_ACK);
	client.ack = last()->seq + 1;
	client_forget(&client);
	client_send(&client, TCP_ACK, NULL, 0);
	cr_assert(ends_with(client_ask(&client, GET), BODY));
	client.now += MMDS_LINGER_MS;
	mmds_net_tick(client.net, client.now);
	cr_assert_eq(open_count(), 1);
}

Test(mmds_tcp_limits, a_full_table_refuses_until_somebody_has_been_idle)
{
	for (uint16_t port = 1; port <= MMDS_CONNS_MAX; port++)
		client_connect(&client, port);
	client.port = 100;
	client_send(&client, TCP_SYN, NULL, 0);
	cr_assert_eq(client.seen_count, 1);
	cr_assert(last()->flags & TCP_RST);
	client.now += MMDS_EVICT_MS;
	client_forget(&client);
	client_send(&client, TCP_SYN, NULL, 0);
	cr_assert_eq(client.seen_count, 2);
	cr_assert(client.seen[0].flags & TCP_RST);
	cr_assert_eq(last()->flags, TCP_SYN | TCP_ACK);
	cr_assert_eq(open_count(), MMDS_CONNS_MAX);
}

/* The peers take nothing, so that every answer stays. */
Test(mmds_tcp_limits, answers_together_are_bounded_and_requests_wait)
{
	static const char request[] = "GET /big HTTP/1.1\r\n\r\n";
	const unsigned int bound = MMDS_ANSWERS_MAX, more = 3;
	unsigned int answered = 0;

	put_big(51000);
	client.window = 0;
	for (uint16_t port = 1; port <= bound + more; port++) {
		client_connect(&client, port);
		client_send(&client, TCP_ACK, request, strlen(request));
		cr_assert_eq(last()->flags, TCP_ACK);
	}
	for (unsigned int i = 0; i < MMDS_CONNS_MAX; i++)
		answered += client.net->tcp.conns[i].tx.data != NULL;
	cr_assert_eq(answered, bound);
	cr_assert_leq(client.net->tcp.answer_bytes, bound * mmds_answer_max(client.mmds));
}

Test(mmds_tcp_limits, a_request_that_waited_is_answered)
{
	static const char request[] = "GET /big HTTP/1.1\r\n\r\n";
	uint32_t seq, ack;

	put_big(51000);
	client.window = 0;
	for (uint16_t port = 1; port < MMDS_ANSWERS_MAX; port++) {
		client_connect(&client, port);
		client_send(&client, TCP_ACK, request, strlen(request));
	}
	client_connect(&client, MMDS_ANSWERS_MAX);
	client_send(&client, TCP_ACK, request, strlen(request));
	seq = client.seq;
	ack = client.ack;
	client_connect(&client, 100);
	client.window = 0xffff;
	client_send(&client, TCP_ACK, request, strlen(request));
	cr_assert_eq(client.seen_count, 1);
	cr_assert_eq(last()->len, 0);
	client_forget(&client);
	client.port = MMDS_ANSWERS_MAX; /* the one before goes */
	client.seq = seq;
	client.ack = ack;
	client_send(&client, TCP_RST, NULL, 0);
	cr_assert_eq(client.seen_count, MMDS_FLIGHT_MAX);
	cr_assert_eq(last()->to, 100);
}

Test(mmds_tcp_limits, a_request_that_is_too_long_costs_the_connection)
{
	char byte = 'x';

	client_connect(&client, 1000);
	for (unsigned int i = 1; i < MMDS_REQUEST_MAX; i++) {
		client_send(&client, TCP_ACK, &byte, 1);
		cr_assert_eq(last()->window, MMDS_REQUEST_MAX - i);
		client_forget(&client);
	}
	client_send(&client, TCP_ACK, &byte, 1);
	cr_assert(last()->flags & TCP_RST);
	cr_assert_eq(open_count(), 0);
}

/* A window that is full is not written beyond, whatever the guest sends. */
Test(mmds_tcp_limits, data_over_the_window_is_not_taken)
{
	char text[3000];
	uint8_t frame[4096];
	size_t len;

	put_big(20000);
	client_connect(&client, 1000);
	client.window = 0; /* so that the answer stays, and requests are kept */
	client_send(&client, TCP_ACK, GET, strlen(GET));
	client_forget(&client);
	memset(text, 'y', sizeof(text));
	len = client_build(&client, frame, TCP_ACK, client.seq, text, 2400);
	cr_assert(client_frame(&client, frame, len, false));
	cr_assert_eq(last()->ack, client.seq + 2400);
	cr_assert_eq(last()->window, 100);
	client_send_at(&client, TCP_ACK, client.seq + 2400, text, 2000);
	cr_assert_eq(last()->ack, client.seq + 2500);
	cr_assert_eq(last()->window, 0);
	client_send_at(&client, TCP_ACK | TCP_FIN, client.seq + 2500, text, 2000);
	cr_assert_eq(last()->ack, client.seq + 2500);
}

Test(mmds_tcp_limits, the_service_closes_when_the_client_asks)
{
	client_connect(&client, 1000);
	client_ask(&client, "GET /a HTTP/1.1\r\nConnection: close\r\n\r\n" GET);
	cr_assert(ends_with(client.text, BODY));
	cr_assert_eq(strstr(client.text + 1, "HTTP/1.1"), NULL, "what follows is not answered");
	cr_assert_eq(open_count(), 1);
	client_send(&client, TCP_FIN | TCP_ACK, NULL, 0);
	cr_assert_eq(last()->ack, client.seq);
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp_limits, a_client_that_does_not_close_is_not_waited_for)
{
	client_connect(&client, 1000);
	client_ask(&client, "GET /a HTTP/1.0\r\n\r\n");
	client.now += MMDS_LINGER_MS;
	mmds_net_tick(client.net, client.now);
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp_limits, an_idle_connection_ends_in_good_order)
{
	client_connect(&client, 1000);
	client_ask(&client, GET);
	client.now += MMDS_IDLE_MS - 1;
	cr_assert_eq(mmds_net_tick(client.net, client.now), client.now + 1);
	cr_assert_eq(client.seen_count, 0);
	client.now++;
	mmds_net_tick(client.net, client.now);
	cr_assert_eq(last()->flags, TCP_FIN | TCP_ACK);
	client_drain(&client);
	client_send(&client, TCP_FIN | TCP_ACK, NULL, 0);
	cr_assert_eq(open_count(), 0);
}

Test(mmds_tcp_limits, half_a_request_is_not_kept_for_ever)
{
	client_connect(&client, 1000);
	client_send(&client, TCP_ACK, GET, 5);
	client.now += MMDS_IDLE_MS;
	mmds_net_tick(client.net, client.now);
	cr_assert(last()->flags & TCP_RST);
	cr_assert_eq(open_count(), 0);
	cr_assert_eq(mmds_net_tick(client.net, client.now), 0);
}

Test(mmds_tcp_limits, a_keepalive_probe_is_answered)
{
	client_connect(&client, 1000);
	client_send_at(&client, TCP_ACK, client.seq - 1, NULL, 0);
	cr_assert_eq(last()->ack, client.seq);
	cr_assert_eq(last()->flags, TCP_ACK);
}
