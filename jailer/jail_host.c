#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "jailer/jail.h"

#define CGROUP_TOP "/sys/fs/cgroup"

static bool is_mounted(const char *path, long magic)
{
	struct statfs info;

	return statfs(path, &info) == 0 && info.f_type == magic;
}

/* Where every distribution has them; a host that mounts them elsewhere has none for us. */
static void find_cgroups(struct jail_host *host)
{
	static const char *const controllers[] = { "cpu", "memory", "pids", "devices", "cpuset" };

	if (is_mounted(CGROUP_TOP, CGROUP2_SUPER_MAGIC)) {
		snprintf(host->cgroup2, sizeof(host->cgroup2), CGROUP_TOP);
		host->version = 2;
		return;
	}
	if (is_mounted(CGROUP_TOP "/unified", CGROUP2_SUPER_MAGIC))
		snprintf(host->cgroup2, sizeof(host->cgroup2), CGROUP_TOP "/unified");
	for (size_t i = 0; i < ARRAY_SIZE(controllers) && !host->version; i++) {
		char path[64];

		snprintf(path, sizeof(path), CGROUP_TOP "/%s", controllers[i]);
		if (!is_mounted(path, CGROUP_SUPER_MAGIC))
			continue;
		snprintf(host->cgroup1, sizeof(host->cgroup1), CGROUP_TOP);
		host->version = 1;
	}
}

/* Its number is given out when the driver loads, so it is looked up. */
static int find_misc_minor(const char *wanted)
{
	FILE *file = fopen("/proc/misc", "re");
	char number[16], name[64];
	int found = -1;

	if (!file)
		return -1;
	while (found < 0 && fscanf(file, "%15s %63s", number, name) == 2)
		if (strcmp(name, wanted) == 0)
			found = (int)strtol(number, NULL, 10);
	fclose(file);
	return found;
}

int jail_host_probe(struct jail_host *host, const struct jail_options *options, struct error *err)
{
	*host = (struct jail_host){ .start_us = clock_now_ns(CLOCK_MONOTONIC) / 1000,
				    .start_cpu_us = clock_now_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000 };
	if (!realpath(options->exec_file, host->exec_path))
		return error_set_errno(err, errno, "--exec-file: cannot find %s",
				       options->exec_file);
	host->exec_name = strrchr(host->exec_path, '/') + 1;
	find_cgroups(host);
	host->userfaultfd_minor = find_misc_minor("userfaultfd");
	host->has_bpffs = is_mounted("/sys/fs/bpf", BPF_FS_MAGIC);
	return 0;
}
