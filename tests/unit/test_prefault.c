/* Which huge pages of a booting guest are made ready, and that they are. */
#include <criterion/criterion.h>
#include <sys/mman.h>

#include "vmm/prefault.h"

static void plan(uint64_t kernel, uint64_t initrd, uint64_t ram, struct prefault_range out[2])
{
	prefault_plan(out, kernel, initrd, ram);
	for (int i = 0; i < 2; i++) {
		cr_assert_leq(out[i].start, out[i].end);
		cr_assert_leq(out[i].end, ram);
		cr_assert(is_aligned(out[i].start | out[i].end, MIB(2)));
	}
	cr_assert(out[0].end <= out[1].start || out[1].end == 0, "they overlap");
}

Test(prefault, kernel_initrd_and_below)
{
	struct prefault_range ranges[2];

	plan(MIB(9) + 1, MIB(3), MIB(128), ranges);
	cr_expect_eq(ranges[0].start, MIB(16));
	cr_expect_eq(ranges[0].end, MIB(26));
	cr_expect_eq(ranges[1].start, MIB(114));
	cr_expect_eq(ranges[1].end, MIB(128));
}

Test(prefault, nothing_for_payloads_and_what_has_no_room)
{
	static const uint64_t kernels[] = { 0, 4096, MIB(2) - 1, UINT64_MAX / 2, MIB(3) };
	static const uint64_t initrds[] = { 0, 0, 0, 0, UINT64_MAX / 2 };
	struct prefault_range ranges[2];

	for (unsigned int i = 0; i < ARRAY_SIZE(kernels); i++) {
		plan(kernels[i], initrds[i], i == 4 ? MIB(17) : MIB(128), ranges);
		cr_expect_eq(ranges[0].end + ranges[1].end, 0, "case %u", i);
	}
}

Test(prefault, a_kernel_that_is_mapped_is_left_alone)
{
	struct prefault_range ranges[2];

	plan(MIB(40), 0, MIB(128), ranges);
	cr_expect_eq(ranges[0].end, 0);
	cr_expect_eq(ranges[1].end, MIB(128));
}

Test(prefault, a_large_guests_initrd_is_not_at_its_end)
{
	struct prefault_range ranges[2];

	plan(MIB(9), MIB(3), MIB(3072), ranges);
	cr_expect_eq(ranges[0].start, MIB(16));
	cr_expect_eq(ranges[1].end, 0);
}

static bool is_there(const struct guest_memory *mem, uint64_t gpa)
{
	unsigned char there;

	cr_assert_eq(mincore(guest_ptr(mem, gpa, PAGE_SIZE), PAGE_SIZE, &there), 0);
	return there & 1;
}

Test(prefault, touches_the_ranges_and_nothing_else)
{
	struct guest_memory mem = { 0 };
	struct prefault prefault = { .mem = &mem, .ranges = { { MIB(2), MIB(6) }, { 0 } } };
	struct error err = { 0 };

	cr_assert_eq(guest_memory_add(&mem, 0, MIB(16), &err), 0, "%s", err.text);
	prefault_touch(&prefault);
	cr_expect(is_there(&mem, MIB(2)) && is_there(&mem, MIB(6) - PAGE_SIZE));
	cr_expect(!is_there(&mem, MIB(2) - PAGE_SIZE) && !is_there(&mem, MIB(8)));
	guest_memory_fini(&mem);
}

Test(prefault, an_end_before_it_was_begun)
{
	struct prefault prefault = { 0 };

	prefault_stop(&prefault);
	cr_expect(!prefault.has_thread);
}
