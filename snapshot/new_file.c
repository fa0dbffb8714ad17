#include "snapshot/new_file.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>

static int failed(const struct new_file *file, const char *what, struct error *err)
{
	return error_set_errno(err, errno, "cannot %s %s", what, file->path);
}

/* FNV-1a: names of one folder that begin alike and are too long to have anything added. */
static uint64_t hash_of(const char *name)
{
	uint64_t hash = 0xcbf29ce484222325;

	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 0x100000001b3;
	return hash;
}

/* Where ".NAME.saving" is too long for a name, NAME's end is a number made of all of it. */
static char *temporary_name(const char *name)
{
	const size_t room = NAME_MAX - strlen("..saving");
	size_t head = room - 17; /* "-" and 16 digits */
	char *out;
	int ret;

	while (head > 0 && head < strlen(name) && (name[head] & 0xc0) == 0x80)
		head--; /* no half of a character: there are filesystems that want UTF-8 */
	ret = strlen(name) <= room
		      ? asprintf(&out, ".%s.saving", name)
		      : asprintf(&out, ".%.*s-%016lx.saving", (int)head, name, hash_of(name));
	return ret < 0 ? NULL : out;
}

/* The name that it is to have, and the one that it has until then. */
static int find_names(struct new_file *file, const char *name, struct error *err)
{
	if (!*name)
		return error_set(err, EISDIR, "%s names a folder, not a file", file->path);
	file->target = strdup(name);
	file->name = temporary_name(name);
	return file->target && file->name ? 0
					  : error_set(err, ENOMEM, "%s: out of memory", file->path);
}

static int open_folder(struct new_file *file, struct error *err)
{
	const char *slash = strrchr(file->path, '/');
	char *folder = slash ? strndup(file->path, (size_t)(slash - file->path) + 1) : strdup(".");
	int ret = find_names(file, slash ? slash + 1 : file->path, err);

	if (ret == 0 && folder) {
		file->dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
		ret = file->dir < 0 ? failed(file, "create", err) : 0;
	} else if (ret == 0) {
		ret = error_set(err, ENOMEM, "%s: out of memory", file->path);
	}
	free(folder);
	return ret;
}

/* Who could not read the file that is replaced does not get to by that. */
static int check_target(const struct new_file *file, mode_t *mode, struct error *err)
{
	struct stat st;

	*mode = 0666;
	if (fstatat(file->dir, file->target, &st, 0) < 0)
		return 0;
	*mode &= st.st_mode;
	if (S_ISREG(st.st_mode))
		return 0;
	return error_set(err, EINVAL, "%s is there and not a regular file", file->path);
}

static int refuse_what_is_there(const struct new_file *file, int unlinked, struct error *err)
{
	if (unlinked == EISDIR)
		return error_set(err, EEXIST,
				 "cannot create %s: in its folder, %s is a folder where a file is "
				 "written first; remove or rename it",
				 file->path, file->name);
	return error_set(err, EEXIST,
			 "cannot create %s: in its folder, %s is there where a file is written "
			 "first, and cannot be removed: %s",
			 file->path, file->name, strerrordesc_np(unlinked));
}

static int open_beside(struct new_file *file, mode_t mode, struct error *err)
{
	const char *name = file->name;
	int unlinked;

	if (!name) /* find_names() has made it */
		return -EINVAL;
	unlinked = unlinkat(file->dir, name, 0) < 0 ? errno : 0; /* of a save that died */
	file->fd = openat(file->dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			  mode);
	if (file->fd >= 0)
		return 0;
	return errno == EEXIST && unlinked ? refuse_what_is_there(file, unlinked, err)
					   : failed(file, "create", err);
}

int new_file_open(struct new_file *file, const char *path, struct error *err)
{
	mode_t mode;
	int ret;

	*file = NEW_FILE_NONE;
	file->path = path;
	if ((ret = open_folder(file, err)) < 0 || (ret = check_target(file, &mode, err)) < 0 ||
	    (ret = open_beside(file, mode, err)) < 0)
		new_file_close(file);
	return ret;
}

int new_file_take(struct new_file *file, int fd, bool keep, const char *name, struct error *err)
{
	struct stat st;

	*file = NEW_FILE_NONE;
	file->path = name;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return error_set(err, EINVAL, "%s is not a regular file, open for both", name);
	file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (file->fd < 0 || (!keep && ftruncate(file->fd, 0) < 0) ||
	    lseek(file->fd, 0, SEEK_SET) < 0) {
		failed(file, "write", err);
		new_file_close(file);
		return err->code;
	}
	return 0;
}

int new_file_sync(const struct new_file *file, struct error *err)
{
	return fsync(file->fd) < 0 ? failed(file, "write", err) : 0;
}

/* The name is still ours, and not another monitor's that saves to the same target at this moment. */
static bool name_is_ours(const struct new_file *file)
{
	struct stat mine, there;

	return fstat(file->fd, &mine) == 0 &&
	       fstatat(file->dir, file->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

int new_file_rename(struct new_file *file, struct error *err)
{
	if (file->dir < 0)
		return 0;
	if (!name_is_ours(file))
		return error_set(err, EBUSY, "something else is saving to %s", file->path);
	/* The old file goes when this is closed, not now: that takes a while, between the renames of a pair. */
	file->old = openat(file->dir, file->target, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (renameat(file->dir, file->name, file->dir, file->target) < 0)
		return failed(file, "replace", err);
	free(file->name);
	file->name = NULL;
	return 0;
}

int new_file_sync_folder(const struct new_file *file, struct error *err)
{
	cleanup_fd int folder = -1;

	if (file->dir < 0)
		return 0;
	folder = openat(file->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* A folder that we may write but not list cannot be synced on its own. */
	if (folder < 0 && errno == EACCES)
		return syncfs(file->fd) < 0 ? failed(file, "write", err) : 0;
	if (folder < 0 || fsync(folder) < 0)
		return failed(file, "make durable the folder of", err);
	return 0;
}

void new_file_close(struct new_file *file)
{
	if (file->name && file->fd >= 0 && name_is_ours(file))
		unlinkat(file->dir, file->name, 0);
	close_fd(&file->fd);
	close_fd(&file->old);
	close_fd(&file->dir);
	free(file->name);
	free(file->target);
	file->name = file->target = NULL;
}
