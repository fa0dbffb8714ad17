/*
 * A file that takes another's place as a whole or not at all: written beside its target, made durable,
 * renamed over it. Whoever opens the target finds the old file or the new one, whenever the process or
 * the host dies. What is left of a save that died is replaced by the next one to the same target.
 *
 * One thread; nothing here needs /proc.
 */
#pragma once

#include "base/error.h"

struct new_file {
	int fd;	 /* open for reading and writing; -1 when there is none */
	int dir; /* the folder it is in; -1 when it has no name */
	int old; /* whose place it took, kept until the end; -1 when there is none */
	const char *path;
	char *name, *target; /* in the folder: now, and when committed */
};

#define NEW_FILE_NONE ((struct new_file){ .fd = -1, .dir = -1, .old = -1 })

/* An empty file beside `path` (borrowed). On failure nothing is left to undo. */
must_check int new_file_open(struct new_file *file, const char *path, struct error *err);

/*
 * The same for a file that is there and has no name here: a copy of `fd`, emptied unless its contents are to be kept, which
 * is written in place. Renaming it and syncing its folder do nothing. name (borrowed) is for messages. -EINVAL: it is no
 * regular file that can be read and written.
 */
must_check int new_file_take(struct new_file *file, int fd, bool keep, const char *name,
			     struct error *err);

/* Its contents are durable when it returns. */
must_check int new_file_sync(const struct new_file *file, struct error *err);

/* Takes the target's place; durable after new_file_sync_folder(). */
must_check int new_file_rename(struct new_file *file, struct error *err);
must_check int new_file_sync_folder(const struct new_file *file, struct error *err);

/* Closes it; one that was not renamed is gone. Harmless on NEW_FILE_NONE. */
void new_file_close(struct new_file *file);
