/* Connections to the host. */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/vm_sockets.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent.h"
#include "cmd/agent_protocol.h"

#define PATIENCE_MS 5000 /* for the device's driver */

int open_channel(char name)
{
	const struct sockaddr_vm host = { .svm_family = AF_VSOCK,
					  .svm_cid = VMADDR_CID_HOST,
					  .svm_port = AGENT_PORT };
	int fd = -1;

	for (int ms = 0; ms < PATIENCE_MS; ms += 5) {
		fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, (const struct sockaddr *)&host, sizeof(host)) == 0)
			break;
		if (errno != ENODEV && errno != EAFNOSUPPORT)
			give_up("cannot connect to port %u of the host: %s", AGENT_PORT, strerror(errno));
		if (fd >= 0)
			close(fd);
		fd = -1;
		usleep(5000);
	}
	if (fd < 0)
		give_up("there is no vsock");
	if (write(fd, &name, 1) != 1)
		give_up("the host is gone");
	return fd;
}

static void read_all(int fd, void *to, size_t len)
{
	for (char *at = to; len > 0;) {
		ssize_t n = read(fd, at, len);

		if (n <= 0)
			give_up("the host said only a part of what to run");
		at += n;
		len -= (size_t)n;
	}
}

char **read_args(int control)
{
	uint32_t count, len, total = 0;
	char **argv;

	read_all(control, &count, 4);
	if (count == 0 || count > AGENT_ARGS_MAX / 4)
		give_up("%u arguments", count);
	argv = calloc(count + 1, sizeof(*argv));
	for (uint32_t i = 0; argv && i < count; i++) {
		read_all(control, &len, 4);
		if (len > AGENT_ARGS_MAX - total)
			give_up("arguments that are too long");
		total += len;
		argv[i] = calloc(1, (size_t)len + 1);
		if (!argv[i])
			give_up("no memory for the arguments");
		read_all(control, argv[i], len);
	}
	if (!argv)
		give_up("no memory for the arguments");
	return argv;
}
