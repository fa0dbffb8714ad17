/*
 * What an initramfs does before the real root filesystem: modules, in an order that was worked out
 * when the image was made (no depmod, no uevents), then root=, as the kernel itself would mount it.
 */
#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define DEVICE_WAIT_MS 10000

void load_modules(void)
{
	char path[256];
	FILE *list = fopen(MODULE_LIST, "re");

	while (list && fgets(path, sizeof(path), list)) {
		path[strcspn(path, "\n")] = '\0';
		int fd = open(path, O_RDONLY | O_CLOEXEC);

		/* ENODEV: this CPU lacks what it is for. Nothing here ends the boot; what is missing will be missed. */
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST && errno != ENODEV))
			fail("cannot load %s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (list)
		fclose(list);
}

/* Removes a file if it is on the initramfs itself; what is mounted over it stays. */
static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)ftw;
	if (type == FTW_DP)
		rmdir(path);
	else
		unlink(path);
	return 0;
}

static void wait_for(const char *device)
{
	for (int ms = 0; access(device, F_OK); ms += 5) {
		if (ms >= DEVICE_WAIT_MS) {
			fail("root=%s: no such device after %d s", device, DEVICE_WAIT_MS / 1000);
			end_machine("panic");
		}
		usleep(5000);
	}
}

static void mount_root(const char *device, const char *types, unsigned long flags, const char *options)
{
	char list[128];
	char *rest = list;

	snprintf(list, sizeof(list), "%s", types);
	for (char *type = strsep(&rest, ","); type; type = strsep(&rest, ","))
		if (!mount(device, "/newroot", type, flags, options))
			return;
	fail("root=%s: cannot mount it as any of %s: %s", device, types, strerror(errno));
	end_machine("panic");
}

/* The same last steps as switch_root(8): mounts moved, the initramfs emptied, its root covered. */
static _Noreturn void enter_root(char **argv)
{
	static const char *const dirs[] = { "/dev", "/proc", "/sys", "/run", "/tmp" };
	char to[32];

	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		snprintf(to, sizeof(to), "/newroot%s", dirs[i]);
		if (mount(dirs[i], to, NULL, MS_MOVE, NULL))
			umount2(dirs[i], MNT_DETACH);
	}
	nftw("/", remove_one, 16, FTW_DEPTH | FTW_MOUNT | FTW_PHYS);
	if (chdir("/newroot") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/")) {
		fail("cannot enter the root filesystem: %s", strerror(errno));
		end_machine("panic");
	}
	argv[0] = "/sbin/init";
	execv(argv[0], argv);
	fail("cannot run /sbin/init of the root filesystem: %s", strerror(errno));
	end_machine("panic");
}

void switch_root(char **argv)
{
	char line[4096], device[128] = "", types[64] = "ext4,squashfs,erofs", options[128] = "";
	unsigned long flags = MS_RDONLY; /* the kernel's own default */
	char *rest = line;

	if (!read_line("/proc/cmdline", line, sizeof(line)))
		return;
	for (char *word = strsep(&rest, " "); word; word = strsep(&rest, " ")) {
		if (!strcmp(word, "--"))
			break;
		else if (!strncmp(word, "root=/dev/", 10))
			snprintf(device, sizeof(device), "%s", word + 5);
		else if (!strncmp(word, "rootfstype=", 11))
			snprintf(types, sizeof(types), "%s", word + 11);
		else if (!strncmp(word, "rootflags=", 10))
			snprintf(options, sizeof(options), "%s", word + 10);
		else if (!strcmp(word, "rw"))
			flags = 0;
		else if (!strcmp(word, "ro"))
			flags = MS_RDONLY;
	}
	if (!device[0])
		return;
	mkdir("/newroot", 0755);
	wait_for(device);
	mount_root(device, types, flags, options);
	enter_root(argv);
}
