#include "jailer/jail_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define DEPTH_MAX 64 /* a descriptor each */
#define NAME_TRIES 1000

static int open_folder(int at, const char *path, uint64_t resolve)
{
	const struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				      .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | resolve };
	long fd = syscall(SYS_openat2, at, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

int jail_tree_open(int at, const char *path)
{
	return open_folder(at, path, 0);
}

struct removal {
	int top; /* the tree's own folder */
	unsigned int pulled;
};

/* What lies too deep goes to the top of the tree, where it is found again. */
static int pull_up(struct removal *removal, int at, const char *name)
{
	char to[32];

	for (unsigned int tries = 0; tries < NAME_TRIES; tries++) {
		snprintf(to, sizeof(to), ".deep-%u", removal->pulled++);
		if (renameat2(at, name, removal->top, to, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			break;
	}
	return -errno;
}

static int remove_at(struct removal *removal, int at, const char *name, unsigned int depth);

static int remove_entries(struct removal *removal, int fd, unsigned int depth)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;
	int ret = 0;

	if (!dir) {
		close_fd(&copy);
		return -errno;
	}
	while (ret == 0 && (entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ret = remove_at(removal, fd, entry->d_name, depth + 1);
	}
	closedir(dir);
	return ret;
}

/* The folder of a mount is not entered: what is behind it is its owner's. */
static int remove_folder(struct removal *removal, int at, const char *name, unsigned int depth)
{
	int fd cleanup_fd = open_folder(at, name, RESOLVE_NO_XDEV);
	unsigned int pulled;
	int ret;

	if (fd < 0)
		return fd;
	if (depth == 0)
		removal->top = fd;
	do {
		pulled = removal->pulled;
		ret = remove_entries(removal, fd, depth);
	} while (ret == 0 && depth == 0 && removal->pulled != pulled);
	return ret;
}

static int remove_at(struct removal *removal, int at, const char *name, unsigned int depth)
{
	int ret;

	if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	if (depth == DEPTH_MAX)
		return pull_up(removal, at, name);
	ret = remove_folder(removal, at, name, depth);
	if (ret < 0)
		return ret;
	return unlinkat(at, name, AT_REMOVEDIR) == 0 || errno == ENOENT ? 0 : -errno;
}

/* Its folder is opened without following links, so that the name is looked up where it is meant to be. */
int jail_tree_remove(int at, const char *path)
{
	const char *slash = strrchr(path, '/');
	struct removal removal = { .top = -1 };
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
	return remove_at(&removal, fd, slash ? slash + 1 : path, 0);
}
