#include "vmm/vmclock.h"

#include "vmm/layout.h"

/* In no linux/vmclock-abi.h of ours yet. */
struct vmclock_page {
	uint32_t magic;
	uint32_t size; /* of the region */
	uint16_t version;
	uint8_t counter_id;
	uint8_t time_type;
	uint32_t seq_count; /* odd while the rest changes */
	uint64_t disruption_marker;
	uint64_t flags;
	uint8_t pad[2];
	uint8_t clock_status; /* 0: unknown */
	uint8_t no_time[69];  /* what goes with a time */
	uint64_t vm_generation_counter;
};

_Static_assert(offsetof(struct vmclock_page, disruption_marker) == 16, "vmclock-abi.h");
_Static_assert(offsetof(struct vmclock_page, clock_status) == 34, "vmclock-abi.h");
_Static_assert(offsetof(struct vmclock_page, vm_generation_counter) == 104, "vmclock-abi.h");

#define MAGIC 0x4b4c4356u /* "VCLK" */
#define VERSION 1u
#define COUNTER_INVALID 0xffu
#define FLAG_GENERATION (1u << 8)
#define FLAG_NOTIFICATION (1u << 9)

static const struct state_field fields[] = {
	STATE_FIELD(struct vmclock, gpa, STATE_U64, 1),
	STATE_FIELD(struct vmclock, seq, STATE_U32, 1),
	STATE_FIELD(struct vmclock, disruptions, STATE_U64, 1),
	STATE_FIELD(struct vmclock, generation, STATE_U64, 1),
};

const struct state_desc vmclock_state_desc = STATE_DESC("vmclock", struct vmclock, 1, fields);

int vmclock_write(const struct vmclock *clock, struct guest_memory *mem, struct error *err)
{
	const struct vmclock_page page = {
		.magic = MAGIC,
		.size = LAYOUT_VMCLOCK_SIZE,
		.version = VERSION,
		.counter_id = COUNTER_INVALID,
		.seq_count = clock->seq,
		.disruption_marker = clock->disruptions,
		.flags = FLAG_GENERATION | FLAG_NOTIFICATION,
		.vm_generation_counter = clock->generation,
	};

	if (!clock->gpa || guest_write(mem, clock->gpa, &page, sizeof(page)) == 0)
		return 0;
	return error_set(err, EINVAL, "vmclock: no guest memory at %#lx", clock->gpa);
}

/* A reader that was in the middle of the page when the guest was saved sees another number, and reads again. */
int vmclock_advance(struct vmclock *clock, struct guest_memory *mem, struct error *err)
{
	clock->seq = (clock->seq + 2) & ~1u;
	clock->disruptions++;
	clock->generation++;
	return vmclock_write(clock, mem, err);
}
