/* A generation's number, written and told of. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/unit/counting_irq.h"
#include "tests/unit/test_boot.h"
#include "vmm/vmgenid.h"

#define SOMEWHERE 0x2008ul

static const uint8_t none[64];

Test(vmgenid, a_new_number_is_in_its_place_and_nowhere_else)
{
	const struct vmgenid gen = { .gpa = SOMEWHERE };
	struct guest_memory mem = test_memory(1);
	uint8_t *at = guest_ptr(&mem, SOMEWHERE - 24, sizeof(none));
	uint8_t first[VMGENID_SIZE];
	struct error err = { 0 };

	cr_assert_eq(vmgenid_renew(&gen, &mem, &err), 0, "%s", err.text);
	memcpy(first, at + 24, sizeof(first));
	cr_expect_neq(memcmp(first, none, sizeof(first)), 0);
	cr_assert_eq(vmgenid_renew(&gen, &mem, &err), 0, "%s", err.text);
	cr_expect_neq(memcmp(first, at + 24, sizeof(first)), 0, "the same number again");
	cr_expect_eq(memcmp(at, none, 24), 0, "wrote before it");
	cr_expect_eq(memcmp(at + 40, none, 24), 0, "wrote behind it");
	guest_memory_fini(&mem);
}

Test(vmgenid, a_place_outside_of_memory_is_refused)
{
	struct vmgenid gen = { .gpa = MIB(1) - 8 };
	struct guest_memory mem = test_memory(1);
	struct error err = { 0 };

	cr_expect_eq(vmgenid_renew(&gen, &mem, &err), -EINVAL);
	cr_expect_str_eq(err.text, "vmgenid: no guest memory at 0xffff8");
	gen.gpa = UINT64_MAX - 7;
	cr_expect_eq(vmgenid_renew(&gen, &mem, &err), -EINVAL);
	guest_memory_fini(&mem);
}

Test(vmgenid, a_guest_without_it_is_left_alone)
{
	struct counting_irq irq = COUNTING_IRQ;
	const struct vmgenid with = { .irq = &irq.line, .gpa = SOMEWHERE };
	const struct vmgenid without = { .irq = &irq.line };
	struct guest_memory mem = test_memory(1);
	struct error err = { 0 };

	cr_expect_eq(vmgenid_renew(&without, &mem, &err), 0);
	cr_expect_eq(memcmp(guest_ptr(&mem, 0, sizeof(none)), none, sizeof(none)), 0);
	vmgenid_notify(&without);
	cr_expect_eq(irq.count, 0);
	vmgenid_notify(&with);
	cr_expect_eq(irq.count, 1);
	guest_memory_fini(&mem);
}
