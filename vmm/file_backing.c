#include "vmm/file_backing.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>

int file_backings_add(struct file_backings *backings, const void *host, uint64_t len,
		      uint64_t file_end, int fd, const char *path, struct error *err)
{
	struct file_backing *entry = &backings->entries[backings->count];
	int copy;

	if (backings->count == FILE_BACKINGS_MAX)
		return error_set(err, ENOSPC, "%s: more than %u mapped files", path,
				 FILE_BACKINGS_MAX);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return error_set_errno(err, errno, "%s: cannot keep it open", path);
	*entry = (struct file_backing){ host, len, file_end, copy, path };
	backings->count++;
	return 0;
}

static bool is_lost(const struct file_backing *entry)
{
	struct stat st;

	return fstat(entry->fd, &st) == 0 && (uint64_t)st.st_size < entry->file_end;
}

const char *file_backings_lost(const struct file_backings *backings)
{
	for (unsigned int i = 0; i < backings->count; i++)
		if (is_lost(&backings->entries[i]))
			return backings->entries[i].path;
	return NULL;
}

const char *file_backings_at(const struct file_backings *backings, const void *addr)
{
	const uint8_t *at = addr;

	for (unsigned int i = 0; i < backings->count; i++) {
		const struct file_backing *entry = &backings->entries[i];

		if (at >= entry->host && at < entry->host + entry->len)
			return entry->path;
	}
	return NULL;
}

/* By descriptor, not by path: the path may name another file by now. */
static int watch_fd(int inotify, int fd)
{
	char link[32];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return inotify_add_watch(inotify, link, IN_MODIFY) < 0 ? -errno : 0;
}

int file_watch(int inotify, int fd, const char *path)
{
	int ret = watch_fd(inotify, fd);

	/* Without /proc (in a jail) the path has to do. */
	if (ret == -ENOENT && path)
		ret = inotify_add_watch(inotify, path, IN_MODIFY) < 0 ? -errno : 0;
	return ret;
}

int file_backings_watch(const struct file_backings *backings, int inotify)
{
	int ret = 0;

	for (unsigned int i = 0; i < backings->count && ret == 0; i++)
		ret = file_watch(inotify, backings->entries[i].fd, backings->entries[i].path);
	return ret;
}

void file_backings_fini(struct file_backings *backings)
{
	for (unsigned int i = 0; i < backings->count; i++)
		close_fd(&backings->entries[i].fd);
	backings->count = 0;
}
