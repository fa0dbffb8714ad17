/*
 * The guest's end of vsock tests:
 *
 *   vsock serve PORT     says "ready", then does for every connection what its first line says
 *   vsock connect PORT   connects to a port of the host, and does what the first line says
 *   vsock cid -          says "cid N": who the guest is
 *
 *   echo             sends back what comes, until its end; then that end
 *   sink SEED        takes what comes, until its end; answers "N bytes" or "differs at N", with N
 *                    counted in bytes of the pattern of tests/guest/init/pattern.h, and ends
 *   source N SEED    sends N bytes of the pattern (a multiple of 8) and ends
 *   drain N          takes N bytes, unseen; answers "N bytes" and ends
 *   flood N          sends N bytes, any, and ends
 *   hold             reads nothing, until the machine ends
 *   half             sends "bye", says it will send no more, then answers on standard output with
 *                    "half: N bytes", how many came until the other's end
 *   close            ends at once
 *
 * Each connection has a process of its own, so none waits for another.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../init/pattern.h"

#define CHUNK 65536

static uint64_t chunk[CHUNK / 8], wanted[CHUNK / 8];

static int fail(const char *what)
{
	printf("vsock: %s: %s\n", what, strerror(errno));
	return 1;
}

static int write_all(int fd, const void *data, size_t len)
{
	for (const char *at = data; len > 0;) {
		ssize_t n = write(fd, at, len);

		if (n < 0)
			return -1;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int do_echo(int fd)
{
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		if (write_all(fd, chunk, (size_t)n))
			return fail("echo: write");
	if (n < 0)
		return fail("echo: read");
	shutdown(fd, SHUT_WR);
	return 0;
}

/* Whole chunks, so that the pattern can be compared by words. */
static size_t read_chunk(int fd)
{
	size_t have = 0;
	ssize_t n = 1;

	while (have < sizeof(chunk) &&
	       (n = read(fd, (char *)chunk + have, sizeof(chunk) - have)) > 0)
		have += (size_t)n;
	return n < 0 ? 0 : have;
}

static int do_sink(int fd, uint64_t seed)
{
	uint64_t total = 0;
	char answer[64];
	size_t n;

	while ((n = read_chunk(fd)) > 0) {
		pattern_fill(wanted, CHUNK / 8, seed, total);
		if (memcmp(chunk, wanted, n)) {
			snprintf(answer, sizeof(answer), "differs at %lu\n", (unsigned long)total);
			return write_all(fd, answer, strlen(answer));
		}
		total += n;
	}
	snprintf(answer, sizeof(answer), "%lu bytes\n", (unsigned long)total);
	return write_all(fd, answer, strlen(answer)) ? fail("sink: write") : 0;
}

static int do_source(int fd, uint64_t count, uint64_t seed)
{
	for (uint64_t at = 0; at < count; at += CHUNK) {
		size_t n = count - at < CHUNK ? (size_t)(count - at) : CHUNK;

		pattern_fill(chunk, (n + 7) / 8, seed, at);
		if (write_all(fd, chunk, n))
			return fail("source: write");
	}
	return 0;
}

static int do_drain(int fd, uint64_t count)
{
	uint64_t total = 0;
	char answer[64];
	ssize_t n;

	while (total < count && (n = read(fd, chunk, sizeof(chunk))) > 0)
		total += (uint64_t)n;
	snprintf(answer, sizeof(answer), "%lu bytes\n", (unsigned long)total);
	return write_all(fd, answer, strlen(answer)) ? fail("drain: write") : 0;
}

static int do_flood(int fd, uint64_t count)
{
	for (uint64_t at = 0; at < count; at += CHUNK)
		if (write_all(fd, chunk, count - at < CHUNK ? (size_t)(count - at) : CHUNK))
			return fail("flood: write");
	return 0;
}

static int do_half(int fd)
{
	uint64_t total = 0;
	ssize_t n;

	if (write_all(fd, "bye", 3) || shutdown(fd, SHUT_WR))
		return fail("half");
	while ((n = read(fd, chunk, sizeof(chunk))) > 0)
		total += (uint64_t)n;
	printf("half: %lu bytes\n", (unsigned long)total);
	return n < 0 ? fail("half: read") : 0;
}

static int serve_one(int fd)
{
	char line[128];
	size_t len = 0;
	unsigned long a = 0, b = 0;

	while (len < sizeof(line) - 1 && read(fd, line + len, 1) == 1 && line[len] != '\n')
		len++;
	line[len] = '\0';
	if (!strcmp(line, "echo"))
		return do_echo(fd);
	if (sscanf(line, "sink %lu", &a) == 1)
		return do_sink(fd, a);
	if (sscanf(line, "source %lu %lu", &a, &b) == 2)
		return do_source(fd, a, b);
	if (sscanf(line, "drain %lu", &a) == 1)
		return do_drain(fd, a);
	if (sscanf(line, "flood %lu", &a) == 1)
		return do_flood(fd, a);
	if (!strcmp(line, "half"))
		return do_half(fd);
	if (!strcmp(line, "hold"))
		for (;;)
			pause();
	if (strcmp(line, "close"))
		printf("vsock: '%s'?\n", line);
	return 0;
}

static int serve(int s, struct sockaddr_vm *addr)
{
	addr->svm_cid = VMADDR_CID_ANY;
	if (bind(s, (struct sockaddr *)addr, sizeof(*addr)) || listen(s, 1024))
		return fail("listen");
	signal(SIGCHLD, SIG_IGN);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int fd = accept(s, NULL, NULL);

		if (fd < 0)
			return fail("accept");
		if (fork() == 0) {
			int status = serve_one(fd);

			fflush(stdout);
			_exit(status);
		}
		close(fd);
	}
}

static int connect_once(int s, struct sockaddr_vm *addr)
{
	addr->svm_cid = VMADDR_CID_HOST;
	if (connect(s, (struct sockaddr *)addr, sizeof(*addr)))
		return fail("connect");
	return serve_one(s);
}

static int say_cid(void)
{
	int fd = open("/dev/vsock", O_RDONLY);
	unsigned int cid;

	if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) < 0)
		return fail("/dev/vsock");
	printf("cid %u\n", cid);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm addr = { .svm_family = AF_VSOCK };
	int s = socket(AF_VSOCK, SOCK_STREAM, 0);

	if (argc != 3)
		return fail("serve|connect PORT");
	if (s < 0)
		return fail("socket");
	if (!strcmp(argv[1], "cid"))
		return say_cid();
	signal(SIGPIPE, SIG_IGN);
	addr.svm_port = (unsigned int)strtoul(argv[2], NULL, 0);
	return strcmp(argv[1], "serve") ? connect_once(s, &addr) : serve(s, &addr);
}
