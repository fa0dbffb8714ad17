/*
 * Guest memory whose pages are a file's: a kernel image, an initrd, later a snapshot. When such a
 * file is cut short while the guest runs, its pages vanish: a thread of ours that touches one gets
 * SIGBUS, KVM_RUN gets EFAULT, or, where KVM fetches the page asynchronously, the vCPU retries for
 * ever. So besides naming the file after the fact, we ask the kernel to tell us (inotify).
 *
 * The table is filled before the machine runs and constant afterwards.
 */
#pragma once

#include "base/error.h"

#define FILE_BACKINGS_MAX 20u

struct file_backing {
	const uint8_t *host; /* [host, host + len) is mapped from the file */
	uint64_t len;
	uint64_t file_end; /* the file must be at least this long, bytes */
	int fd;		   /* ours */
	const char *path;  /* borrowed, for messages */
};

struct file_backings {
	struct file_backing entries[FILE_BACKINGS_MAX];
	unsigned int count;
};

/* Remembers a mapping; keeps a duplicate of fd. -ENOSPC when the table is full. */
must_check int file_backings_add(struct file_backings *backings, const void *host, uint64_t len,
				 uint64_t file_end, int fd, const char *path, struct error *err);

/* The path of a file that is now shorter than its mappings, or NULL. Async-signal-safe. */
const char *file_backings_lost(const struct file_backings *backings);

/* The path of the file behind an address of ours, or NULL. Async-signal-safe. */
const char *file_backings_at(const struct file_backings *backings, const void *addr);

/*
 * Has an inotify descriptor become readable when the file is changed. -errno where the kernel does not (too many
 * watches: then only the errors themselves tell). path is for where there is no /proc; NULL: none.
 */
must_check int file_watch(int inotify, int fd, const char *path);

/* The same for all of them. */
must_check int file_backings_watch(const struct file_backings *backings, int inotify);

void file_backings_fini(struct file_backings *backings);
