#include "tests/unit/mmds_client.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>

static const uint8_t guest_mac[6] = { 0x02, 0, 0, 0, 0, 1 }, guest_ip[4] = { 10, 0, 0, 2 };
static const uint8_t service_mac[6] = MMDS_MAC, service_ip[4] = MMDS_ADDRESS_DEFAULT;

static uint32_t sum16(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum > 0xffff)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static uint32_t rd(const uint8_t *at, unsigned int bytes)
{
	uint32_t value = 0;

	while (bytes--)
		value = value << 8 | *at++;
	return value;
}

static void wr(uint8_t *at, unsigned int bytes, uint32_t value)
{
	while (bytes--) {
		at[bytes] = (uint8_t)value;
		value >>= 8;
	}
}

static uint32_t tcp_sum(const uint8_t *frame)
{
	const size_t len = rd(frame + 16, 2) - 20;

	return sum16(frame + 34, len, sum16(frame + 26, 8, 6 + (uint32_t)len));
}

static void take_tcp(struct client *client, const uint8_t *frame, size_t len)
{
	const size_t header = (size_t)(frame[46] >> 4) * 4;
	struct seen *seen = &client->seen[client->seen_count];

	cr_assert_lt(client->seen_count++, SEEN_MAX);
	cr_assert_eq(rd(frame + 16, 2), len - 14);
	cr_assert_eq(frame[14], 0x45);
	cr_assert_eq(frame[22], 1, "TTL");
	cr_assert_eq(frame[23], 6);
	cr_assert_eq(sum16(frame + 14, 20, 0), 0xffff);
	cr_assert_eq(tcp_sum(frame), 0xffff);
	cr_assert(!memcmp(frame + 26, service_ip, 4) && !memcmp(frame + 30, guest_ip, 4));
	*seen = (struct seen){
		.from = (uint16_t)rd(frame + 34, 2),
		.to = (uint16_t)rd(frame + 36, 2),
		.seq = rd(frame + 38, 4),
		.ack = rd(frame + 42, 4),
		.flags = frame[47],
		.window = (uint16_t)rd(frame + 48, 2),
		.mss = header == 24 ? (uint16_t)rd(frame + 56, 2) : 0,
		.len = len - 34 - header,
	};
	cr_assert_leq(seen->len, sizeof(seen->data));
	memcpy(seen->data, frame + 34 + header, seen->len);
}

static bool take(void *opaque, const void *data, size_t len)
{
	struct client *client = opaque;
	const uint8_t *frame = data;

	if (client->full)
		return false;
	cr_assert(!memcmp(frame, guest_mac, 6) && !memcmp(frame + 6, service_mac, 6));
	if (rd(frame + 12, 2) == 0x0806) {
		cr_assert_eq(len, sizeof(client->arp));
		memcpy(client->arp, frame, len);
		client->arp_count++;
	} else {
		cr_assert_eq(rd(frame + 12, 2), 0x0800);
		take_tcp(client, frame, len);
	}
	return true;
}

void client_start(struct client *client, const char *data)
{
	struct error err = { 0 };
	json_t *value = json_loads(data, 0, NULL);

	*client = (struct client){ .now = 1000, .window = 0xffff, .text = calloc(1, 1) };
	cr_assert_eq(mmds_create(&client->mmds, MMDS_LIMIT_DEFAULT, &err), 0, "%s", err.text);
	cr_assert(value);
	cr_assert_eq(mmds_store_put(&client->mmds->store, value), 0);
	json_decref(value);
	cr_assert_eq(mmds_net_create(&client->net, client->mmds, take, client), 0);
}

void client_stop(struct client *client)
{
	mmds_net_free(client->net);
	cr_assert_eq(client->mmds->counters.connections_created,
		     client->mmds->counters.connections_destroyed);
	mmds_destroy(client->mmds);
	free(client->text);
}

void client_forget(struct client *client)
{
	client->seen_count = 0;
	client->arp_count = 0;
}

bool client_frame(struct client *client, const void *frame, size_t len, bool checksum_pending)
{
	if (!mmds_net_wants(client->net, frame, MIN(len, MMDS_PEEK)))
		return false;
	mmds_net_frame(client->net, frame, len, checksum_pending, client->now);
	return true;
}

void client_fix_ip(uint8_t *frame)
{
	wr(frame + 24, 2, 0);
	wr(frame + 24, 2, ~sum16(frame + 14, 20, 0));
}

void client_fix_tcp(uint8_t *frame)
{
	wr(frame + 50, 2, 0);
	wr(frame + 50, 2, ~tcp_sum(frame));
}

size_t client_build(const struct client *client, uint8_t *frame, uint8_t flags, uint32_t seq,
		    const void *data, size_t len)
{
	const unsigned int header = flags & TCP_SYN ? 28 : 20;
	static const uint8_t options[8] = { 1, 3, 3, 7, 2, 4, 1000 >> 8, 1000 & 255 };

	memset(frame, 0, 34 + header);
	memcpy(frame, service_mac, 6);
	memcpy(frame + 6, guest_mac, 6);
	wr(frame + 12, 2, 0x0800);
	frame[14] = 0x45;
	wr(frame + 16, 2, 20 + header + (uint32_t)len);
	frame[20] = 0x40;
	frame[22] = 64;
	frame[23] = 6;
	memcpy(frame + 26, guest_ip, 4);
	memcpy(frame + 30, service_ip, 4);
	wr(frame + 34, 2, client->port);
	wr(frame + 36, 2, 80);
	wr(frame + 38, 4, seq);
	wr(frame + 42, 4, flags & TCP_ACK ? client->ack : 0);
	frame[46] = (uint8_t)(header << 2);
	frame[47] = flags;
	wr(frame + 48, 2, client->window);
	if (header > 20)
		memcpy(frame + 54, options, sizeof(options));
	if (len)
		memcpy(frame + 34 + header, data, len);
	client_fix_ip(frame);
	client_fix_tcp(frame);
	return 34 + header + len;
}

void client_send_at(struct client *client, uint8_t flags, uint32_t seq, const void *data,
		    size_t len)
{
	uint8_t frame[4096];

	cr_assert(client_frame(client, frame, client_build(client, frame, flags, seq, data, len),
			       false));
}

void client_send(struct client *client, uint8_t flags, const void *data, size_t len)
{
	const uint32_t seq = client->seq;

	client->seq += (uint32_t)len + !!(flags & (TCP_SYN | TCP_FIN));
	client_send_at(client, flags, seq, data, len);
}

void client_connect(struct client *client, uint16_t port)
{
	const struct seen *seen = client->seen;

	client_forget(client);
	client->port = port;
	client->seq = 0xfffffffeu - port; /* so that some wrap around */
	client->text_len = 0;
	client_send(client, TCP_SYN, NULL, 0);
	cr_assert_eq(client->seen_count, 1);
	cr_assert_eq(seen->flags, TCP_SYN | TCP_ACK);
	cr_assert_eq(seen->ack, client->seq);
	cr_assert_eq(seen->mss, MMDS_MSS);
	cr_assert_eq(seen->from, 80);
	cr_assert_eq(seen->to, port);
	client->ack = seen->seq + 1;
	client_forget(client);
	client_send(client, TCP_ACK, NULL, 0);
	cr_assert_eq(client->seen_count, 0);
}

void client_drain(struct client *client)
{
	while (client->seen_count) {
		bool news = false;

		for (unsigned int i = 0; i < client->seen_count; i++) {
			const struct seen *seen = &client->seen[i];

			if (seen->seq != client->ack || (!seen->len && !(seen->flags & TCP_FIN)))
				continue;
			client->text = realloc(client->text, client->text_len + seen->len + 1);
			cr_assert(client->text);
			memcpy(client->text + client->text_len, seen->data, seen->len);
			client->text_len += seen->len;
			client->text[client->text_len] = '\0';
			client->ack += (uint32_t)seen->len + !!(seen->flags & TCP_FIN);
			news = true;
		}
		client_forget(client);
		if (news)
			client_send(client, TCP_ACK, NULL, 0);
	}
}

const char *client_ask(struct client *client, const char *request)
{
	client->text_len = 0;
	client->text[0] = '\0';
	client_send(client, TCP_ACK | TCP_PSH, request, strlen(request));
	client_drain(client);
	return client->text;
}
