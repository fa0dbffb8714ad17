#include "base/read_file.h"

#include <fcntl.h>
#include <sys/stat.h>

char *read_file(const char *path, unsigned int max_mib, size_t *len, struct error *err)
{
	int fd cleanup_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	char *text;
	ssize_t count;

	if (fd < 0 || fstat(fd, &st) < 0) {
		error_set_errno(err, errno, "cannot open %s", path);
		return NULL;
	}
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > MIB(max_mib)) {
		error_set(err, EINVAL, "%s is no file of at most %u MiB", path, max_mib);
		return NULL;
	}
	text = malloc((size_t)st.st_size + 1);
	count = text ? retry_eintr(read(fd, text, (size_t)st.st_size)) : -1;
	if (count != st.st_size) {
		error_set(err, EIO, "cannot read all of %s", path);
		free(text);
		return NULL;
	}
	text[count] = '\0';
	*len = (size_t)count;
	return text;
}
