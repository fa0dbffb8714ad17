/* cgroups, version 1 and 2: a folder for the instance, values into its files, the process into it. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "jailer/jail_priv.h"
#include "jailer/jail_tree.h"

#define PARENT_TRIES 16

/* Files -----------------------------------------------------------------------------------------*/

static int write_file(int dir, const char *name, const char *text)
{
	int fd cleanup_fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	ssize_t len = (ssize_t)strlen(text);

	if (fd < 0)
		return -errno;
	return write(fd, text, (size_t)len) == len ? 0 : -errno;
}

static int read_file(int dir, const char *name, char *text, size_t size)
{
	int fd cleanup_fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return -errno;
	len = read(fd, text, size - 1);
	if (len < 0)
		return -errno;
	text[len] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

/* One word of a list that spaces separate. */
static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
			return true;
	return false;
}

/* Making it -------------------------------------------------------------------------------------*/

/* Version 2: children get a controller only if it is passed on, at every level. */
static int pass_controllers_on(const struct jail *jail, int dir, struct error *err)
{
	char enabled[512];

	if (read_file(dir, "cgroup.subtree_control", enabled, sizeof(enabled)) < 0)
		enabled[0] = '\0';
	for (unsigned int i = 0; i < jail->options->cgroup_count; i++) {
		const char *file = jail->options->cgroup[i].file;
		char word[64];
		int ret;

		snprintf(word, sizeof(word), "+%.*s", (int)MIN(strcspn(file, "."), 60ul), file);
		if (strcmp(word, "+cgroup") == 0 || has_word(enabled, word + 1))
			continue;
		ret = write_file(dir, "cgroup.subtree_control", word);
		if (ret < 0)
			return error_set_errno(err, ret,
					       "--cgroup %s: the controller %s cannot be had here",
					       file, word + 1);
	}
	return 0;
}

/* Version 1's cpuset: a new group has no CPU and no memory node, and takes no process. */
static void inherit_cpuset(int parent, int dir)
{
	static const char *const files[] = { "cpuset.cpus", "cpuset.mems" };
	char text[4096] = "";

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		if (read_file(dir, files[i], text, sizeof(text)) == 0 && text[0])
			continue;
		if (read_file(parent, files[i], text, sizeof(text)) == 0)
			(void)write_file(dir, files[i], text);
	}
}

static int prepare(const struct jail *jail, const struct jail_step *step, int parent, int dir,
		   struct error *err)
{
	if (step->number == 1) {
		if (faccessat(dir, "cpuset.cpus", F_OK, 0) == 0)
			inherit_cpuset(parent, dir);
		return 0;
	}
	/* On a hybrid host this group is for the device program alone. */
	return jail->host->version == 2 && parent >= 0 ? pass_controllers_on(jail, parent, err) : 0;
}

/* An extended attribute of the groups that jailers have made. What has it not is somebody else's, and stays. */
#define MADE_BY_A_JAILER "trusted.mayfly"

static bool is_marked(int dir)
{
	return fgetxattr(dir, MADE_BY_A_JAILER, NULL, 0) >= 0;
}

/* A parent is shared, and goes with the last instance in it. The path has the first len bytes of the step's. */
static int record_cgroup(struct jail *jail, const struct jail_step *step, size_t len)
{
	char path[JAIL_PATH_MAX_ALL];

	snprintf(path, sizeof(path), "%s/%.*s", step->object, (int)len, step->detail);
	return jail_record_add(jail->record, step->detail[len] ? "cgroup-parent" : "cgroup", path);
}

/* Whoever is in there is another's. */
static bool has_processes(const struct jail_step *step, int dir)
{
	char text[512] = "";

	if (step->number == 1)
		return read_file(dir, "tasks", text, sizeof(text)) == 0 && *text;
	return read_file(dir, "cgroup.events", text, sizeof(text)) == 0 &&
	       strcmp(text, "populated 1") == 0;
}

/* The instance's own group may be there before: the user's, or what an earlier instance has left with its programs. */
static int check_own(const struct jail *jail, const struct jail_step *step, int at,
		     const char *part, struct error *err)
{
	int dir cleanup_fd = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return 0;
	if (has_processes(step, dir))
		return error_set(err, EBUSY,
				 "the cgroup %s/%s has processes in it: another instance has the "
				 "id %s, with another --chroot-base-dir",
				 step->object, step->detail, jail->options->id);
	if (is_marked(dir))
		unlinkat(at, part, AT_REMOVEDIR);
	return 0;
}

/*
 * Without controllers a group may be threaded, and joined as cheaply as one of version 1. Ours is made so by everybody
 * who comes by: whoever makes it might be overtaken by the next, and with a child it can be threaded no more.
 */
static void make_threaded(const struct jail *jail, const struct jail_step *step, int dir, bool made)
{
	if (step->number == 2 && jail->host->version == 1 &&
	    (made || !jail->options->parent_cgroup))
		(void)write_file(dir, "cgroup.type", "threaded");
}

/* Makes and opens the next part of the path, which ends after so many bytes of it. */
static int descend(struct jail *jail, const struct jail_step *step, int at, const char *part,
		   size_t len, struct error *err)
{
	bool last = step->detail[len] == '\0', made;
	int fd;

	if (last && check_own(jail, step, at, part, err) < 0)
		return err->code;
	if (faccessat(at, part, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
	    record_cgroup(jail, step, len) < 0)
		return error_set(err, EIO, "cannot record a cgroup");
	made = mkdirat(at, part, 0755) == 0;
	if (!made && errno != EEXIST)
		return error_set_errno(err, errno, "cannot make the cgroup %s/%s", step->object,
				       step->detail);
	fd = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(err, errno, "cannot open the cgroup %s/%s", step->object,
				       step->detail);
	if (made)
		(void)fsetxattr(fd, MADE_BY_A_JAILER, "", 0, 0);
	else if (!last && is_marked(fd))
		(void)!record_cgroup(jail, step, len);
	make_threaded(jail, step, fd, made);
	return fd;
}

static int make_path(struct jail *jail, const struct jail_step *step, struct error *err)
{
	int at cleanup_fd = dup(step->held);
	const char *path = step->detail;
	int ret = 0;

	while (*path && ret == 0) {
		size_t len = strcspn(path, "/");
		char part[256];
		int next;

		snprintf(part, sizeof(part), "%.*s", (int)len, path);
		path += len + strspn(path + len, "/");
		if (len == 0)
			continue;
		if (step->number == 2)
			ret = prepare(jail, step, at, -1, err);
		next = ret < 0 ? ret
			       : descend(jail, step, at, part, (size_t)(path - step->detail), err);
		if (next < 0)
			return next;
		if (step->number == 1)
			ret = prepare(jail, step, at, next, err);
		close(at);
		at = next;
	}
	return ret;
}

static int make_cgroup(struct jail *jail, struct jail_step *step, struct error *err)
{
	int ret = -ENOENT;

	step->held = open(step->object, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (step->held < 0)
		return error_set_errno(err, errno, "cannot open %s", step->object);
	/* A clean-up of the last other instance may take the parent away between the two. */
	for (unsigned int tries = 0; tries < PARENT_TRIES && ret == -ENOENT; tries++)
		ret = make_path(jail, step, err);
	return ret;
}

/* A group with a process in it cannot be removed: this one leaves it first. */
static void remove_cgroup(struct jail *jail, struct jail_step *step)
{
	char path[JAIL_PATH_MAX_ALL], *slash;

	(void)jail;
	(void)write_file(step->held, "cgroup.procs", "0");
	snprintf(path, sizeof(path), "%s", step->detail);
	do {
		int dir cleanup_fd = openat(step->held, path,
					    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (dir < 0 || !is_marked(dir) || unlinkat(step->held, path, AT_REMOVEDIR) < 0)
			break;
		slash = strrchr(path, '/');
		if (slash)
			*slash = '\0';
	} while (slash);
}

const struct jail_step_ops jail_cgroup_step = { "cgroup", make_cgroup, remove_cgroup };

/* Using it --------------------------------------------------------------------------------------*/

static int set_value(struct jail *jail, struct jail_step *step, struct error *err)
{
	int ret = write_file(AT_FDCWD, step->object, step->detail);

	(void)jail;
	return ret < 0 ? error_set_errno(err, ret, "--cgroup: cannot write '%s' to %s",
					 step->detail, step->object)
		       : 0;
}

const struct jail_step_ops jail_cgroup_set_step = { "cgroup-set", set_value, NULL };

static int write_in(const char *folder, const char *name, const char *text)
{
	int dir cleanup_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);

	return dir < 0 ? -errno : write_file(dir, name, text);
}

/* "0" is this thread, the only one: that spares the lock that `cgroup.procs` waits a grace period for, some
 * milliseconds. Version 2 takes a thread alone only within one threaded domain. */
static int join(struct jail *jail, struct jail_step *step, struct error *err)
{
	bool is_threaded = step->number == 2 && jail->host->version == 1;
	int ret = -EOPNOTSUPP;

	if (step->number == 1 || is_threaded)
		ret = write_in(step->object, is_threaded ? "cgroup.threads" : "tasks", "0");
	if (ret < 0 && step->number == 2)
		ret = write_in(step->object, "cgroup.procs", "0");
	return ret < 0 ? error_set_errno(err, ret, "cannot join the cgroup %s", step->object) : 0;
}

const struct jail_step_ops jail_cgroup_join_step = { "cgroup-join", join, NULL };

/* Version 1's devices controller, where no device program can be had. */
static int limit_devices(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_plan *plan = container_of(jail, struct jail_plan, jail);
	int dir cleanup_fd = open(step->object, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct jail_node nodes[JAIL_BINDS_MAX + JAIL_DEVICES_MAX + 8];
	unsigned int count = jail_nodes(plan, nodes, ARRAY_SIZE(nodes));
	int ret = dir < 0 ? -errno : write_file(dir, "devices.deny", "a");

	for (unsigned int i = 0; i < count && ret == 0; i++) {
		char rule[64];

		snprintf(rule, sizeof(rule), "%c %u:%u %s", nodes[i].is_block ? 'b' : 'c',
			 nodes[i].major, nodes[i].minor, nodes[i].read_only ? "r" : "rw");
		ret = write_file(dir, "devices.allow", rule);
	}
	return ret < 0 ? error_set_errno(err, ret, "cannot limit devices in %s", step->object) : 0;
}

const struct jail_step_ops jail_cgroup_devices1_step = { "devices", limit_devices, NULL };
