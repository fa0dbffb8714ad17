/* What a first process owes the others: modules, mounts, a root filesystem; and their end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"

#define MODULE_LIST "/modules/list"
#define PATIENCE_MS 10000 /* for the disk */

/* A kernel without modules, or another one than they are for, refuses them: it has what it needs, or
 * what it lacks will be missed. */
static void load_modules(void)
{
	char path[256];
	FILE *list = fopen(MODULE_LIST, "re");

	while (list && fgets(path, sizeof(path), list)) {
		path[strcspn(path, "\n")] = '\0';
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		syscall(SYS_finit_module, fd, "", 0);
		close(fd);
	}
	if (list)
		fclose(list);
}

static const struct {
	const char *type, *dir, *options;
	unsigned long flags;
} mounts[] = {
	{ "proc", "proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "sysfs", "sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC },
	{ "devtmpfs", "dev", "mode=0755", MS_NOSUID },
	{ "devpts", "dev/pts", "mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "dev/shm", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "tmp", "mode=1777", MS_NOSUID | MS_NODEV },
	{ "tmpfs", "run", "mode=0755", MS_NOSUID | MS_NODEV },
};

/* In the current directory. Where a root filesystem has no such folder, and cannot get one, it does
 * without. */
static void mount_basics(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
		mkdir(mounts[i].dir, 0755);
		mount(mounts[i].type, mounts[i].dir, mounts[i].type, mounts[i].flags, mounts[i].options);
	}
	if (symlink("/proc/self/fd", "dev/fd") || symlink("/proc/self/fd/0", "dev/stdin") ||
	    symlink("/proc/self/fd/1", "dev/stdout") || symlink("/proc/self/fd/2", "dev/stderr"))
		return; /* devtmpfs is one for all mounts: they are there */
}

/* What the kernel would do with root=, rootfstype=, rootflags=, ro and rw. */
struct root {
	char device[128], types[64], data[256];
	unsigned long flags;
};

static void read_root(struct root *root, char *cmdline)
{
	for (char *word = strsep(&cmdline, " \n"); word; word = strsep(&cmdline, " \n")) {
		if (!strcmp(word, "--"))
			break;
		else if (!strncmp(word, "root=/dev/", 10))
			snprintf(root->device, sizeof(root->device), "%s", word + 5);
		else if (!strncmp(word, "rootfstype=", 11))
			snprintf(root->types, sizeof(root->types), "%s", word + 11);
		else if (!strncmp(word, "rootflags=", 10))
			snprintf(root->data, sizeof(root->data), "%s", word + 10);
		else if (!strcmp(word, "rw"))
			root->flags &= ~(unsigned long)MS_RDONLY;
		else if (!strcmp(word, "ro"))
			root->flags |= MS_RDONLY;
	}
}

static void mount_root(const struct root *root)
{
	char list[sizeof(root->types)];
	char *rest = list;

	for (int ms = 0; access(root->device, F_OK); ms += 5) {
		if (ms >= PATIENCE_MS)
			give_up("root=%s: there is no such device", root->device);
		usleep(5000);
	}
	mkdir("/newroot", 0755);
	memcpy(list, root->types, sizeof(list));
	for (char *type = strsep(&rest, ","); type; type = strsep(&rest, ","))
		if (!mount(root->device, "/newroot", type, root->flags, *root->data ? root->data : NULL))
			return;
	give_up("root=%s: cannot mount it as any of %s: %s", root->device, root->types, strerror(errno));
}

/* The initramfs stays below: it is small, and this program is of it. */
static void enter_root(void)
{
	struct root root = { .types = "ext4,erofs,squashfs", .flags = MS_RDONLY };
	char cmdline[4096];
	int fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? 0 : read(fd, cmdline, sizeof(cmdline) - 1);

	if (fd >= 0)
		close(fd);
	cmdline[len > 0 ? len : 0] = '\0';
	read_root(&root, cmdline);
	if (!*root.device)
		return;
	mount_root(&root);
	if (chdir("/newroot") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		give_up("cannot enter the root filesystem: %s", strerror(errno));
	mount_basics();
}

void set_up_system(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int s;

	signal(SIGPIPE, SIG_IGN);
	umask(022);
	if (chdir("/"))
		say("no /");
	mount_basics();
	load_modules();
	enter_root();
	s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (s >= 0) {
		ioctl(s, SIOCSIFFLAGS, &lo);
		close(s);
	}
	sethostname("mayfly", 6);
	setenv("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/root", 1);
}

void tear_down_system(void)
{
	kill(-1, SIGKILL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	sync();
	mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL);
	sync();
}
