/* Network commands: what comes is sent back, and frames that pretend to be somebody else's. */
#include "init.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS 16

static char buffer[65536];

static int open_port(int type, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
				       .sin_port = htons((unsigned short)port) };
	int one = 1, s = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(s, (struct sockaddr *)&address, sizeof(address)) ||
	    (type == SOCK_STREAM && listen(s, 8)))
		return -1;
	return s;
}

static void echo_datagram(int s)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	ssize_t n = recvfrom(s, buffer, sizeof(buffer), 0, (struct sockaddr *)&peer, &len);

	if (n >= 0)
		sendto(s, buffer, (size_t)n, 0, (struct sockaddr *)&peer, len);
}

/* False at the end of the connection. Blocks while the peer does not read: it is a test's, which does. */
static _Bool echo_bytes(int s)
{
	ssize_t n = read(s, buffer, sizeof(buffer)), sent = 0, part;

	for (; sent < n; sent += part) {
		part = write(s, buffer + sent, (size_t)(n - sent));
		if (part <= 0)
			return 0;
	}
	return n > 0;
}

static void take_connection(int listener, struct pollfd *set)
{
	int one = 1, s = accept(listener, NULL, NULL);

	for (int i = 3; s >= 0 && i < 3 + CONNECTIONS; i++) {
		if (set[i].fd >= 0)
			continue;
		setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		set[i].fd = s;
		return;
	}
	close(s);
}

static void serve(struct pollfd *set)
{
	if (set[1].revents)
		take_connection(set[1].fd, set);
	if (set[2].revents)
		echo_datagram(set[2].fd);
	for (int i = 3; i < 3 + CONNECTIONS; i++) {
		if (!set[i].revents || set[i].fd < 0 || echo_bytes(set[i].fd))
			continue;
		close(set[i].fd);
		set[i].fd = -1;
	}
}

/* @net-echo PORT: TCP and UDP, until a line comes from the console. */
int run_net_echo(int argc, char **argv)
{
	int port = atoi(argv[1]);
	struct pollfd set[3 + CONNECTIONS];

	(void)argc;
	for (size_t i = 0; i < ARRAY_SIZE(set); i++)
		set[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
	set[0].fd = 0;
	set[1].fd = open_port(SOCK_STREAM, port);
	set[2].fd = open_port(SOCK_DGRAM, port);
	if (set[1].fd < 0 || set[2].fd < 0)
		return fail("cannot open port %d: %s", port, strerror(errno));
	puts("net-echo: ready");
	do {
		if (poll(set, ARRAY_SIZE(set), -1) < 0)
			return fail("poll: %s", strerror(errno));
		serve(set);
	} while (!set[0].revents);
	if (read(0, buffer, sizeof(buffer)) < 0)
		return fail("console: %s", strerror(errno));
	return 0;
}

/* @net-send IFACE MAC COUNT: broadcasts of an experimental protocol from that MAC. */
int run_net_send(int argc, char **argv)
{
	unsigned char frame[60] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(argv[1]) };
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	(void)argc;
	if (sscanf(argv[2], "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", &frame[6], &frame[7], &frame[8],
		   &frame[9], &frame[10], &frame[11]) != 6)
		return fail("%s: not a MAC", argv[2]);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (int left = atoi(argv[3]); left > 0; left--)
		if (sendto(s, frame, sizeof(frame), 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return fail("%s: cannot send: %s", argv[1], strerror(errno));
	close(s);
	return 0;
}

static _Bool read_all(int fd, void *to, size_t count)
{
	for (ssize_t part; count > 0; count -= (size_t)part, to = (char *)to + part) {
		part = read(fd, to, count);
		if (part <= 0)
			return 0;
	}
	return 1;
}

/* @net-frames IFACE FILE: what the file has, each as it is: a length of two bytes, the bytes; 0 ends it. */
int run_net_frames(int argc, char **argv)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET,
				  .sll_ifindex = (int)if_nametoindex(argv[1]) };
	int s = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0),
	    file = open(argv[2], O_RDONLY | O_CLOEXEC);
	unsigned char head[2];
	int count = 0;

	(void)argc;
	for (size_t len;
	     read_all(file, head, sizeof(head)) && (len = (size_t)(head[0] << 8 | head[1]));
	     count++) {
		if (!read_all(file, buffer, len))
			return fail("%s: cannot read: %s", argv[2], strerror(errno));
		if (sendto(s, buffer, len, 0, (struct sockaddr *)&to, sizeof(to)) < 0)
			return fail("%s: cannot send frame %d: %s", argv[1], count,
				    strerror(errno));
	}
	close(file);
	close(s);
	printf("net-frames: %d\n", count);
	return 0;
}
