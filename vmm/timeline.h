/*
 * When things happened, for `--timings`: CLOCK_MONOTONIC nanoseconds, 0 for what has not. Each
 * moment is written once, by whichever thread it happens on; read by the control thread.
 */
#pragma once

#include <stdatomic.h>

#include "base/clock.h"

enum moment {
	MOMENT_PROCESS_START, /* exec, as far as the process can tell */
	MOMENT_CONFIGURED,    /* options read and checked */
	MOMENT_ASKED,	      /* a client has asked for the start, or for the restore */
	MOMENT_SNAPSHOT_READ, /* its files are open and checked */
	MOMENT_VM_CREATED,    /* KVM VM, memory and interrupt controllers exist */
	MOMENT_KERNEL_LOADED, /* kernel, initrd and boot parameters are in guest memory */
	MOMENT_DEVICES_READY,
	MOMENT_ADOPTED,	     /* the snapshot is taken up: memory mapped, states set */
	MOMENT_FIRST_RUN,    /* the first KVM_RUN is next */
	MOMENT_FIRST_OUTPUT, /* the guest's first byte on the serial port */
	MOMENT_INIT,	     /* init told the boot timer */
	MOMENT_END,
	MOMENT_COUNT,
};

struct timeline {
	_Atomic uint64_t at[MOMENT_COUNT];
	_Atomic uint64_t asked_cpu; /* the process's CPU time at MOMENT_ASKED, nanoseconds */
};

static inline void timeline_mark(struct timeline *timeline, enum moment moment)
{
	uint64_t never = 0;

	atomic_compare_exchange_strong(&timeline->at[moment], &never,
				       clock_now_ns(CLOCK_MONOTONIC));
}

/* A client asks, for the first time or again: what a start that failed has reached is forgotten. */
static inline void timeline_ask(struct timeline *timeline)
{
	for (int i = MOMENT_ASKED; i < MOMENT_COUNT; i++)
		timeline->at[i] = 0;
	timeline->asked_cpu = clock_now_ns(CLOCK_PROCESS_CPUTIME_ID);
	timeline_mark(timeline, MOMENT_ASKED);
}

/* The same for a load: what there was before, of a machine that was prepared, stays. */
static inline void timeline_ask_load(struct timeline *timeline)
{
	timeline->at[MOMENT_ASKED] = timeline->at[MOMENT_SNAPSHOT_READ] = 0;
	timeline_mark(timeline, MOMENT_ASKED);
}
