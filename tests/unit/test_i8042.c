#include <criterion/criterion.h>

#include "tests/unit/counting_irq.h"
#include "vmm/bus.h"
#include "vmm/legacy/i8042.h"

#define DATA 0
#define COMMAND 4

static struct counting_irq irq = COUNTING_IRQ;
static struct i8042 i8042;
static int resets;

static void on_reset(void *opaque)
{
	(void)opaque;
	resets++;
}

static void out(uint64_t port, uint8_t value)
{
	i8042_ops.write(&i8042, port, &value, 1);
}

static uint8_t in(uint64_t port)
{
	uint8_t value;

	i8042_ops.read(&i8042, port, &value, 1);
	return value;
}

static void set_up(void)
{
	i8042_init(&i8042, &irq.line, on_reset, NULL);
}

TestSuite(i8042, .init = set_up);

Test(i8042, reset_line)
{
	out(COMMAND, 0xfe);
	cr_expect_eq(resets, 1);
	out(COMMAND, 0xd1);
	out(DATA, 0x03);
	cr_expect_eq(resets, 1, "bit 0 of the output port is the line, active low");
	out(COMMAND, 0xd1);
	out(DATA, 0x02);
	cr_expect_eq(resets, 2);
}

Test(i8042, self_test_and_control_byte)
{
	out(COMMAND, 0xaa);
	cr_expect(in(COMMAND)&1);
	cr_expect_eq(in(DATA), 0x55);
	cr_expect_not(in(COMMAND)&1);
	out(COMMAND, 0x60);
	out(DATA, 0x45);
	out(COMMAND, 0x20);
	cr_expect_eq(in(DATA), 0x45);
}

Test(i8042, a_keyboard_that_only_answers)
{
	out(COMMAND, 0x60);
	out(DATA, 0x01); /* its interrupt on */
	out(DATA, 0xf2);
	cr_expect_eq(in(DATA), 0xfa);
	cr_expect_eq(in(DATA), 0xab);
	cr_expect_eq(in(DATA), 0x83);
	cr_expect_geq(irq.count, 3, "one interrupt a byte");
	out(DATA, 0xed);
	out(DATA, 0xff); /* the argument of 0xed, not a reset */
	cr_expect_eq(in(DATA), 0xfa);
	cr_expect_eq(in(DATA), 0xfa);
	cr_expect_eq(in(DATA), 0, "nothing more");
}

Test(i8042, a_guest_that_never_reads_loses_bytes_and_nothing_else)
{
	for (int i = 0; i < 1000; i++)
		out(DATA, 0xff);
	out(COMMAND, 0xaa);
	for (int i = 0; i < 1000; i++)
		in(DATA);
	cr_expect_not(in(COMMAND)&1);
	cr_expect_eq(resets, 0);
}

Test(i8042, counts_what_it_is_asked)
{
	uint16_t word = 0;

	in(COMMAND);
	out(COMMAND, 0xfe);
	i8042_ops.read(&i8042, COMMAND, &word, 2);
	i8042_ops.write(&i8042, 2, &word, 1);
	cr_expect_eq(i8042.reads, 2);
	cr_expect_eq(i8042.writes, 2);
	cr_expect_eq(i8042.missed_reads, 1);
	cr_expect_eq(i8042.missed_writes, 1);
	cr_expect_eq(i8042.resets, 1);
	for (unsigned int i = 0; i < sizeof(i8042.output) + 3; i++)
		out(COMMAND, 0x20);
	cr_expect_eq(i8042.errors, 3);
}
