/* A guest's TCP, as a test wants it: raw frames to the metadata service, written here byte by byte,
 * and every frame that comes back, its checksums checked. Nothing happens by itself. */
#pragma once

#include "vmm/mmds/mmds_net.h"

#define SEEN_MAX 256u

struct seen {
	uint16_t from, to;
	uint8_t flags;
	uint32_t seq, ack;
	uint16_t window, mss;
	size_t len;
	char data[MMDS_MSS];
};

struct client {
	struct mmds *mmds;
	struct mmds_net *net;
	uint64_t now; /* milliseconds */

	uint16_t port;
	uint32_t seq; /* the next that we send */
	uint32_t ack; /* the next that we expect */
	uint16_t window;

	bool full;		    /* takes no frame */
	struct seen seen[SEEN_MAX]; /* TCP segments that came, until client_forget() */
	unsigned int seen_count;
	uint8_t arp[42]; /* the last ARP frame that came */
	unsigned int arp_count;
	char *text; /* data in order, of the whole connection; a zero at its end */
	size_t text_len;
};

void client_start(struct client *client, const char *data);
void client_stop(struct client *client);
void client_forget(struct client *client);

/* A frame of the guest's. False: it is not the service's. */
bool client_frame(struct client *client, const void *frame, size_t len, bool checksum_pending);

/* A segment with the client's numbers; seq moves on. */
void client_send(struct client *client, uint8_t flags, const void *data, size_t len);

/* One with this sequence number, nothing moves on. */
void client_send_at(struct client *client, uint8_t flags, uint32_t seq, const void *data,
		    size_t len);

/* Builds it only; returns the frame's length. */
size_t client_build(const struct client *client, uint8_t *frame, uint8_t flags, uint32_t seq,
		    const void *data, size_t len);
/* Sets the checksums of an IPv4 frame right again. */
void client_fix_ip(uint8_t *frame);
void client_fix_tcp(uint8_t *frame);

/* SYN, SYN-ACK, ACK from this port; forgets what it saw. */
void client_connect(struct client *client, uint16_t port);

/* Takes what has come, in order, and acknowledges until nothing comes any more. */
void client_drain(struct client *client);

/* A request and the whole answer to it. */
const char *client_ask(struct client *client, const char *request);
