/* The file that drives are driven on by hand: small, without a name, and in the page cache. */
#pragma once

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK 4096u
#define BLOCKS 2048u /* 8 MiB */

/* Its descriptor; a folder that takes none ends the program. */
static inline int make_cached_file(const char *folder)
{
	static char block[BLOCK];
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/mayfly-bench-XXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd < 0)
		err(1, "%s", name);
	unlink(name);
	for (unsigned int i = 0; i < BLOCKS; i++)
		if (write(fd, block, sizeof(block)) != BLOCK)
			err(1, "%s", name);
	return fd;
}
