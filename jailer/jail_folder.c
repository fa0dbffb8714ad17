/* The jail's folder: made or taken over, mounted on itself, filled, and made the root. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "jailer/jail_priv.h"
#include "jailer/jail_text.h"
#include "jailer/jail_tree.h"

/* BASE/PROGRAM/ID -------------------------------------------------------------------------------*/

/* The base is the administrator's, links and all. */
static int open_base(const char *path, struct error *err)
{
	char part[JAIL_PATH_MAX + 1];
	int fd;

	snprintf(part, sizeof(part), "%s", path);
	for (char *slash = part + 1; (slash = strchr(slash, '/')); slash++) {
		*slash = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return error_set_errno(err, errno, "cannot make the folder %s", part);
		*slash = '/';
	}
	if (mkdir(part, 0755) < 0 && errno != EEXIST)
		return error_set_errno(err, errno, "cannot make the folder %s", part);
	fd = open(part, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? error_set_errno(err, errno, "cannot open the folder %s", part) : fd;
}

/* Below that, nothing is followed: who may write there might have planted a link. */
static int open_below(int at, const char *name, bool *made, struct error *err)
{
	int fd;

	*made = mkdirat(at, name, 0755) == 0;
	if (!*made && errno != EEXIST)
		return error_set_errno(err, errno, "cannot make the folder %s", name);
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? error_set_errno(err, errno, "cannot open the folder %s", name) : fd;
}

/* With the lock on its parent no other jailer sees a folder without its record. */
static int claim_id(struct jail *jail, int parent, struct error *err)
{
	const char *id = jail->options->id;

	if (flock(parent, LOCK_EX) < 0)
		return error_set_errno(err, errno, "cannot lock the folder of the instances");
	jail->dir = open_below(parent, id, &jail->made_dir, err);
	if (jail->dir < 0)
		return jail->dir;
	jail->record = jail_record_create(jail->dir);
	if (jail->record == -EEXIST)
		return error_set(err, EEXIST,
				 "id %s is in use: it runs, or what it left behind waits for "
				 "`mayfly-jailer cleanup --id %s`",
				 id, id);
	if (jail->record < 0)
		return error_set_errno(err, jail->record, "cannot record what is made for %s", id);
	if (jail->made_dir && jail_record_add(jail->record, "made-dir", id) < 0)
		return error_set(err, EIO, "cannot record what is made for %s", id);
	flock(parent, LOCK_UN);
	return 0;
}

static int open_directory(struct jail *jail, struct jail_step *step, struct error *err)
{
	int base cleanup_fd = open_base(jail->options->chroot_base, err);
	int parent cleanup_fd = -1;
	bool made;
	int ret;

	(void)step;
	if (base < 0)
		return base;
	parent = open_below(base, jail->host->exec_name, &made, err);
	if (parent < 0)
		return parent;
	ret = claim_id(jail, parent, err);
	if (ret < 0) {
		if (jail->record >= 0)
			unlinkat(jail->dir, JAIL_RECORD, 0);
		return ret;
	}
	step->held = steal_fd(&parent);
	if (jail_record_process(jail->record, jail->proc, 0) < 0)
		return error_set(err, EIO, "cannot record this process");
	if (!jail->made_dir && faccessat(jail->dir, "root", F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		(void)!jail_record_add(jail->record, "made", "root");
	jail->root = open_below(jail->dir, "root", &made, err);
	return jail->root < 0 ? jail->root : 0;
}

static int remove_made(const char *kind, char *text, void *opaque)
{
	struct jail *jail = opaque;

	if (strcmp(kind, "made") == 0)
		jail_tree_remove(jail->dir, text);
	return 0;
}

static void remove_directory(struct jail *jail, struct jail_step *step)
{
	if (jail->made_dir) {
		jail_tree_remove(step->held, jail->options->id);
		return;
	}
	if (jail_record_each(jail->dir, true, remove_made, jail) < 0)
		return;
	unlinkat(jail->dir, JAIL_RECORD, 0);
}

const struct jail_step_ops jail_directory_step = { "directory", open_directory, remove_directory };

/* The root's mount ------------------------------------------------------------------------------*/

/* What the user has mounted below comes with it. */
static int clone_folder(const struct jail *jail, struct error *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID };
	int tree = open_tree(jail->root, "",
			     AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0)
		return error_set_errno(err, errno, "cannot clone the jail's folder as a mount");
	/* The program runs by descriptor, from its own place: nothing in here need be executable. */
	if (!jail->options->copy_exec)
		attr.attr_set |= MOUNT_ATTR_NOEXEC;
	if (mount_setattr(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0) {
		close(tree);
		return error_set_errno(err, errno, "cannot set the flags of the jail's mount");
	}
	return tree;
}

static int make_tmpfs(const struct jail *jail, struct error *err)
{
	unsigned int attr = MOUNT_ATTR_NOSUID | (jail->options->copy_exec ? 0 : MOUNT_ATTR_NOEXEC);
	int fs cleanup_fd = fsopen("tmpfs", FSOPEN_CLOEXEC);
	char size[32];
	int tree;

	snprintf(size, sizeof(size), "%luM", jail->options->tmpfs_mib);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", size, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return error_set_errno(err, errno, "--tmpfs: cannot make a tmpfs");
	tree = fsmount(fs, FSMOUNT_CLOEXEC, attr);
	return tree < 0 ? error_set_errno(err, errno, "--tmpfs: cannot make its mount") : tree;
}

static int mount_root(struct jail *jail, struct jail_step *step, struct error *err)
{
	int tree = jail->options->tmpfs_mib ? make_tmpfs(jail, err) : clone_folder(jail, err);

	(void)step;
	if (tree < 0)
		return tree;
	if (move_mount(tree, "", jail->root, "",
		       MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0) {
		close(tree);
		return error_set_errno(err, errno, "cannot mount the jail's root");
	}
	/* From here on "root" is the mount, not what it covers. */
	close_fd(&jail->root);
	jail->root = tree;
	return 0;
}

/* A mount point cannot be removed. After the pivot it is none any more. */
static void unmount_root(struct jail *jail, struct jail_step *step)
{
	(void)step;
	if (fchdir(jail->dir) == 0)
		umount2("root", MNT_DETACH | UMOUNT_NOFOLLOW);
}

const struct jail_step_ops jail_root_step = { "root", mount_root, unmount_root };

static int pivot(struct jail *jail, struct jail_step *step, struct error *err)
{
	(void)step;
	/* The old root ends up below the new one's own mount point and is taken off from there. */
	if (fchdir(jail->root) < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return error_set_errno(err, errno, "cannot change the root");
	return 0;
}

const struct jail_step_ops jail_pivot_step = { "pivot", pivot, NULL };

/* What is in it ---------------------------------------------------------------------------------*/

/* Only the folders are recorded singly where the jail's folder is the user's; removing them takes the rest. */
static int note_made(struct jail *jail, const char *path)
{
	char below_root[300];

	if (jail->made_dir || jail->options->tmpfs_mib)
		return 0;
	snprintf(below_root, sizeof(below_root), "root/%s", path);
	return jail_record_add(jail->record, "made", below_root);
}

static int make_folder(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_options *options = jail->options;
	const char *path = step->object + 1;
	int fd cleanup_fd = -1;

	if (*path && faccessat(jail->root, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
	    (note_made(jail, path) < 0 || mkdirat(jail->root, path, 0700) < 0))
		return error_set_errno(err, errno, "cannot make %s in the jail", step->object);
	fd = jail_tree_open(jail->root, *path ? path : ".");
	if (fd < 0)
		return error_set_errno(err, fd, "%s in the jail is no folder of its own",
				       step->object);
	if (fchown(fd, options->uid, options->gid) < 0 || fchmod(fd, 0700) < 0)
		return error_set_errno(err, errno, "cannot give %s in the jail away", step->object);
	return 0;
}

const struct jail_step_ops jail_folder_step = { "folder", make_folder, NULL };

static int make_node(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_options *options = jail->options;
	const char *name;
	int parent cleanup_fd = jail_open_parent(jail->root, step->object + 1, options->uid,
						 options->gid, &name);

	if (parent < 0)
		return error_set_errno(err, parent, "cannot open the folder of %s", step->object);
	if (note_made(jail, step->object + 1) < 0 ||
	    mknodat(parent, name, S_IFCHR | 0600, (dev_t)step->number) < 0 ||
	    fchownat(parent, name, options->uid, options->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set_errno(err, errno, "cannot make %s in the jail", step->object);
	return 0;
}

const struct jail_step_ops jail_node_step = { "node", make_node, NULL };

/* A disk. The number is that of the moment: the policy has the same. */
static int make_device(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_options *options = jail->options;
	const struct jail_device *device = step->data;
	const char *path = device->target + strspn(device->target, "/"), *name;
	int parent cleanup_fd = -1;
	struct stat info;

	if (stat(device->source, &info) < 0)
		return error_set_errno(err, errno, "--device: cannot find %s", device->source);
	if (!S_ISBLK(info.st_mode))
		return error_set(err, ENOTBLK, "--device: %s is not a block device",
				 device->source);
	step->number = info.st_rdev;
	if (jail_record_target(jail, path) < 0)
		return error_set(err, EIO, "cannot record the node of a device");
	parent = jail_open_parent(jail->root, path, options->uid, options->gid, &name);
	if (parent < 0)
		return error_set_errno(err, parent, "--device: cannot open the folder of %s",
				       device->target);
	if (mknodat(parent, name, S_IFBLK | (device->read_only ? 0400 : 0600), info.st_rdev) < 0 ||
	    fchownat(parent, name, options->uid, options->gid, AT_SYMLINK_NOFOLLOW) < 0)
		return error_set_errno(err, errno, "--device: cannot make %s in the jail",
				       device->target);
	return 0;
}

const struct jail_step_ops jail_device_step = { "device", make_device, NULL };

static int copy_all(int from, int to)
{
	ssize_t count;

	do
		count = copy_file_range(from, NULL, to, NULL, MIB(64), 0);
	while (count > 0);
	if (count < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP)) {
		char *bytes cleanup_free = malloc(MIB(1));

		while (bytes && (count = read(from, bytes, MIB(1))) > 0)
			if (write(to, bytes, (size_t)count) != count)
				return -EIO;
	}
	return count < 0 ? -errno : 0;
}

/* Not the jailed user's: what it could change it could make others run. */
static int copy_program(struct jail *jail, struct jail_step *step, struct error *err)
{
	const char *name = step->object + 1;
	int from cleanup_fd = open(jail->host->exec_path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	int to cleanup_fd = -1;
	int ret = note_made(jail, name);

	if (ret == 0)
		to = openat(jail->root, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			    0755);
	ret = from < 0 || to < 0 ? -errno : copy_all(from, to);
	if (ret < 0)
		return error_set_errno(err, ret, "--copy-exec: cannot copy the program");
	close_fd(&to);
	close_fd(&jail->program);
	jail->program = openat(jail->root, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	return jail->program < 0 ? error_set_errno(err, errno, "cannot open the copy") : 0;
}

const struct jail_step_ops jail_copy_step = { "copy", copy_program, NULL };
