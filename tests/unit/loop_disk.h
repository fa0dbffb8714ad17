/* A block device for a test: a loop device over a file, gone when its descriptor is closed. */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <sys/ioctl.h>

/* Opens /dev/loopN over `image` with this logical block size. Skips the test where there are no
 * loop devices (no root, a container). Each try races with everyone else's, hence several. */
static inline int loop_disk_attach(int image, unsigned int block_size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	for (int i = 0; control >= 0 && i < 20; i++) {
		const struct loop_config config = { .fd = (uint32_t)image,
						    .block_size = block_size,
						    .info.lo_flags = LO_FLAGS_AUTOCLEAR };
		char path[32];
		int fd;

		snprintf(path, sizeof(path), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
			const int read_only = 0;

			/* A device remembers that somebody before us had it read-only (BLKROSET). */
			(void)ioctl(fd, BLKROSET, &read_only);
			close(control);
			return fd;
		}
		if (fd >= 0)
			close(fd);
	}
	cr_skip_test("no loop device to be had");
	return -1;
}
