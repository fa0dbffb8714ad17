/* The page that says that time has jumped. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/test_boot.h"
#include "vmm/vmclock.h"

#define SOMEWHERE 0x3000ul

static uint64_t field(const struct guest_memory *mem, uint64_t offset, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, guest_ptr(mem, SOMEWHERE + offset, size), size);
	return value;
}

Test(vmclock, the_page_is_that_of_the_specification)
{
	const struct vmclock clock = { .gpa = SOMEWHERE };
	struct guest_memory mem = test_memory(1);
	struct error err = { 0 };

	cr_assert_eq(vmclock_write(&clock, &mem, &err), 0, "%s", err.text);
	cr_expect_eq(memcmp(guest_ptr(&mem, SOMEWHERE, 4), "VCLK", 4), 0);
	cr_expect_eq(field(&mem, 4, 4), PAGE_SIZE, "size");
	cr_expect_eq(field(&mem, 8, 2), 1, "version");
	cr_expect_eq(field(&mem, 10, 1), 0xff, "no counter");
	cr_expect_eq(field(&mem, 12, 4), 0, "seq_count");
	cr_expect_eq(field(&mem, 16, 8), 0, "disruption_marker");
	cr_expect_eq(field(&mem, 24, 8), 0x300, "a generation, and notifications");
	cr_expect_eq(field(&mem, 34, 1), 0, "clock_status");
	cr_expect_eq(field(&mem, 104, 8), 0, "vm_generation_counter");
	guest_memory_fini(&mem);
}

Test(vmclock, all_counters_advance_whatever_the_guest_wrote_there)
{
	struct vmclock clock = { .gpa = SOMEWHERE, .seq = 41, .disruptions = 6, .generation = 7 };
	struct guest_memory mem = test_memory(1);
	struct error err = { 0 };

	memset(guest_ptr(&mem, SOMEWHERE, 112), 0xee, 112);
	cr_assert_eq(vmclock_advance(&clock, &mem, &err), 0, "%s", err.text);
	cr_expect_eq(field(&mem, 12, 4), 42, "seq_count is even");
	cr_expect_eq(field(&mem, 16, 8), 7);
	cr_expect_eq(field(&mem, 104, 8), 8);
	cr_assert_eq(vmclock_advance(&clock, &mem, &err), 0, "%s", err.text);
	cr_expect_eq(field(&mem, 12, 4), 44);
	cr_expect_eq(field(&mem, 16, 8), 8);
	cr_expect_eq(field(&mem, 104, 8), 9);
	guest_memory_fini(&mem);
}

Test(vmclock, a_place_outside_of_memory_is_refused_and_none_is_left_alone)
{
	struct vmclock clock = { .gpa = MIB(1) - 100 };
	struct guest_memory mem = test_memory(1);
	struct error err = { 0 };

	cr_expect_eq(vmclock_advance(&clock, &mem, &err), -EINVAL);
	cr_expect_str_eq(err.text, "vmclock: no guest memory at 0xfff9c");
	clock.gpa = 0;
	cr_expect_eq(vmclock_advance(&clock, &mem, &err), 0);
	cr_expect_eq(field(&mem, 0, 8), 0);
	guest_memory_fini(&mem);
}
