/* Files and folders of the host's, bound into the jail for reading. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jailer/jail_priv.h"
#include "jailer/jail_tree.h"

int jail_open_parent(int dir, const char *path, uid_t uid, gid_t gid, const char **name)
{
	int at = jail_tree_open(dir, ".");

	for (;;) {
		size_t len = strcspn(path, "/");
		char part[256];
		int next;

		*name = path;
		if (at < 0 || path[len] == '\0')
			return at;
		snprintf(part, sizeof(part), "%.*s", (int)len, path);
		path += len + strspn(path + len, "/");
		if (len == 0)
			continue;
		if (mkdirat(at, part, 0700) == 0 &&
		    fchownat(at, part, uid, gid, AT_SYMLINK_NOFOLLOW) < 0) {
			close(at);
			return -errno;
		}
		next = jail_tree_open(at, part);
		close(at);
		at = next;
	}
}

/* A bind mount covers something of its own kind. */
static int make_target(int parent, const char *name, bool is_folder)
{
	int fd;

	/* What is there is only covered: to open it might wait, as a pipe's end does, or do something to a device. */
	if ((is_folder ? mkdirat(parent, name, 0700) : mknodat(parent, name, S_IFREG | 0400, 0)) <
		    0 &&
	    errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static int clone_source(const char *path, struct stat *info, struct error *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
					       MOUNT_ATTR_NOEXEC | MOUNT_ATTR_NODEV };
	int tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0 || fstat(tree, info) < 0) {
		close_fd(&tree);
		return error_set_errno(err, errno, "--bind-ro: cannot open %s", path);
	}
	/* A disk's node is there to be opened; the device policy makes it read-only. */
	if (S_ISBLK(info->st_mode))
		attr.attr_set &= ~(uint64_t)MOUNT_ATTR_NODEV;
	if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0) {
		close(tree);
		return error_set_errno(err, errno, "--bind-ro: cannot make %s read-only", path);
	}
	return tree;
}

int jail_record_target(struct jail *jail, const char *path)
{
	char first[300];

	if (jail->made_dir || jail->options->tmpfs_mib)
		return 0;
	/* The first part that is not there yet takes the rest with it. */
	for (size_t len = strcspn(path, "/");; len += 1 + strcspn(path + len + 1, "/")) {
		snprintf(first, sizeof(first), "root/%.*s", (int)len, path);
		if (faccessat(jail->dir, first, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			return jail_record_add(jail->record, "made", first);
		if (path[len] == '\0')
			return 0;
	}
}

static int bind_read_only(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_bind *bind = step->data;
	const char *path = bind->target + strspn(bind->target, "/"), *name;
	struct stat info = { 0 };
	int tree cleanup_fd = clone_source(bind->source, &info, err);
	int parent cleanup_fd = -1;
	int target cleanup_fd = -1;

	if (tree < 0)
		return tree;
	if (jail_record_target(jail, path) < 0)
		return error_set(err, EIO, "cannot record the target of a bind mount");
	parent = jail_open_parent(jail->root, path, jail->options->uid, jail->options->gid, &name);
	target = parent < 0 ? parent : make_target(parent, name, S_ISDIR(info.st_mode));
	if (target < 0)
		return error_set_errno(err, target, "--bind-ro: cannot make %s in the jail",
				       bind->target);
	if (move_mount(tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return error_set_errno(err, errno, "--bind-ro: cannot mount %s at %s", bind->source,
				       bind->target);
	return 0;
}

const struct jail_step_ops jail_bind_step = { "bind", bind_read_only, NULL };
