/* Private to snapshot/memory_write*.c: what is to be written next, and who does it. */
#pragma once

#include "snapshot/memory_write.h"

/* Pages that lie side by side, in memory and in the file. */
struct memory_extent {
	const uint8_t *from;
	uint64_t at, len; /* bytes */
};

/* How far the set has been looked through. One thread at a time. */
struct memory_cursor {
	const struct memory_write *write;
	unsigned int region;
	uint64_t region_first;	    /* its first page */
	uint64_t page, run_end;	    /* the next page, and where the run ends that it is in */
	_Atomic uint64_t looked_at; /* pages; read by other threads too */
	uint64_t written;	    /* pages that were handed out */
};

/* More of it is written in pieces, bytes. */
#define MEMORY_EXTENT_MAX MIB(1)

/* The next extent; false: there is none. */
bool memory_cursor_next(struct memory_cursor *cursor, struct memory_extent *extent);

/* snapshot/memory_write_ring.c: writes all of it by the ring of the loop, which has one. -errno. */
must_check int memory_write_by_ring(struct memory_cursor *cursor);
