/*
 * VMClock: a page of guest memory that says that time has jumped, and that the machine is another (the counters
 * of struct vmclock_abi, linux/vmclock-abi.h; https://uapi-group.org/specifications/specs/vmclock/). It tells no time:
 * kvmclock does. A change is told by the interrupt that tells of VMGenID's.
 *
 * Control thread, while no vCPU runs.
 */
#pragma once

#include "base/error.h"
#include "base/guest_memory.h"
#include "snapshot/state_desc.h"

/* Section "vmclock" too; a snapshot without one is of a guest without the device. */
struct vmclock {
	uint64_t gpa;	      /* of the page; 0: this guest has none, as it has no ACPI tables */
	uint32_t seq;	      /* even */
	uint64_t disruptions; /* how often time has jumped */
	uint64_t generation;  /* how often the guest went on from a snapshot */
};

extern const struct state_desc vmclock_state_desc;

/* The page as it is now; nothing where the guest has none. -EINVAL when it lies outside of guest memory. */
must_check int vmclock_write(const struct vmclock *clock, struct guest_memory *mem,
			     struct error *err);

/* The guest went on from a snapshot: counts, and writes. */
must_check int vmclock_advance(struct vmclock *clock, struct guest_memory *mem, struct error *err);
