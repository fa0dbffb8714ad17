/*
 * The file behind a drive: opened, checked, measured. Control thread.
 */
#pragma once

#include "base/error.h"

#define BLK_SECTOR 512u

/* All but the descriptor is found out at opening; every size in bytes. */
struct blk_file {
	int fd;
	char drive[32]; /* whose it is, for messages */
	uint64_t size;	/* a multiple of BLK_SECTOR, and of io_align */
	bool read_only;
	bool direct;   /* O_DIRECT: around the page cache */
	bool is_block; /* a block device, not a regular file */
	bool discards; /* can give space back */

	/* Direct I/O wants addresses and offsets (lengths, too) aligned to these; else both 1. */
	uint32_t mem_align;
	uint32_t io_align;

	/* What a guest should know of it: VIRTIO 1.2 section 5.2.4, struct virtio_blk_topology. */
	uint32_t block_size;	   /* logical */
	uint32_t physical_size;	   /* block_size times a power of 2 */
	uint32_t alignment_offset; /* of the first aligned physical block */
	uint32_t min_io;	   /* smallest transfer without a penalty */
	uint32_t opt_io;	   /* best transfer; 0: no wish */
};

struct blk_file_params {
	const char *drive; /* for messages */
	const char *path;  /* or NULL, and then: */
	int fd;		   /* taken over: a failure closes it too */
	bool read_only;
	bool direct;
};

/*
 * Regular files of any size (a rest of less than a sector is not shown to the guest, and logged)
 * and block devices; anything else is refused by name, as is direct I/O where the filesystem has
 * none. A descriptor that has O_DIRECT set is direct whether that was asked for or not.
 */
must_check int blk_file_open(struct blk_file *file, const struct blk_file_params *params,
			     struct error *err);

void blk_file_close(struct blk_file *file);

/* For blk_file.c: fills in alignments, topology and what the file can do, given its size and, of a
 * regular file, st_blksize. -errno: there is no direct I/O on it. */
must_check int blk_file_limits(struct blk_file *file, uint64_t size, uint32_t st_blksize);
