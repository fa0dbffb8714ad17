#include <criterion/criterion.h>

#include "vmm/bus.h"
#include "vmm/legacy/ioapic.h"

#define MASKED 0x10000u
#define SMI 0x200u

static struct {
	unsigned int count, pin;
	struct msi_message msg;
} routed;

static void note_route(struct ioapic *ioapic, unsigned int pin, const struct msi_message *msg)
{
	(void)ioapic;
	routed.count++;
	routed.pin = pin;
	routed.msg = *msg;
}

static struct ioapic ioapic;

static void reg_write(uint32_t index, uint32_t value)
{
	ioapic_ops.write(&ioapic, 0x00, &index, 4);
	ioapic_ops.write(&ioapic, 0x10, &value, 4);
}

static uint32_t reg_read(uint32_t index)
{
	uint32_t value;

	ioapic_ops.write(&ioapic, 0x00, &index, 4);
	ioapic_ops.read(&ioapic, 0x10, &value, 4);
	return value;
}

static void set_up(void)
{
	ioapic_init(&ioapic, note_route);
	routed.count = 0;
}

TestSuite(ioapic, .init = set_up);

Test(ioapic, has_48_masked_pins)
{
	cr_expect_eq(reg_read(1), 0x11 | 47u << 16);
	for (uint32_t pin = 0; pin < 48; pin++)
		cr_expect_eq(reg_read(0x10 + 2 * pin) & MASKED, MASKED);
	cr_expect_eq(reg_read(0x10 + 2 * 48), 0);
	cr_expect_eq(reg_read(0xff), 0);
}

/* As firmware's own, which Linux leaves alone. */
Test(ioapic, a_pin_without_a_line_is_the_firmwares)
{
	ioapic_connect(&ioapic, 4);
	for (uint32_t pin = 0; pin < 48; pin++)
		cr_expect_eq(reg_read(0x10 + 2 * pin), pin == 4 ? MASKED : MASKED | SMI);
	reg_write(0x10 + 2 * 5, 0x31 | MASKED);
	cr_expect_eq(reg_read(0x10 + 2 * 5), 0x31 | MASKED, "all the same it can be used");
}

Test(ioapic, unmasking_routes_the_entry_as_a_message)
{
	reg_write(0x10 + 2 * 47 + 1, 3u << 24);
	cr_expect_eq(routed.count, 0, "the pin is masked");
	reg_write(0x10 + 2 * 47, 0x31);
	cr_expect_eq(routed.count, 1);
	cr_expect_eq(routed.pin, 47);
	cr_expect_eq(routed.msg.address, 0xfee00000u | 3u << 12);
	cr_expect_eq(routed.msg.data, 0x31);
}

Test(ioapic, logical_destination_and_delivery_mode)
{
	reg_write(0x11, 0xffu << 24);
	reg_write(0x10, 0x900 | 0x41); /* lowest priority, logical */
	cr_expect_eq(routed.msg.address, 0xfee00000u | 0xffu << 12 | 1u << 2);
	cr_expect_eq(routed.msg.data, 0x141);
}

/* Linux masks a pin for a moment to move it; an edge in that moment must still arrive. */
Test(ioapic, a_masked_pin_keeps_its_route_and_an_unchanged_one_is_not_routed_again)
{
	reg_write(0x10, 0x31);
	reg_write(0x10, 0x31 | MASKED);
	cr_expect_eq(routed.count, 1);
	reg_write(0x11, 1u << 24);
	cr_expect_eq(routed.count, 1);
	reg_write(0x10, 0x31);
	cr_expect_eq(routed.count, 2);
	cr_expect_eq(routed.msg.address, 0xfee00000u | 1u << 12);
	reg_write(0x10, 0x31);
	cr_expect_eq(routed.count, 2);
}

Test(ioapic, registers_of_odd_widths_and_places)
{
	uint64_t wide = UINT64_MAX;
	uint8_t byte = 0xff;

	ioapic_ops.write(&ioapic, 0x10, &wide, 8);
	ioapic_ops.write(&ioapic, 0x07, &byte, 1);
	ioapic_ops.write(&ioapic, 0xff0, &wide, 8);
	ioapic_ops.read(&ioapic, 0x20, &wide, 8);
	cr_expect_eq(wide, 0);
	reg_write(0xfe, 0xffffffff);
	cr_expect_eq(routed.count, 0);
}

/* Shown ----------------------------------------------------------------------------------------*/

static uint32_t page[1024];

static void expect_page_is_true(const char *when)
{
	for (uint32_t offset = 0; offset < sizeof(page); offset += 4) {
		uint32_t value;

		ioapic_ops.read(&ioapic, offset, &value, 4);
		cr_expect_eq(page[offset / 4], value, "%s: at %#x", when, offset);
	}
}

/* What the guest reads without us is what a read by us would say, whatever it selected and wrote. */
Test(ioapic, the_page_says_what_a_read_would)
{
	const uint32_t version = 1;

	ioapic_ops.write(&ioapic, 0x00, &version, 4);
	ioapic_show(&ioapic, page);
	cr_expect_eq(page[0], 1);
	cr_expect_eq(page[4], 0x11 | 47u << 16);
	for (uint32_t index = 0; index < 0x100; index++) {
		ioapic_ops.write(&ioapic, 0x00, &index, 4);
		expect_page_is_true("selected");
		reg_write(index, 0xffffffff);
		expect_page_is_true("written");
		reg_write(index, MASKED);
		expect_page_is_true("written again");
	}
	reg_write(0x10, 0x31);
	cr_expect_eq(page[4], 0x31);
	ioapic.entries[0] = 0x41;
	ioapic_refresh(&ioapic);
	cr_expect_eq(page[4], 0x41, "loaded");
}
