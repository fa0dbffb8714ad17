/* How checks read the host and note what they found. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>

#include "cmd/check_host_priv.h"

void check_set(struct check_result *result, enum check_state state, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(result->found, sizeof(result->found), fmt, args);
	va_end(args);
	for (char *c = result->found; *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	result->state = state;
}

void check_unknown(struct check_result *result, const char *path, int ret)
{
	if (ret == -EINVAL)
		check_set(result, CHECK_UNKNOWN, "/%s holds something unexpected", path);
	else
		check_set(result, CHECK_UNKNOWN, "cannot read /%s: %s", path, strerror(-ret));
}

void check_append_word(char *list, size_t size, const char *separator, const char *word)
{
	size_t len = strlen(list);

	snprintf(list + len, size - len, "%s%s", len ? separator : "", word);
}

int host_read(const struct host *host, const char *path, char *buf, size_t size)
{
	/* O_NONBLOCK: in a made-up tree the file could be a FIFO. */
	cleanup_fd int fd = openat(host->root, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	while (len < size - 1) {
		ssize_t ret = retry_eintr(read(fd, buf + len, size - 1 - len));

		if (ret < 0)
			return -errno;
		if (ret == 0)
			break;
		len += (size_t)ret;
	}
	buf[len] = '\0';
	return (int)len;
}

int host_read_number(const struct host *host, const char *path, long long *value)
{
	char text[64];
	int ret = host_read(host, path, text, sizeof(text));

	return ret < 0 ? ret : check_parse_number(text, value);
}

int host_read_bool(const struct host *host, const char *path)
{
	char text[16];
	int ret = host_read(host, path, text, sizeof(text));

	return ret < 0 ? ret : check_parse_bool(text);
}
