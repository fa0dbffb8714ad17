#include <criterion/criterion.h>
#include <linux/serial_reg.h>
#include <sys/eventfd.h>

#include "tests/unit/counting_irq.h"
#include "vmm/bus.h"
#include "vmm/legacy/serial.h"

static struct counting_irq irq = COUNTING_IRQ;
static struct console_sink sink;
static struct console_tap tap;
static struct serial serial;
static uint8_t got[2 * CONSOLE_TAP_SIZE];
static uint64_t lost;

static void set_up(void)
{
	console_sink_init(&sink, -1, serial_output_room, &serial);
	serial_init(&serial, &irq.line, &sink, NULL);
	console_tap_init(&tap, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	tap.room = serial_output_room;
	tap.opaque = &serial;
	serial.tap = &tap;
}

static void tear_down(void)
{
	close_fd(&tap.fd);
	console_tap_fini(&tap);
}

TestSuite(console_tap, .init = set_up, .fini = tear_down);

static void put(size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = (uint8_t)i;

		serial_ops.write(&serial, UART_TX, &byte, 1);
	}
}

static bool is_ready(void)
{
	uint8_t status;

	serial_ops.read(&serial, UART_LSR, &status, 1);
	return status & UART_LSR_THRE;
}

static bool is_signalled(void)
{
	uint64_t count;

	return read(tap.fd, &count, sizeof(count)) > 0;
}

Test(console_tap, closed_it_takes_nothing)
{
	put(10);
	cr_expect(!is_signalled());
	cr_assert_eq(console_tap_open(&tap), 0);
	cr_expect_eq(console_tap_take(&tap, got, sizeof(got), &lost), 0);
}

Test(console_tap, open_it_has_a_copy_in_order_and_signals_once)
{
	cr_assert_eq(console_tap_open(&tap), 0);
	put(1000);
	cr_expect(is_signalled());
	cr_expect_eq(console_tap_take(&tap, got, 600, &lost), 600);
	cr_expect_eq(console_tap_take(&tap, got + 600, sizeof(got), &lost), 400);
	for (size_t i = 0; i < 1000; i++)
		cr_assert_eq(got[i], (uint8_t)i);
	cr_expect(!is_signalled());
	put(1);
	cr_expect(is_signalled());
}

Test(console_tap, full_it_holds_the_port_up_until_it_is_emptied)
{
	cr_assert_eq(console_tap_open(&tap), 0);
	put(CONSOLE_TAP_SIZE - 16);
	cr_expect(is_ready());
	put(1);
	cr_expect(!is_ready());
	irq.count = 0;
	serial.interrupt_enable = UART_IER_THRI;
	cr_expect_eq(console_tap_take(&tap, got, 1, &lost), 1);
	cr_expect_eq(irq.count, 1, "the driver is told that it can go on");
	cr_expect(is_ready());
}

Test(console_tap, what_a_port_that_is_not_ready_is_given_is_lost_and_counted)
{
	cr_assert_eq(console_tap_open(&tap), 0);
	put(CONSOLE_TAP_SIZE + 7);
	cr_expect_eq(console_tap_take(&tap, got, sizeof(got), &lost), CONSOLE_TAP_SIZE);
	cr_expect_eq(lost, 7);
	put(1);
	cr_expect_eq(console_tap_take(&tap, got, sizeof(got), &lost), 1);
	cr_expect_eq(lost, 0);
}

Test(console_tap, closing_lets_the_port_go_on)
{
	cr_assert_eq(console_tap_open(&tap), 0);
	put(CONSOLE_TAP_SIZE);
	cr_expect(!is_ready());
	irq.count = 0;
	serial.interrupt_enable = UART_IER_THRI;
	console_tap_close(&tap);
	cr_expect_eq(irq.count, 1);
	cr_expect(is_ready());
	cr_assert_eq(console_tap_open(&tap), 0);
	cr_expect_eq(console_tap_take(&tap, got, sizeof(got), &lost), 0);
}
