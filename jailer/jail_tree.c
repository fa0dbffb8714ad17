#include "jailer/jail_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define DEPTH_MAX 64

int jail_tree_open(int at, const char *path)
{
	const struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
	long fd = syscall(SYS_openat2, at, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int remove_at(int at, const char *name, dev_t device, unsigned int depth);

static int remove_entries(int at, const char *name, dev_t device, unsigned int depth)
{
	int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	struct stat info;
	int ret = 0;

	if (!dir) {
		close_fd(&fd);
		return -errno;
	}
	if (fstat(fd, &info) < 0 || info.st_dev != device)
		ret = -EXDEV;
	while (ret == 0 && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ret = remove_at(fd, entry->d_name, device, depth + 1);
	}
	closedir(dir);
	return ret;
}

static int remove_at(int at, const char *name, dev_t device, unsigned int depth)
{
	int ret;

	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth == DEPTH_MAX)
		return -ELOOP;
	ret = remove_entries(at, name, device, depth);
	if (ret < 0)
		return ret;
	return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

/* Its folder is opened without following links, so that the name is looked up where it is meant to be. */
int jail_tree_remove(int at, const char *path)
{
	const char *slash = strrchr(path, '/');
	struct stat info;
	char folder[4096];
	int fd cleanup_fd = -1;

	if (slash) {
		if ((size_t)(slash - path) >= sizeof(folder))
			return -ENAMETOOLONG;
		memcpy(folder, path, (size_t)(slash - path));
		folder[slash - path] = '\0';
	}
	fd = jail_tree_open(at, slash ? folder : ".");
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	if (fstat(fd, &info) < 0)
		return -errno;
	return remove_at(fd, slash ? slash + 1 : path, info.st_dev, 0);
}
