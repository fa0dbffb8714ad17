/* /dev/kvm: is it there, may we use it, what is behind it? */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>

#include "cmd/check_host_priv.h"

/* More than this for an empty VM is more than mayfly needs for all the rest. */
#define CREATE_VM_SLOW_US 5000

/* The group's name; its number where /etc/group does not know it. getgrgid() would load shared
 * libraries, which a static program must not. */
static void group_name(const struct host *host, unsigned int gid, char *name, size_t size)
{
	char groups[16384];

	snprintf(name, size, "%u", gid);
	if (host_read(host, "etc/group", groups, sizeof(groups)) < 0)
		return;
	for (char *line = groups, *end; *line; line = end) {
		end = line + strcspn(line, "\n");
		if (*end)
			*end++ = '\0';
		if (check_parse_group_line(line, gid, name, size))
			return;
	}
}

/* Who may open it? The owner's group, usually "kvm", or root alone. */
static void no_right(const struct host *host, const struct host_check *check,
		     struct check_result *result)
{
	char group[32];
	struct stat st;

	if (fstatat(host->root, "dev/kvm", &st, 0) || (st.st_mode & 0060) != 0060) {
		check_set(result, check->lack, "no right to open it; only its owner has it");
		result->advice = "run as root, or chgrp kvm /dev/kvm, chmod 660 /dev/kvm and join "
				 "that group; in a container, allow the device";
		return;
	}
	group_name(host, st.st_gid, group, sizeof(group));
	check_set(result, check->lack, "no right to open it; group %s has it", group);
	result->advice =
		"run as root, or join that group (usermod -aG GROUP USER) and log in again; "
		"in a container, allow the device";
}

static void run_device(const struct host *host, const struct host_check *check,
		       struct check_result *result)
{
	if (host->kvm >= 0) {
		check_set(result, CHECK_OK, "can be opened");
		return;
	}
	check_set(result, check->lack, "cannot be opened: %s", strerror(-host->kvm));
	if (host->kvm == -EACCES || host->kvm == -EPERM)
		no_right(host, check, result);
	else if (host->kvm == -ENODEV || host->kvm == -ENXIO)
		result->advice = "switch on VT-x or AMD-V in the firmware, then load kvm_intel or "
				 "kvm_amd; dmesg says why one refused";
}

static void run_api(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	int version = host->kvm < 0 ? -1 : ioctl(host->kvm, KVM_GET_API_VERSION, 0);

	if (host->kvm < 0)
		check_set(result, CHECK_UNKNOWN, "needs /dev/kvm");
	else
		check_set(result, version == KVM_API_VERSION ? CHECK_OK : check->lack, "%d",
			  version);
}

static void run_guest(const struct host *host, const struct host_check *check,
		      struct check_result *result)
{
	if (host->quality == KVM_QUALITY_HARDWARE)
		check_set(result, CHECK_OK, "runs what kernels use");
	else
		check_set(result, check->lack, "%s", host->kvm_error.text);
	if (host->quality == KVM_QUALITY_NONE) {
		result->cost = "no guest runs";
		result->advice = host->kvm < 0
					 ? "see /dev/kvm above"
					 : "see dmesg; another hypervisor may hold the processor";
	}
}

/* Neither module is there when KVM is a software one; with KVM built in, both show under /sys. */
static void run_nested_paging(const struct host *host, const struct host_check *check,
			      struct check_result *result)
{
	int ept = host_read_bool(host, "sys/module/kvm_intel/parameters/ept");
	int npt = host_read_bool(host, "sys/module/kvm_amd/parameters/npt");

	if (ept > 0 || npt > 0)
		check_set(result, CHECK_OK, "%s", ept > 0 ? "EPT" : "NPT");
	else if (ept == 0 || npt == 0)
		check_set(result, check->lack, "off (%s=0)",
			  ept == 0 ? "kvm_intel.ept" : "kvm_amd.npt");
	else if (faccessat(host->root, "sys/module", F_OK, 0))
		check_unknown(result, "sys/module", -errno);
	else
		check_set(result, check->lack, "neither kvm_intel nor kvm_amd is loaded");
}

static long create_vm_us(int kvm)
{
	struct timespec start, end;
	cleanup_fd int vm = -1;

	clock_gettime(CLOCK_MONOTONIC, &start);
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (vm < 0)
		return -1;
	return (end.tv_sec - start.tv_sec) * 1000000 + (end.tv_nsec - start.tv_nsec) / 1000;
}

/* The best of three, while another VM keeps the processors' virtualization switched on: what each
 * start costs on a host that is in use. */
static void run_create_vm(const struct host *host, const struct host_check *check,
			  struct check_result *result)
{
	cleanup_fd int holder = host->kvm < 0 ? -1 : ioctl(host->kvm, KVM_CREATE_VM, 0);
	long best = -1;

	for (int i = 0; holder >= 0 && i < 3; i++) {
		long us = create_vm_us(host->kvm);

		if (us >= 0 && (best < 0 || us < best))
			best = us;
	}
	if (best < 0)
		check_set(result, CHECK_UNKNOWN, "no VM to be had");
	else
		check_set(result, best > CREATE_VM_SLOW_US ? check->lack : CHECK_OK, "%ld.%02ld ms",
			  best / 1000, best % 1000 / 10);
}

static const struct host_check checks[] = {
	{ .id = "kvm_device",
	  .title = "/dev/kvm",
	  .run = run_device,
	  .lack = CHECK_CANNOT_RUN,
	  .cost = "no guest runs",
	  .advice = "modprobe kvm_intel or kvm_amd; in a container, pass the device in "
		    "(--device /dev/kvm)" },
	{ .id = "kvm_api",
	  .title = "API version",
	  .run = run_api,
	  .lack = CHECK_CANNOT_RUN,
	  .cost = "no guest runs: mayfly speaks version 12",
	  .advice = "use a kernel of this century" },
	{ .id = "kvm_guest",
	  .title = "a test guest",
	  .run = run_guest,
	  .lack = CHECK_CANNOT_RUN,
	  .cost = "guest ring 0 is emulated, about 2 million instructions a second, and many "
		  "fail: payload guests only, no kernel",
	  .advice = "use a host with VT-x or AMD-V; for tests, tests/lab/lab -- COMMAND" },
	{ .id = "kvm_nested_paging",
	  .title = "nested paging",
	  .run = run_nested_paging,
	  .lack = CHECK_SLOW,
	  .cost = "page tables are shadowed: slower guests, and memory slots take time by size",
	  .advice = "load kvm_intel with ept=1, kvm_amd with npt=1" },
	{ .id = "kvm_create_vm",
	  .title = "making a VM",
	  .run = run_create_vm,
	  .lack = CHECK_SLOW,
	  .cost = "each start waits as long",
	  .advice = "see cgroup version and NX huge pages; a pool of prepared VMs hides it" },
};

const struct check_group check_kvm = { "KVM", checks, ARRAY_SIZE(checks) };
