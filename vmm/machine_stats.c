/* What a machine costs its host. */
#include <sys/mman.h>

#include "vmm/machine_priv.h"

/* Pages that one call looks at: what it answers is on the stack. */
#define LOOK_PAGES 8192u
#define PAGE_BYTES 4096u

static uint64_t resident_in(const struct guest_region *region)
{
	unsigned char pages[LOOK_PAGES];
	uint64_t resident = 0;

	for (uint64_t at = 0; at < region->size; at += (uint64_t)LOOK_PAGES * PAGE_BYTES) {
		uint64_t len = region->size - at;

		if (len > (uint64_t)LOOK_PAGES * PAGE_BYTES)
			len = (uint64_t)LOOK_PAGES * PAGE_BYTES;
		if (mincore(region->host + at, len, pages) < 0)
			continue; /* reserved so far: nothing is there */
		for (uint64_t page = 0; page < len / PAGE_BYTES; page++)
			resident += pages[page] & 1;
	}
	return resident * PAGE_BYTES;
}

/* 0 for a thread that has ended: its clock has gone with it. */
static uint64_t thread_ns(const struct vcpu *vcpu)
{
	struct timespec used;
	clockid_t clock;

	if (!vcpu->has_thread || pthread_getcpuclockid(vcpu->thread, &clock) != 0 ||
	    clock_gettime(clock, &used) < 0)
		return 0;
	return (uint64_t)used.tv_sec * 1000000000u + (uint64_t)used.tv_nsec;
}

void machine_stats(struct machine *machine, struct machine_stats *out)
{
	*out = (struct machine_stats){ .vcpus = machine->vcpu_count };
	for (unsigned int i = 0; i < machine->vcpu_count; i++) {
		const struct vcpu *vcpu = &machine->vcpus[i];

		out->vcpu_ns += thread_ns(vcpu);
		out->exits += atomic_load_explicit(&vcpu->other_exits, memory_order_relaxed);
		for (unsigned int exit = 0; exit < VCPU_EXITS; exit++)
			out->exits += atomic_load_explicit(&vcpu->exits[exit],
							   memory_order_relaxed);
	}
	for (unsigned int i = 0; i < machine->memory.count; i++) {
		out->memory_bytes += machine->memory.regions[i].size;
		out->resident_bytes += resident_in(&machine->memory.regions[i]);
	}
}
