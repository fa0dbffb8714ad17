/* Which frames are the metadata service's, and what it does with those that are not as they should
 * be. */
#include <criterion/criterion.h>

#include "tests/unit/mmds_client.h"

static struct client client;
static uint8_t frame[4096];
static size_t len;

/* A good SYN, to be spoilt. */
static void setup(void)
{
	client_start(&client, "{\"a\":\"value\"}");
	client.port = 1000;
	len = client_build(&client, frame, TCP_SYN, 1, NULL, 0);
}

static void teardown(void)
{
	client_stop(&client);
}

TestSuite(mmds_net, .init = setup, .fini = teardown);

static const uint8_t arp_request[42] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,	 0,   0,   0,	0, 1, 8, 6, /* Ethernet */
	0,    1,    8,	  0,	6,    4,    0,	 1,			    /* a request */
	2,    0,    0,	  0,	0,    1,    10,	 0,   0,   2,		    /* of the guest's */
	0,    0,    0,	  0,	0,    0,    169, 254, 169, 254,
};

static void expect_taken_and_silent(bool checksum_pending)
{
	cr_assert(client_frame(&client, frame, len, checksum_pending));
	cr_assert_eq(client.seen_count, 0);
	cr_assert_eq(client.arp_count, 0);
}

Test(mmds_net, arp_is_answered)
{
	static const uint8_t want[42] = {
		2, 0, 0, 0,    0,    1,	   6, 1,   0x23, 0x45, 0x67, 1, 8, 6, 0, 1, 8, 0,  6, 4, 0,
		2, 6, 1, 0x23, 0x45, 0x67, 1, 169, 254,	 169,  254,  2, 0, 0, 0, 0, 1, 10, 0, 0, 2,
	};

	cr_assert(client_frame(&client, arp_request, 42, false));
	cr_assert_eq(client.arp_count, 1);
	cr_assert(!memcmp(client.arp, want, sizeof(want)));
}

Test(mmds_net, other_arp_about_the_address_is_taken_and_not_answered)
{
	memcpy(frame, arp_request, 42);
	len = 42;
	frame[21] = 2; /* a reply */
	expect_taken_and_silent(false);
	frame[21] = 1;
	frame[18] = 8; /* of longer addresses */
	expect_taken_and_silent(false);
}

Test(mmds_net, frames_for_others_are_left_alone)
{
	frame[33]++;
	cr_assert_not(client_frame(&client, frame, len, false));
	frame[33]--;
	frame[12] = 0x86; /* IPv6 */
	frame[13] = 0xdd;
	cr_assert_not(client_frame(&client, frame, len, false));
	memcpy(frame, arp_request, 42);
	frame[41]++;
	cr_assert_not(client_frame(&client, frame, 42, false));
	for (len = 0; len < 14; len++)
		cr_assert_not(client_frame(&client, frame, len, false));
	memcpy(frame, arp_request, 42);
	cr_assert_not(client_frame(&client, frame, 41, false));
}

Test(mmds_net, another_address_may_be_configured)
{
	client.mmds->config.ipv4[3] = 250;
	cr_assert_not(client_frame(&client, frame, len, false));
	frame[33] = 250;
	client_fix_ip(frame);
	cr_assert(mmds_net_wants(client.net, frame, len));
}

Test(mmds_net, wrong_checksums)
{
	frame[24] ^= 1;
	expect_taken_and_silent(false);
	frame[24] ^= 1;
	frame[50] ^= 1;
	expect_taken_and_silent(false);
	cr_assert_eq(client.mmds->counters.rx_accepted_err, 2);
	cr_assert(client_frame(&client, frame, len, true)); /* it is not there yet */
	cr_assert_eq(client.seen_count, 1);
}

Test(mmds_net, what_is_not_tcp)
{
	frame[23] = 17;
	client_fix_ip(frame);
	expect_taken_and_silent(true);
	frame[23] = 1;
	client_fix_ip(frame);
	expect_taken_and_silent(true);
	cr_assert_eq(client.mmds->counters.rx_accepted_unusual, 2);
}

Test(mmds_net, fragments_and_options)
{
	frame[20] = 0x20; /* more fragments */
	client_fix_ip(frame);
	expect_taken_and_silent(true);
	frame[20] = 0;
	frame[21] = 1; /* not the first one */
	client_fix_ip(frame);
	expect_taken_and_silent(true);
	frame[21] = 0;
	frame[14] = 0x46;
	client_fix_ip(frame);
	expect_taken_and_silent(true);
	frame[14] = 0x65;
	client_fix_ip(frame);
	expect_taken_and_silent(true);
	cr_assert_eq(client.mmds->counters.rx_accepted_err, 4);
}

Test(mmds_net, lengths_that_lie)
{
	static const uint16_t totals[] = { 0, 1, 19, 20, 39, 47, 1500, 0xffff };

	for (size_t i = 0; i < ARRAY_SIZE(totals); i++) {
		frame[16] = (uint8_t)(totals[i] >> 8);
		frame[17] = (uint8_t)totals[i];
		client_fix_ip(frame);
		expect_taken_and_silent(true);
	}
	for (unsigned int words = 0; words < 16; words++) {
		len = client_build(&client, frame, TCP_SYN, 1, NULL, 0);
		frame[46] = (uint8_t)(words << 4);
		client_fix_tcp(frame);
		client_forget(&client);
		cr_assert(client_frame(&client, frame, len, false));
		cr_assert_eq(client.seen_count, words >= 5 && words <= 7, "%u", words);
	}
}

Test(mmds_net, frames_cut_off_or_too_long)
{
	const size_t whole = len;

	for (len = 34; len < whole; len++)
		expect_taken_and_silent(false);
	len = MMDS_FRAME_MAX + 1;
	expect_taken_and_silent(false);
	cr_assert_eq(client.mmds->counters.rx_bad_eth, 1);
	len = MMDS_FRAME_MAX; /* padding is no mistake */
	cr_assert(client_frame(&client, frame, len, false));
	cr_assert_eq(client.seen_count, 1);
}

Test(mmds_net, counters)
{
	const struct mmds_counters *counters = &client.mmds->counters;

	client_connect(&client, 1000);
	client_ask(&client, "GET /a HTTP/1.1\r\n\r\n");
	cr_assert_eq(counters->rx_accepted, counters->rx_count);
	cr_assert_eq(counters->tx_frames, counters->tx_count);
	cr_assert_eq(counters->tx_frames, 2);
	cr_assert_eq(counters->tx_bytes, 14 + 20 + 24 + 14 + 20 + 20 + client.text_len);
	cr_assert_eq(counters->tx_errors, 0);
	cr_assert_eq(counters->connections_created, 1);
}
