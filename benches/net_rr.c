/*
 * net_rr ADDRESS PORT SECONDS: sends one byte, waits for it to come back, and again. Prints
 * `count=N p50_ns=N p99_ns=N` of the round trips by TCP; ADDRESS is an IPv4 one.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "base/util.h"

#define TRIPS_MAX 2000000u

static int open_connection(const char *address, const char *port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons((uint16_t)strtoul(port, NULL, 10)) };
	const struct timeval patience = { .tv_sec = 10 };
	const int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		return -1;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return connect(s, (struct sockaddr *)&to, sizeof(to)) < 0 ? -1 : s;
}

static int compare(const void *a, const void *b)
{
	const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static unsigned int measure(int s, uint32_t *trips, uint64_t end)
{
	unsigned int count = 0;
	char byte = 'x';

	while (count < TRIPS_MAX) {
		const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);

		if (start > end)
			break;
		if (send(s, &byte, 1, 0) != 1 || recv(s, &byte, 1, 0) != 1)
			return 0;
		trips[count++] = (uint32_t)(clock_now_ns(CLOCK_MONOTONIC) - start);
	}
	return count;
}

int main(int argc, char **argv)
{
	uint32_t *trips = malloc(TRIPS_MAX * sizeof(*trips));
	unsigned int count = 0;
	int s = argc == 4 ? open_connection(argv[1], argv[2]) : -1;

	if (s >= 0 && trips)
		count = measure(s, trips,
				clock_now_ns(CLOCK_MONOTONIC) +
					strtoul(argv[3], NULL, 10) * 1000000000u);
	if (count == 0) {
		fprintf(stderr, "usage: net_rr ADDRESS PORT SECONDS, where bytes come back\n");
		return 1;
	}
	qsort(trips, count, sizeof(*trips), compare);
	printf("count=%u p50_ns=%u p99_ns=%u\n", count, trips[count / 2],
	       trips[(uint64_t)count * 99 / 100]);
	free(trips);
	return 0;
}
