/* What keeps a microVM in its jail, and how many a host takes. */
#include <fcntl.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "cmd/check_host_priv.h"

#define BTF "sys/kernel/btf/vmlinux"
#define FILES_LEAST 4096
#define PIDS_LEAST 65536
#define TASKS_PER_VM \
	4 /* of a microVM with one vCPU: control, io0, vCPU and its jailer, for a moment */

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif

static int read_cgroup_mounts(const struct host *host, struct cgroup_mounts *mounts)
{
	int fd = openat(host->root, "proc/mounts", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char line[1024];

	*mounts = (struct cgroup_mounts){ 0 };
	if (!file) {
		int ret = -errno;

		close_fd(&fd);
		return ret;
	}
	while (fgets(line, sizeof(line), file))
		cgroup_mounts_add(mounts, line);
	fclose(file);
	return 0;
}

static void run_cgroup_version(const struct host *host, const struct host_check *check,
			       struct check_result *result)
{
	struct cgroup_mounts mounts;
	int ret = read_cgroup_mounts(host, &mounts);

	if (ret)
		check_unknown(result, "proc/mounts", ret);
	else if (mounts.v1 == 0 && !mounts.v2[0])
		check_set(result, CHECK_MISSING, "no cgroups are mounted");
	else if (mounts.v1 == 0)
		check_set(result, CHECK_OK, "version 2 at %s", mounts.v2);
	else
		check_set(result, mounts.favordynmods ? CHECK_OK : check->lack,
			  "version 1, %u hierarchies%s%s", mounts.v1,
			  mounts.v2[0] ? ", and version 2 beside it" : "",
			  mounts.favordynmods ? ", favordynmods" : "");
	if (result->state == CHECK_MISSING) {
		result->cost = "the jailer cannot limit what a microVM takes";
		result->advice = "mount -t cgroup2 none /sys/fs/cgroup";
	}
}

static void run_cgroup_controllers(const struct host *host, const struct host_check *check,
				   struct check_result *result)
{
	static const char *const wanted[] = { "cpu", "cpuset", "memory", "io", "pids" };
	char path[192], have[512], lacking[64] = "";
	struct cgroup_mounts mounts;
	int ret = read_cgroup_mounts(host, &mounts);

	snprintf(path, sizeof(path), "%s/cgroup.controllers", mounts.v2 + (mounts.v2[0] == '/'));
	if (ret == 0 && mounts.v2[0])
		ret = host_read(host, path, have, sizeof(have));
	if (ret < 0) {
		check_unknown(result, mounts.v2[0] ? path : "proc/mounts", ret);
		return;
	}
	for (size_t i = 0; mounts.v2[0] && i < ARRAY_SIZE(wanted); i++)
		if (!check_parse_has_word(have, wanted[i]))
			check_append_word(lacking, sizeof(lacking), ", ", wanted[i]);
	if (!mounts.v2[0])
		check_set(result, check->lack, "no version 2 hierarchy");
	else if (lacking[0])
		check_set(result, check->lack, "version 2 lacks %s", lacking);
	else
		check_set(result, CHECK_OK, "cpu, cpuset, memory, io, pids");
}

static void run_seccomp(const struct host *host, const struct host_check *check,
			struct check_result *result)
{
	uint32_t action = SECCOMP_RET_KILL_PROCESS;

	(void)host;
	if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action))
		check_set(result, check->lack, "no: %s", strerror(errno));
	else
		check_set(result, CHECK_OK, "yes");
}

static void run_landlock(const struct host *host, const struct host_check *check,
			 struct check_result *result)
{
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1u); /* asks for the version */

	(void)host;
	if (abi < 0)
		check_set(result, check->lack, "no: %s", strerror(errno));
	else
		check_set(result, CHECK_OK, "version %ld", abi);
}

static void run_btf(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	if (faccessat(host->root, BTF, R_OK, 0))
		check_set(result, check->lack, "no /" BTF);
	else
		check_set(result, CHECK_OK, "yes");
}

static void run_files(const struct host *host, const struct host_check *check,
		      struct check_result *result)
{
	struct rlimit limit;

	(void)host;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		check_set(result, CHECK_UNKNOWN, "getrlimit: %s", strerror(errno));
	else
		check_set(result, limit.rlim_max < FILES_LEAST ? check->lack : CHECK_OK,
			  "%llu, at most %llu", (unsigned long long)limit.rlim_cur,
			  (unsigned long long)limit.rlim_max);
}

static void run_pids(const struct host *host, const struct host_check *check,
		     struct check_result *result)
{
	long long pids;
	int ret = host_read_number(host, "proc/sys/kernel/pid_max", &pids);

	if (ret < 0)
		check_unknown(result, "proc/sys/kernel/pid_max", ret);
	else
		check_set(result, pids < PIDS_LEAST ? check->lack : CHECK_OK,
			  "%lld: room for about %lld microVMs", pids, pids / TASKS_PER_VM);
}

static const struct host_check checks[] = {
	{ .id = "cgroup_version",
	  .title = "cgroup version",
	  .run = run_cgroup_version,
	  .lack = CHECK_SLOW,
	  .cost = "joining a cgroup, and KVM_CREATE_VM in one, wait for a grace period (Firecracker "
		  "measured 27 ms)",
	  .advice = "boot with systemd.unified_cgroup_hierarchy=1; or remount version 1 with "
		    "favordynmods" },
	{ .id = "cgroup_controllers",
	  .title = "cgroup controllers",
	  .run = run_cgroup_controllers,
	  .lack = CHECK_MISSING,
	  .cost = "the jailer cannot limit these for a microVM",
	  .advice = "use version 2 with all controllers (no cgroup_disable= at boot)" },
	{ .id = "seccomp",
	  .title = "seccomp",
	  .run = run_seccomp,
	  .lack = CHECK_MISSING,
	  .cost = "a monitor that was broken into has every system call",
	  .advice = "use a kernel with CONFIG_SECCOMP_FILTER" },
	{ .id = "landlock",
	  .title = "Landlock",
	  .run = run_landlock,
	  .lack = CHECK_MISSING,
	  .cost = "a monitor without a jail sees every file of its user",
	  .advice = "add landlock to lsm= at boot (CONFIG_SECURITY_LANDLOCK)" },
	{ .id = "btf",
	  .title = "BTF, for BPF",
	  .run = run_btf,
	  .lack = CHECK_MISSING,
	  .cost = "no policy and metrics in BPF for each microVM",
	  .advice = "use a kernel with CONFIG_DEBUG_INFO_BTF" },
	{ .id = "open_files",
	  .title = "open files",
	  .run = run_files,
	  .lack = CHECK_MISSING,
	  .cost = "one daemon cannot hold the descriptors of a thousand microVMs",
	  .advice = "raise the hard limit (LimitNOFILE= of the service)" },
	{ .id = "pid_max",
	  .title = "process ids",
	  .run = run_pids,
	  .lack = CHECK_MISSING,
	  .cost = "the host takes only as many microVMs",
	  .advice = "sysctl kernel.pid_max=4194304" },
};

const struct check_group check_isolation = { "Isolation and limits", checks, ARRAY_SIZE(checks) };
