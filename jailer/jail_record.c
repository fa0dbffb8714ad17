#include "jailer/jail_record.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define RECORD_MAX KIB(64)

int jail_record_create(int dir)
{
	int fd = openat(dir, JAIL_RECORD,
			O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);

	return fd < 0 ? -errno : fd;
}

int jail_record_add(int record, const char *kind, const char *text)
{
	char line[4200];
	int len = snprintf(line, sizeof(line), "%s %s\n", kind, text);

	if (len >= (int)sizeof(line))
		return -ENAMETOOLONG;
	/* One write: a line is there whole or not at all. */
	return write(record, line, (size_t)len) == len ? 0 : -EIO;
}

/* Field 22; the name in field 2 may hold anything, so it is counted from its closing bracket. */
static int read_start(int proc, const char *pid, unsigned long long *start)
{
	char path[64], text[1024];
	int fd cleanup_fd = -1;
	ssize_t len;
	char *at;

	snprintf(path, sizeof(path), "%s/stat", pid);
	fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return -ESRCH;
	text[len] = '\0';
	at = strrchr(text, ')');
	for (int field = 2; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (!at)
		return -ESRCH;
	*start = strtoull(at, NULL, 10);
	/* A zombie runs no more. */
	return strstr(text, ") Z ") ? -ESRCH : 0;
}

int jail_record_process(int record, int proc, pid_t pid)
{
	unsigned long long start;
	char name[32], text[64];
	int ret;

	if (pid > 0) {
		snprintf(name, sizeof(name), "%d", pid);
	} else {
		/* Its number where proc was mounted, whatever it calls itself. */
		ssize_t len = readlinkat(proc, "self", name, sizeof(name) - 1);

		if (len <= 0)
			return len < 0 ? -errno : -EIO;
		name[len] = '\0';
	}
	ret = read_start(proc, name, &start);
	if (ret < 0)
		return ret;
	snprintf(text, sizeof(text), "%s %llu", name, start);
	return jail_record_add(record, "process", text);
}

bool jail_record_runs(const char *text)
{
	unsigned long long now = 0;
	int proc cleanup_fd = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char pid[16], start[24];

	if (proc < 0 || sscanf(text, "%15[0-9] %23[0-9]", pid, start) != 2)
		return false;
	return read_start(proc, pid, &now) == 0 && now == strtoull(start, NULL, 10);
}

static char *read_whole(int dir, int *error)
{
	int fd cleanup_fd = openat(dir, JAIL_RECORD, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	char *text;
	ssize_t len;

	*error = fd < 0 ? -errno : -ENOMEM;
	text = fd < 0 ? NULL : malloc(RECORD_MAX + 1);
	if (!text)
		return NULL;
	len = read(fd, text, RECORD_MAX);
	text[len < 0 ? 0 : len] = '\0';
	return text;
}

static int tell(char *line, int (*each)(const char *, char *, void *), void *opaque)
{
	char *space = strchr(line, ' ');

	if (!space)
		return 0;
	*space = '\0';
	return each(line, space + 1, opaque);
}

int jail_record_each(int dir, bool backwards, int (*each)(const char *, char *, void *),
		     void *opaque)
{
	char *lines[RECORD_MAX / 8];
	unsigned int count = 0;
	int ret = 0;
	char *text cleanup_free = read_whole(dir, &ret);

	if (!text)
		return ret;
	ret = 0;
	/* A last line without an end was not written whole: what it names was not made. */
	for (char *line = text, *end; (end = strchr(line, '\n')) && count < ARRAY_SIZE(lines);
	     line = end + 1) {
		*end = '\0';
		lines[count++] = line;
	}
	for (unsigned int i = 0; i < count && ret >= 0; i++)
		ret = tell(lines[backwards ? count - 1 - i : i], each, opaque);
	return ret;
}
