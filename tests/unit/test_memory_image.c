/* Which pages of guest memory a full save looks at. */
#include <criterion/criterion.h>
#include <sys/sysinfo.h>

#include "snapshot/memory_image.h"

/* What a host says of its swap: nothing of it is used, but from the `swaps_from`-th question on. 0: ask it. */
static unsigned int swaps_from, questions;

int __real_sysinfo(struct sysinfo *info);
int __wrap_sysinfo(struct sysinfo *info);

int __wrap_sysinfo(struct sysinfo *info)
{
	int ret = __real_sysinfo(info);

	if (swaps_from == 0)
		return ret;
	info->totalswap = 1000;
	info->freeswap = ++questions >= swaps_from ? 999 : 1000;
	return ret;
}

static uint64_t pages_of_two_that_were_touched(void)
{
	struct guest_memory mem = { 0 };
	struct page_set set;
	struct error err = { 0 };
	uint64_t first = 0, count, sum = 0;

	questions = 0;
	cr_assert_eq(guest_memory_add(&mem, 0, MIB(1), &err), 0, "%s", err.text);
	mem.regions[0].host[0] = 1;
	mem.regions[0].host[10 * PAGE_SIZE] = 1;
	cr_assert_eq(page_set_init(&set, memory_image_pages(&mem), &err), 0);
	cr_assert_eq(memory_image_add_resident(&mem, &set, &err), 0, "%s", err.text);
	for (; page_set_next(&set, &first, &count); first += count)
		sum += count;
	page_set_fini(&set);
	guest_memory_fini(&mem);
	return sum;
}

Test(memory_image, pages_that_are_there)
{
	swaps_from = 100;
	cr_expect_eq(pages_of_two_that_were_touched(), 2);
}

/* What was swapped out looks as if it had never been there. */
Test(memory_image, all_pages_while_the_host_swaps)
{
	swaps_from = 1;
	cr_expect_eq(pages_of_two_that_were_touched(), 256);
}

Test(memory_image, all_pages_when_the_host_begins_to_swap_meanwhile)
{
	swaps_from = 2;
	cr_expect_eq(pages_of_two_that_were_touched(), 256);
}
