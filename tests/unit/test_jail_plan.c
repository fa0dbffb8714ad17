/* Plans alone: what is planned, in which order, and what is refused before anything is done. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jailer/jail_priv.h"
#include "jailer/jail_record.h"
#include "jailer/jail_tree.h"

static struct jail_options options;
static struct jail_host host;
static struct jail_plan *plan;
static struct error err;
static char dir[] = "/tmp/mayfly-jail-XXXXXX";

static void set_up(void)
{
	options = (struct jail_options){ .id = "a1",
					 .exec_file = "/bin/x",
					 .chroot_base = "/srv/jailer",
					 .uid = 1,
					 .gid = 2,
					 .no_file = 7 };
	host = (struct jail_host){ .cgroup2 = "/sys/fs/cgroup",
				   .version = 2,
				   .userfaultfd_minor = 5,
				   .exec_path = "/bin/x" };
	host.exec_name = host.exec_path + 5;
	err = (struct error){ 0 };
	cr_assert(mkdtemp(dir));
}

static void tear_down(void)
{
	int tmp cleanup_fd = open("/tmp", O_PATH | O_DIRECTORY);

	jail_plan_free(plan);
	plan = NULL;
	cr_assert_eq(jail_tree_remove(tmp, dir + strlen("/tmp/")), 0);
}

TestSuite(jail_plan, .init = set_up, .fini = tear_down);

static int make(void)
{
	return jail_plan_make(&plan, &options, &host, &err);
}

/* Where the first step of this name, with this object if one is given, stands; -1: nowhere. */
static int find(const char *name, const char *object)
{
	for (unsigned int i = 0; i < plan->count; i++)
		if (strcmp(plan->steps[i].ops->name, name) == 0 &&
		    (!object || strcmp(plan->steps[i].object, object) == 0))
			return (int)i;
	return -1;
}

Test(jail_plan, order)
{
	cr_assert_eq(make(), 0, "%s", err.text);
	/* Each before the next, for the reasons that jail_plan.c gives. */
	cr_assert_lt(find("descriptors", NULL), find("program", NULL));
	cr_assert_lt(find("namespaces", NULL), find("directory", NULL));
	cr_assert_lt(find("directory", NULL), find("root", NULL));
	cr_assert_lt(find("root", NULL), find("folder", "/"));
	cr_assert_lt(find("node", "/dev/kvm"), find("devices", NULL));
	cr_assert_lt(find("devices", NULL), find("cgroup-join", NULL));
	cr_assert_lt(find("cgroup-join", NULL), find("cgroup-ns", NULL));
	cr_assert_lt(find("cgroup-ns", NULL), find("pivot", NULL));
	cr_assert_lt(find("pivot", NULL), find("privileges", NULL));
	cr_assert_eq(find("exec", NULL), (int)plan->count - 1);
	cr_assert_geq(find("limit", "core"), 0);
	cr_assert_geq(find("node", "/dev/userfaultfd"), 0);
}

Test(jail_plan, flags_add_steps)
{
	options.new_pid_ns = options.new_user_ns = options.daemonize = options.copy_exec = true;
	cr_assert_eq(make(), 0);
	cr_assert_lt(find("daemon", NULL), find("pid-ns", NULL));
	cr_assert_lt(find("pid-ns", NULL), find("cgroup-join", NULL));
	cr_assert_eq(find("pid-file", NULL), -1, "the namespace's parent writes it");
	cr_assert_lt(find("pivot", NULL), find("user-ns", NULL));
	cr_assert_lt(find("user-ns", NULL), find("privileges", NULL));
	cr_assert_geq(find("copy", "/x"), 0);
}

Test(jail_plan, no_userfaultfd)
{
	host.userfaultfd_minor = -1;
	cr_assert_eq(make(), 0);
	cr_assert_eq(find("node", "/dev/userfaultfd"), -1);
}

Test(jail_plan, version_2)
{
	options.cgroup[0] = (struct jail_setting){ "cpu.weight", "50" };
	options.cgroup_count = 1;
	options.parent_cgroup = "mine";
	cr_assert_eq(make(), 0);
	cr_assert_str_eq(plan->steps[find("cgroup", "/sys/fs/cgroup")].detail, "mine/a1");
	cr_assert_lt(find("cgroup", NULL), find("cgroup-set", "/sys/fs/cgroup/mine/a1/cpu.weight"));
	cr_assert_lt(find("cgroup-set", NULL), find("cgroup-join", NULL));
}

Test(jail_plan, version_1_has_a_group_for_each_controller)
{
	char path[200];

	host.cgroup2[0] = '\0';
	host.version = 1;
	snprintf(host.cgroup1, sizeof(host.cgroup1), "%s", dir);
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "cpu", "pids", "devices" };

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		cr_assert_eq(mkdir(path, 0700), 0);
	}
	options.cgroup[0] = (struct jail_setting){ "cpu.shares", "50" };
	options.cgroup[1] = (struct jail_setting){ "pids.max", "5" };
	options.cgroup[2] = (struct jail_setting){ "cpu.cfs_quota_us", "5" };
	options.cgroup_count = 3;
	cr_assert_eq(make(), 0, "%s", err.text);
	snprintf(path, sizeof(path), "%s/cpu", dir);
	cr_assert_geq(find("cgroup", path), 0);
	snprintf(path, sizeof(path), "%s/cpu/x/a1/cpu.cfs_quota_us", dir);
	cr_assert_geq(find("cgroup-set", path), 0);
	snprintf(path, sizeof(path), "%s/devices/x/a1", dir);
	cr_assert_geq(find("devices", path), 0);
}

Test(jail_plan, what_the_host_lacks_is_refused_by_name)
{
	options.cgroup_version = 1;
	cr_assert_eq(make(), -ENOTSUP);
	cr_assert(strstr(err.text, "--cgroup-version 1"), "%s", err.text);
	options.cgroup_version = 0;
	host.cgroup2[0] = '\0';
	host.version = 0;
	cr_assert_eq(make(), -ENOTSUP);
	cr_assert(strstr(err.text, "--no-device-policy"), "%s", err.text);
	options.no_device_policy = true;
	cr_assert_eq(make(), 0);
	cr_assert_eq(find("devices", NULL), -1);
}

Test(jail_plan, too_many_steps_are_refused)
{
	cr_assert_eq(make(), 0);
	while (plan->full == 0)
		jail_plan_add(plan, &jail_close_step, "x", "y");
	cr_assert_eq(plan->full, -E2BIG);
	cr_assert_eq(plan->count, JAIL_STEPS_MAX);
}

/* The record ------------------------------------------------------------------------------------*/

static char seen[512];

static int note(const char *kind, char *text, void *opaque)
{
	(void)opaque;
	snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s=%s;", kind, text);
	return 0;
}

Test(jail_plan, record)
{
	int at cleanup_fd = open(dir, O_RDONLY | O_DIRECTORY);
	int record cleanup_fd = jail_record_create(at);

	cr_assert_geq(record, 0);
	cr_assert_eq(jail_record_create(at), -EEXIST, "the id is taken");
	cr_assert_eq(jail_record_add(record, "cgroup", "/a b"), 0);
	cr_assert_eq(jail_record_add(record, "made", "root"), 0);
	/* Killed in the middle of a line: what it names was not made. */
	cr_assert_eq(write(record, "made ro", 7), 7);
	cr_assert_eq(jail_record_each(at, true, note, NULL), 0);
	cr_assert_str_eq(seen, "made=root;cgroup=/a b;");
}

Test(jail_plan, record_of_a_process)
{
	int at cleanup_fd = open(dir, O_RDONLY | O_DIRECTORY);
	int proc cleanup_fd = open("/proc", O_PATH);
	int record cleanup_fd = jail_record_create(at);
	char text[64];

	cr_assert_eq(jail_record_process(record, proc, 0), 0);
	cr_assert_eq(jail_record_each(at, false, note, NULL), 0);
	cr_assert_eq(sscanf(seen, "process=%63[^;]", text), 1);
	cr_assert(jail_record_runs(text), "%s", text);
	text[strlen(text) - 1] ^= 1;
	cr_assert_not(jail_record_runs(text), "the number is another's by now");
	cr_assert_not(jail_record_runs("no number"));
}

/* Trees -----------------------------------------------------------------------------------------*/

Test(jail_plan, removal_follows_no_link)
{
	int at cleanup_fd = open(dir, O_RDONLY | O_DIRECTORY);
	int file cleanup_fd = -1;

	cr_assert_eq(mkdirat(at, "keep", 0700), 0);
	file = openat(at, "keep/file", O_CREAT | O_WRONLY, 0600);
	cr_assert_geq(file, 0);
	cr_assert_eq(mkdirat(at, "gone", 0700), 0);
	cr_assert_eq(mkdirat(at, "gone/deep", 0700), 0);
	cr_assert_eq(symlinkat("../../keep", at, "gone/deep/link"), 0);
	cr_assert_eq(linkat(at, "keep/file", at, "gone/hard", 0), 0);
	cr_assert_eq(symlinkat("gone", at, "alias"), 0);
	cr_assert_eq(jail_tree_remove(at, "alias/deep"), -ELOOP, "by way of a link");
	cr_assert_eq(faccessat(at, "gone/deep", F_OK, 0), 0);
	cr_assert_eq(jail_tree_remove(at, "gone"), 0);
	cr_assert_eq(jail_tree_remove(at, "gone"), 0, "a second time");
	cr_assert_neq(faccessat(at, "gone", F_OK, 0), 0);
	cr_assert_eq(faccessat(at, "keep/file", F_OK, 0), 0);
	cr_assert_eq(jail_tree_open(at, "../etc"), -EXDEV, "out of the folder");
}
