/*
 * Guest memory into its file (snapshot/memory_image.h says what that is), as fast as the disk takes it: by the ring of a
 * loop that has nothing else to do, several writes at once; without one by one pwrite after the other. The thread that
 * asks waits meanwhile. Nobody writes the guest's memory.
 */
#pragma once

#include "base/guest_memory.h"
#include "snapshot/page_set.h"
#include "snapshot/progress.h"

struct event_loop;

struct memory_write {
	int fd;
	const struct guest_memory *mem;
	const struct page_set *set; /* what is to be written, of all its pages */
	bool with_zeroes;	    /* else pages of zeroes stay holes: the file was empty */
	/* Whose thread runs, and is idle; NULL, or one without a ring: the caller's thread writes. */
	struct event_loop *loop;
	struct progress *progress; /* NULL: nobody asked */
};

struct memory_write_result {
	uint64_t looked_at; /* pages */
	uint64_t written;
	int ring; /* 0: all of it by the ring; else why not, a negative errno */
};

/*
 * Writes the pages of the set to their places; the file is as long as the memory then, and not yet durable. -errno of
 * the write: disk full, size limit; the file's contents are not defined then.
 */
must_check int memory_write(const struct memory_write *write, struct memory_write_result *result);
