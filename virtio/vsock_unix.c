#include "virtio/vsock_unix.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#define BACKLOG 128
#define REQUEST_MAX 32 /* "CONNECT 4294967295\n" has 19 */

_Static_assert(VSOCK_UNIX_PATH_MAX + sizeof("_4294967295") ==
		       sizeof(((struct sockaddr_un *)0)->sun_path),
	       "every port fits behind the longest path");

int vsock_unix_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

/* Of a listener, a number that the kernel knows. */
static int option_of(int fd, int option)
{
	int value = -1;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) < 0 ? -errno : value;
}

int vsock_unix_path_of(int fd, char path[static VSOCK_UNIX_PATH_MAX + 1], struct error *err)
{
	struct sockaddr_un addr = { 0 };
	socklen_t len = sizeof(addr);
	const int domain = option_of(fd, SO_DOMAIN);
	size_t length;

	if (domain < 0)
		return error_set(err, EINVAL, "vsock: the descriptor is no socket");
	if (domain != AF_UNIX || option_of(fd, SO_TYPE) != SOCK_STREAM)
		return error_set(err, EINVAL,
				 "vsock: the descriptor is no Unix socket for streams");
	if (option_of(fd, SO_ACCEPTCONN) != 1)
		return error_set(err, EINVAL, "vsock: the descriptor's socket does not listen");
	if (getsockname(fd, (struct sockaddr *)&addr, &len) < 0)
		return error_set_errno(err, errno, "vsock: the descriptor's socket");
	/* A path that fills the address has no end. */
	length = strnlen(addr.sun_path, sizeof(addr.sun_path));
	if (length == 0)
		return error_set(err, EINVAL,
				 "vsock: the descriptor's socket has no path, and the guest's "
				 "connections go to sockets beside it");
	if (length > VSOCK_UNIX_PATH_MAX)
		return error_set(
			err, EINVAL,
			"vsock: a path has at most %u bytes, as a port's number follows, not "
			"the %zu of the descriptor's socket",
			VSOCK_UNIX_PATH_MAX, length);
	memcpy(path, addr.sun_path, length);
	path[length] = '\0';
	return 0;
}

/* Whoever made it keeps its file: no device and inode are those of a file of ours. */
static int take_listener(struct vsock_unix *host, int listener, struct error *err)
{
	int ret = vsock_unix_path_of(listener, host->path, err);

	if (ret < 0)
		return ret;
	host->listener = fcntl(listener, F_DUPFD_CLOEXEC, 3);
	/* accept() is not to wait when somebody else took the connection, or it has gone. */
	if (host->listener < 0 || fcntl(host->listener, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return error_set_errno(err, errno, "vsock: the descriptor of %s", host->path);
	return 0;
}

static int listen_at(struct vsock_unix *host, const char *path, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct stat st;

	if (!*path || strlen(path) > VSOCK_UNIX_PATH_MAX)
		return error_set(err, EINVAL, "vsock: a path has 1 to %u bytes, not '%s'",
				 VSOCK_UNIX_PATH_MAX, path);
	memcpy(addr.sun_path, path, strlen(path));
	host->listener = vsock_unix_socket();
	if (host->listener < 0)
		return error_set_errno(err, host->listener, "vsock: cannot make a socket");
	if (bind(host->listener, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set_errno(err, errno, "vsock: cannot make the socket %s", path);
	/* From here on the file is ours. */
	snprintf(host->path, sizeof(host->path), "%s", path);
	if (stat(path, &st) < 0)
		return error_set_errno(err, errno, "vsock: cannot look at the socket %s", path);
	host->dev = st.st_dev;
	host->ino = st.st_ino;
	if (listen(host->listener, BACKLOG) < 0)
		return error_set_errno(err, errno, "vsock: cannot listen at %s", path);
	return 0;
}

int vsock_unix_open(struct vsock_unix *host, const char *path, int listener, struct error *err)
{
	int ret;

	*host = (struct vsock_unix){ .listener = -1, .spare = -1 };
	ret = listener > 0 ? take_listener(host, listener, err) : listen_at(host, path, err);
	if (ret < 0) {
		vsock_unix_close(host);
		return ret;
	}
	host->spare = eventfd(0, EFD_CLOEXEC); /* without it we only wait longer */
	return 0;
}

void vsock_unix_close(struct vsock_unix *host)
{
	struct stat st;

	if (*host->path && stat(host->path, &st) == 0 && st.st_dev == host->dev &&
	    st.st_ino == host->ino)
		unlink(host->path);
	*host->path = '\0';
	close_fd(&host->listener);
	close_fd(&host->spare);
}

/* Lets go of the spare descriptor to be able to accept, and says no by closing. There may be none:
 * accept4() wants a descriptor before it looks. */
static int refuse_one(struct vsock_unix *host)
{
	int fd;

	close_fd(&host->spare);
	fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0) {
		close(fd);
		log_limited(&host->warnings, LOG_WARN, "vsock: a connection to %s is refused: %s",
			    host->path, strerrordesc_np(EMFILE));
	}
	host->spare = eventfd(0, EFD_CLOEXEC);
	return fd >= 0 ? -EMFILE : -EAGAIN;
}

int vsock_unix_accept(struct vsock_unix *host)
{
	int fd;

	do
		fd = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd >= 0)
		return fd;
	if (errno != EMFILE && errno != ENFILE)
		return -errno;
	return refuse_one(host);
}

int vsock_unix_connect(const struct vsock_unix *host, int fd, uint32_t port)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", host->path, port);
	return connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
}

/* "CONNECT <port>\n", and only that: 1 to 10 digits, no sign, in 32 bits. */
static int parse_request(const char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	unsigned long value;
	char *end;

	line += strspn(line, " ");
	if (strncasecmp(line, word, strlen(word)) != 0)
		return -EPROTO;
	line += strlen(word);
	line += strspn(line, " ");
	if (!isdigit((unsigned char)*line))
		return -EPROTO;
	value = strtoul(line, &end, 10);
	end += strspn(end, " \r");
	if (*end || value > UINT32_MAX)
		return -EPROTO;
	*port = (uint32_t)value;
	return 1;
}

int vsock_unix_read_request(int fd, uint32_t *port)
{
	char line[REQUEST_MAX + 1];
	ssize_t len = retry_eintr(recv(fd, line, REQUEST_MAX, MSG_PEEK));
	char *end;

	if (len < 0)
		return errno == EAGAIN ? 0 : -errno;
	end = memchr(line, '\n', (size_t)len);
	if (!end)
		return len == 0 || len == REQUEST_MAX || vsock_unix_hung_up(fd) ? -EPROTO : 0;
	/* Peeked bytes stay the first ones: this takes just them. */
	if (recv(fd, line, (size_t)(end - line) + 1, 0) < 0)
		return -errno;
	*end = '\0';
	return parse_request(line, port);
}

int vsock_unix_accept_request(int fd, uint32_t port)
{
	char line[32];
	const int len = snprintf(line, sizeof(line), "OK %u\n", port);

	/* The first bytes ever sent there: a socket's buffer has room for them. */
	return send(fd, line, (size_t)len, MSG_NOSIGNAL) == len ? 0 : -EPIPE;
}

bool vsock_unix_hung_up(int fd)
{
	struct pollfd state = { .fd = fd };

	return poll(&state, 1, 0) > 0 && state.revents & (POLLHUP | POLLERR);
}
