/*
 * How far long work is, for whoever asked: embedded in whatever that is. A pointer to one may be NULL, and then nobody
 * did. One thread: the one that works, or that waits for those who do.
 */
#pragma once

#include <stdint.h>

/* How long whoever asked is told nothing, ns, at most; but for the time that one system call takes. */
#define PROGRESS_NS 100000000u

struct progress {
	/* At the beginning and at the end of each step, and now and then in between. */
	void (*tell)(struct progress *progress);
	const char *step;     /* one word for what is being done */
	uint64_t done, total; /* bytes, of this step; 0 of 0: nobody knows */
	uint64_t told_ns;     /* CLOCK_MONOTONIC */
};

/* A step of so many bytes begins. The word is borrowed. */
void progress_begin(struct progress *progress, const char *step, uint64_t total);

/* So many bytes more. */
void progress_add(struct progress *progress, uint64_t bytes);

/* All of the step is done. */
void progress_end(struct progress *progress);
