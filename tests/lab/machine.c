#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#define OLD_ROOT "/.lab-export"

static void mount_or_fail(const char *type, const char *target, unsigned long flags,
			  const char *options)
{
	if (mount(type, target, type, flags, options))
		lab_fail("cannot mount %s on %s", type, target);
}

void mount_devices(void)
{
	mount_or_fail("devtmpfs", "/dev", MS_NOSUID, "mode=755");
}

void load_modules(const char *list, const char *dir)
{
	char name[512], path[1024];
	FILE *f = fopen(list, "re");

	while (f && fgets(name, sizeof(name), f)) {
		name[strcspn(name, "\n")] = 0;
		snprintf(path, sizeof(path), "%s/%s", dir, name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST))
			lab_fail("cannot load %s", path);
		close(fd);
	}
	if (f)
		fclose(f);
}

/* Makes a folder and the ones above it, each with the mode it has on the machine. */
static void make_folder(const char *path)
{
	char part[PATH_MAX], there[PATH_MAX + 64];
	struct stat st;

	snprintf(part, sizeof(part), "%s", path);
	for (char *p = part + 1;; *p++ = '/') {
		p = strchrnul(p, '/');
		bool last = !*p;
		*p = 0;
		snprintf(there, sizeof(there), "%s/overlay%s", OLD_ROOT, part);
		mode_t mode = stat(there, &st) ? 0755 : st.st_mode & 07777;
		/* chmod, since umask must not matter */
		if (!mkdir(part, mode) && chmod(part, mode))
			lab_fail("cannot set the mode of %s", part);
		if (last)
			break;
	}
	if (stat(path, &st))
		lab_fail("cannot make %s", path);
}

static void bind_from_export(const char *source, const char *target)
{
	char from[PATH_MAX + 64];

	snprintf(from, sizeof(from), "%s/%s", OLD_ROOT, source);
	make_folder(target);
	if (mount(from, target, NULL, MS_BIND, NULL))
		lab_fail("cannot bind %s", target);
}

/* pivot_root and not chroot: jails inside must be able to do the same, and the kernel's own modprobe
 * runs in the root that kernel threads have, which pivot_root changes too. */
static void enter_overlay(void)
{
	mount_or_fail("tmpfs", "/scratch", 0, "mode=755,size=75%");
	if (mkdir("/scratch/upper", 0755) || mkdir("/scratch/work", 0755))
		lab_fail("cannot make the overlay's folders");
	mount_or_fail(
		"overlay", "/overlay", 0,
		"lowerdir=/root,upperdir=/scratch/upper,workdir=/scratch/work,redirect_dir=on,xino=off");
	if (mkdir("/overlay" OLD_ROOT, 0700))
		lab_fail("cannot make %s", OLD_ROOT);
	if (syscall(SYS_pivot_root, "/overlay", "/overlay" OLD_ROOT) || chdir("/"))
		lab_fail("cannot change the root");
	/* A second view of the overlay, to reach what /tmp and /run are about to hide. */
	if (mount("/", OLD_ROOT "/overlay", NULL, MS_BIND, NULL))
		lab_fail("cannot bind the overlay");
}

static void mount_kernel_filesystems(void)
{
	const unsigned long safe = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	mkdir("/proc", 0555);
	mkdir("/sys", 0555);
	mkdir("/dev", 0755);
	mount_or_fail("proc", "/proc", safe, NULL);
	mount_or_fail("sysfs", "/sys", safe, NULL);
	mount_or_fail("cgroup2", "/sys/fs/cgroup", safe, "nsdelegate");
	mount_or_fail("bpf", "/sys/fs/bpf", safe, "mode=700");
	mount_or_fail("debugfs", "/sys/kernel/debug", safe, NULL);
	mount_or_fail("tracefs", "/sys/kernel/tracing", safe, NULL);
	mount_or_fail("securityfs", "/sys/kernel/security", safe, NULL);
	mount_devices();
	mkdir("/dev/pts", 0755);
	mkdir("/dev/shm", 01777);
	mkdir("/dev/mqueue", 01777);
	mount_or_fail("devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "mode=620,ptmxmode=666,gid=5");
	mount_or_fail("tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_or_fail("mqueue", "/dev/mqueue", safe, NULL);
}

static void mount_fresh_folders(void)
{
	mkdir("/tmp", 01777);
	mkdir("/run", 0755);
	/* With devices, unlike elsewhere: jails are built there. */
	mount_or_fail("tmpfs", "/tmp", 0, "mode=1777");
	mount_or_fail("tmpfs", "/run", 0, "mode=755");
	mkdir("/run/lock", 01777);
}

static void mount_modules(void)
{
	char path[200];
	struct utsname name;

	uname(&name);
	snprintf(path, sizeof(path), "/lib/modules/%s", name.release);
	bind_from_export("lib-modules", path);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		lab_fail("cannot write %s to %s", text, path);
	close(fd);
}

/* From a line "MODULE NAME cMAJOR:MINOR" of modules.devname. */
static void make_module_node(char *line)
{
	char path[128], *rest, *end;
	const char *module = strtok_r(line, " \n", &rest);
	const char *name = strtok_r(NULL, " \n", &rest), *device = strtok_r(NULL, " \n", &rest);

	if (!module || *module == '#' || !name || !device)
		return;
	unsigned long major = strtoul(device + 1, &end, 10);
	unsigned long minor = *end == ':' ? strtoul(end + 1, NULL, 10) : 0;
	snprintf(path, sizeof(path), "/dev/%s", name);
	for (char *p = strchr(path + 5, '/'); p; p = strchr(p + 1, '/')) {
		*p = 0;
		mkdir(path, 0755);
		*p = '/';
	}
	mknod(path, (*device == 'c' ? S_IFCHR : S_IFBLK) | 0600, makedev(major, minor));
}

/* What udev does elsewhere: nodes that load their module when they are opened. */
static void make_module_nodes(void)
{
	char line[256];
	FILE *f = fopen(OLD_ROOT "/lib-modules/modules.devname", "re");

	while (f && fgets(line, sizeof(line), f))
		make_module_node(line);
	if (f)
		fclose(f);
}

static void link_standard_streams(void)
{
	if (symlink("/proc/self/fd", "/dev/fd") || symlink("/proc/self/fd/0", "/dev/stdin") ||
	    symlink("/proc/self/fd/1", "/dev/stdout") || symlink("/proc/self/fd/2", "/dev/stderr"))
		lab_fail("cannot link the standard streams");
}

static void enable_controllers(void)
{
	char all[512] = "", *name, *rest;
	int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, all, sizeof(all) - 1) < 0)
		lab_fail("cannot read the cgroup controllers");
	close(fd);
	for (name = strtok_r(all, " \n", &rest); name; name = strtok_r(NULL, " \n", &rest)) {
		char text[64];
		snprintf(text, sizeof(text), "+%s", name);
		put("/sys/fs/cgroup/cgroup.subtree_control", text);
	}
}

/* The first child with a cpuset, a memory controller or a quota, and the last one's end, flip static keys
 * on paths that every CPU runs (cpusets_enabled_key is asked at each page allocation): see hold-vm.c for
 * what such a patch may do to an emulated host. One empty child that stays keeps them as they are. */
static void hold_cgroup(void)
{
	if (mkdir("/sys/fs/cgroup/held", 0755))
		lab_fail("cannot make a cgroup");
	put("/sys/fs/cgroup/held/cpu.max", "100000 100000");
}

static void start_loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo))
		lab_fail("cannot bring lo up");
	close(fd);
	if (sethostname("lab", 3))
		lab_fail("cannot set the host name");
}

static bool shares_writable(const struct job *job)
{
	for (size_t i = 0; i < job->nbinds; i++)
		if (!strncmp(job->binds[i].source, "rw/", 3))
			return true;
	return false;
}

void mount_machine(const struct job *job)
{
	if (shares_writable(job) && mount("rw", "/rw", "virtiofs", 0, NULL))
		lab_fail("cannot mount the writable folders");
	enter_overlay();
	mount_kernel_filesystems();
	mount_fresh_folders();
	for (size_t i = 0; i < job->nbinds; i++)
		bind_from_export(job->binds[i].source, job->binds[i].target);
	mount_modules();
	make_module_nodes();
	link_standard_streams();
	enable_controllers();
	hold_cgroup();
	start_loopback();
	/* As a service manager sets it; the kernel's own 4096 is too few for a host of many VMs. */
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 524288 });
	if (umount2(OLD_ROOT, MNT_DETACH) || rmdir(OLD_ROOT))
		lab_fail("cannot leave the export");
}
