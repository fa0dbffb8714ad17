#include <criterion/criterion.h>
#include <string.h>

#include "base/guest_memory.h"

static struct guest_memory two_regions(void)
{
	struct guest_memory mem = { 0 };

	cr_assert_eq(guest_memory_add(&mem, 0x1000, 0x2000, NULL), 0);
	cr_assert_eq(guest_memory_add(&mem, 0x3000, 0x1000, NULL), 0);
	return mem;
}

Test(guest_memory, pointer_only_inside_one_region)
{
	struct guest_memory mem = two_regions();

	cr_expect_null(guest_ptr(&mem, 0xfff, 1));
	cr_expect_eq(guest_ptr(&mem, 0x1000, 0x2000), mem.regions[0].host);
	cr_expect_null(guest_ptr(&mem, 0x1000, 0x2001));
	cr_expect_null(guest_ptr(&mem, 0x2fff, 2), "a range across two regions");
	cr_expect_eq(guest_ptr(&mem, 0x3fff, 1), mem.regions[1].host + 0xfff);
	cr_expect_null(guest_ptr(&mem, 0x4000, 0));
	guest_memory_fini(&mem);
}

Test(guest_memory, lengths_that_wrap_around_are_outside)
{
	struct guest_memory mem = two_regions();

	cr_expect_null(guest_ptr(&mem, 0x1000, UINT64_MAX));
	cr_expect_null(guest_ptr(&mem, UINT64_MAX, 2));
	cr_expect_null(guest_ptr(&mem, 0x2000, UINT64_MAX - 0x1fff));
	guest_memory_fini(&mem);
}

Test(guest_memory, refuses_overlap_and_misalignment)
{
	struct guest_memory mem = two_regions();
	struct error err = { 0 };

	cr_expect_eq(guest_memory_add(&mem, 0x3000, 0x1000, &err), -EINVAL);
	cr_expect_eq(guest_memory_add(&mem, 0x4800, 0x1000, &err), -EINVAL);
	cr_expect_eq(guest_memory_add(&mem, 0x5000, 0, &err), -EINVAL);
	cr_expect_eq(guest_memory_add(&mem, 0x5000, 0xfffffffffffff000, &err), -EINVAL);
	cr_expect(strstr(err.text, "0x5000") != NULL, "%s", err.text);
	cr_expect_eq(mem.count, 2);
	guest_memory_fini(&mem);
}

Test(guest_memory, windows)
{
	static uint8_t bytes[PAGE_SIZE];
	struct guest_memory mem = two_regions();
	const struct guest_region window = { 0x10000, PAGE_SIZE, bytes };
	struct error err;

	cr_assert_eq(guest_memory_add_window(&mem, &window, false, &err), 0);
	cr_expect_eq(guest_ptr(&mem, 0x10010, 0x10), bytes + 0x10);
	cr_expect_null(guest_ptr(&mem, 0x10ff0, 0x11));
	cr_expect_eq(guest_memory_add_window(&mem, &window, false, &err), -EINVAL, "overlap");
	cr_expect_eq(guest_memory_add_window(
			     &mem, &(struct guest_region){ 0x3000, PAGE_SIZE, bytes }, true, &err),
		     -EINVAL, "over RAM");
	mem.windows[0].read_only = true;
	cr_expect_null(guest_ptr(&mem, 0x10010, 0x10));
	cr_expect_eq(guest_ptr_to_read(&mem, 0x10010, 0x10), bytes + 0x10);
	cr_expect_eq(guest_memory_size(&mem), 0x3000, "no RAM");
	guest_memory_fini(&mem);
}

Test(guest_memory, says_what_to_do_without_room)
{
	struct guest_memory mem = { 0 };
	struct error err = { 0 };

	cr_expect_eq(guest_memory_add(&mem, 0, GIB(1ul << 20), &err), -ENOMEM);
	cr_expect_str_eq(err.text, "guest memory: no room for 1073741824 MiB; ask for less, or "
				   "raise the limit on addresses (ulimit -v): Cannot allocate "
				   "memory");
	cr_expect_eq(guest_memory_reserve(&mem, 0, GIB(1ul << 20), &err), -ENOMEM);
	cr_expect(strstr(err.text, "ulimit -v"), "%s", err.text);
	guest_memory_fini(&mem);
}

Test(guest_memory, huge_pages_are_promised_or_refused)
{
	struct guest_memory mem = { .pages = GUEST_PAGES_2M };
	struct error err = { 0 };

	cr_expect_eq(guest_memory_granule(&mem), MIB(2));
	cr_expect_eq(guest_memory_add(&mem, 0, MIB(3), &err), -EINVAL);
	cr_expect_eq(guest_memory_add(&mem, 0, GIB(512), &err), -ENOMEM, "%s", err.text);
	cr_expect(strstr(err.text, "524288 MiB in huge pages take 262144 of 2 MiB"), "%s",
		  err.text);
	cr_expect_eq(mem.count, 0);
	guest_memory_fini(&mem);
}

/* They are all one page: a file is not mapped over a part. */
Test(guest_memory, no_file_in_a_huge_page)
{
	uint8_t *host = aligned_alloc(MIB(2), MIB(2));
	struct guest_memory mem = {
		.pages = GUEST_PAGES_2M,
		.regions = { { .gpa = 0, .size = MIB(2), .host = host } },
		.count = 1,
	};

	cr_assert_not_null(host);
	cr_expect_eq(guest_memory_map_file(&mem, 0, 0, 0, PAGE_SIZE), -ENODEV);
	free(host);
}

Test(guest_memory, transparent_huge_pages_are_asked_for)
{
	struct guest_memory mem = { .pages = GUEST_PAGES_TRANSPARENT };
	struct error err = { 0 };
	int ret = guest_memory_add(&mem, 0, MIB(4), &err);

	if (ret == -EINVAL)
		cr_skip_test("a kernel without them: %s", err.text);
	cr_assert_eq(ret, 0, "%s", err.text);
	cr_expect_eq(guest_memory_granule(&mem), PAGE_SIZE);
	guest_memory_fini(&mem);
}
