/* What an instance left, removed by its record. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "jailer/jail_bpf.h"
#include "jailer/jail_priv.h"
#include "jailer/jail_text.h"
#include "jailer/jail_tree.h"

struct cleanup {
	const char *id;
	int dir;
	bool made_dir;
	struct error *err;
};

static int find_running(const char *kind, char *text, void *opaque)
{
	struct cleanup *cleanup = opaque;

	if (strcmp(kind, "made-dir") == 0)
		cleanup->made_dir = true;
	if (strcmp(kind, "process") != 0 || !jail_record_runs(text))
		return 0;
	return error_set(cleanup->err, EBUSY, "%s is running, as process %.*s; end it first",
			 cleanup->id, (int)strcspn(text, " "), text);
}

/* A process that was killed just now leaves its group a little later. */
static int remove_cgroup(const char *path)
{
	const struct timespec moment = { .tv_nsec = 10000000 };

	for (unsigned int tries = 0; tries < 200; tries++) {
		if (rmdir(path) == 0 || errno == ENOENT)
			return 0;
		if (errno != EBUSY)
			break;
		nanosleep(&moment, NULL);
	}
	return -errno;
}

static int remove_one(const char *kind, char *text, void *opaque)
{
	struct cleanup *cleanup = opaque;
	int ret = 0;

	if (strcmp(kind, "cgroup") == 0)
		ret = remove_cgroup(text);
	else if (strcmp(kind, "cgroup-parent") == 0)
		(void)rmdir(text); /* others may be in it */
	else if (strcmp(kind, "pin") == 0)
		ret = jail_bpf_remove_pins(text);
	else if (strcmp(kind, "tap") == 0)
		ret = jail_bpf_detach_tap(cleanup->id, text);
	else if (strcmp(kind, "made") == 0 && !cleanup->made_dir)
		ret = jail_tree_remove(cleanup->dir, text);
	if (ret < 0)
		return error_set_errno(cleanup->err, ret, "cleanup of %s: cannot remove %s %s",
				       cleanup->id, kind, text);
	return 0;
}

/* The record goes last of what is in the folder: until then the id is taken, and another try finds it. */
static int remove_folder(struct cleanup *cleanup, int parent)
{
	int ret = 0;

	if (cleanup->made_dir)
		ret = jail_tree_remove(cleanup->dir, "root");
	if (ret == 0 && unlinkat(cleanup->dir, JAIL_RECORD, 0) < 0 && errno != ENOENT)
		ret = -errno;
	if (ret < 0)
		return error_set_errno(cleanup->err, ret, "cleanup of %s: cannot remove its folder",
				       cleanup->id);
	/* An empty one without a record is a jailer's that was killed between the two. */
	if (unlinkat(parent, cleanup->id, AT_REMOVEDIR) < 0 && errno != ENOTEMPTY &&
	    errno != ENOENT)
		return error_set_errno(cleanup->err, errno,
				       "cleanup of %s: cannot remove its folder", cleanup->id);
	return 0;
}

static int clean(struct cleanup *cleanup, int parent)
{
	int ret = jail_record_each(cleanup->dir, true, find_running, cleanup);

	if (ret == 0)
		ret = jail_record_each(cleanup->dir, true, remove_one, cleanup);
	/* No record: nothing of ours but maybe an empty folder. */
	if (ret < 0 && !(ret == -ENOENT && cleanup->err->code == 0))
		return ret;
	return remove_folder(cleanup, parent);
}

int jail_cleanup(const char *base, const char *exec_name, const char *id, struct error *err)
{
	struct cleanup cleanup = { .id = id, .dir = -1, .err = err };
	int top cleanup_fd = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int parent cleanup_fd = -1;
	int ret;

	if (top >= 0)
		parent = jail_tree_open(top, exec_name);
	/* No jail of this program's, so none of this id's. */
	if (top < 0 || parent == -ENOENT)
		return top < 0 && errno != ENOENT
			       ? error_set_errno(err, errno, "cannot open %s", base)
			       : 0;
	if (parent < 0)
		return error_set_errno(err, parent, "cannot open %s/%s", base, exec_name);
	if (flock(parent, LOCK_EX) < 0)
		return error_set_errno(err, errno, "cannot lock %s/%s", base, exec_name);
	cleanup.dir = jail_tree_open(parent, id);
	if (cleanup.dir < 0)
		return cleanup.dir == -ENOENT ? 0
					      : error_set_errno(err, cleanup.dir,
								"cannot open the folder of %s", id);
	ret = clean(&cleanup, parent);
	close_fd(&cleanup.dir);
	return ret;
}
