/*
 * Huge pages that a booting Linux is sure to touch, made beside the making of the machine: the host clears two MiB
 * for each, which otherwise the guest or the reading of its kernel waits for. Where the kernel goes, the initrd, and
 * what Linux allocates first, right below it. Nothing is done for a host that gives no huge pages unasked: there a
 * page that is not touched costs nothing and stays so. A guess that is wrong costs a page, never correctness.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/guest_memory.h"

struct prefault_range {
	uint64_t start, end; /* guest physical, multiples of 2 MiB */
};

struct prefault {
	const struct guest_memory *mem;
	struct prefault_range ranges[2]; /* kernel, then initrd and below; start == end: none */
	pthread_t thread;
	bool has_thread;
	atomic_bool stop;
};

/* Where, for a kernel file and an initrd of so many bytes (0: none) and RAM from 0 to ram_end. Nothing for what is
 * too small for a Linux or too large to be read rather than mapped. */
void prefault_plan(struct prefault_range ranges[2], uint64_t kernel, uint64_t initrd,
		   uint64_t ram_end);

/* Starts the thread where there is something to do; it looks whether huge pages come unasked. Without a thread the
 * boot is slower, no more. mem, which begins at 0, must last until prefault_stop(). Control thread. */
void prefault_start(struct prefault *prefault, const struct guest_memory *mem, uint64_t kernel,
		    uint64_t initrd);

/* Ends the thread, within a page, and waits for it. Fine without a start. Control thread. */
void prefault_stop(struct prefault *prefault);

/* What the thread does, on the caller's: touches the ranges. */
void prefault_touch(struct prefault *prefault);
