/*
 * The file behind a drive: opened, checked, measured. Control thread.
 */
#pragma once

#include "base/error.h"

#define BLK_SECTOR 512u

struct blk_file {
	int fd;
	uint64_t size; /* bytes, a multiple of BLK_SECTOR */
	bool read_only;
};

/*
 * Opens `path`, or takes `fd` over when path is NULL (a failure closes it too: it was handed to
 * us). `drive` names it in messages. Regular files of any size (a rest of less than a sector is
 * not shown to the guest, and logged) and block devices; anything else is refused by name.
 */
must_check int blk_file_open(struct blk_file *file, const char *drive, const char *path, int fd,
			     bool read_only, struct error *err);

void blk_file_close(struct blk_file *file);
