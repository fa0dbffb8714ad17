#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/serial_reg.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#include "tests/unit/counting_irq.h"
#include "vmm/bus.h"
#include "vmm/legacy/serial.h"

static struct counting_irq irq = COUNTING_IRQ;
static struct console_sink sink;
static struct serial serial;
static int out_pipe[2];
static int rooms;

static void out(uint64_t offset, uint8_t value)
{
	serial_ops.write(&serial, offset, &value, 1);
}

static uint8_t in(uint64_t offset)
{
	uint8_t value;

	serial_ops.read(&serial, offset, &value, 1);
	return value;
}

static void note_room(void *opaque)
{
	(void)opaque;
	rooms++;
}

static void set_up(void)
{
	cr_assert_eq(pipe2(out_pipe, O_CLOEXEC), 0);
	console_sink_init(&sink, out_pipe[1], serial_output_room, &serial);
	serial_init(&serial, &irq.line, &sink, NULL);
	serial.input_room = note_room;
}

TestSuite(serial, .init = set_up);

Test(serial, output_arrives_in_order)
{
	char got[6] = "";

	for (const char *c = "hello"; *c; c++)
		out(UART_TX, (uint8_t)*c);
	cr_expect(console_sink_fini(&sink, 1000));
	cr_assert_eq(read(out_pipe[0], got, 5), 5);
	cr_expect_str_eq(got, "hello");
}

int __real_sched_yield(void);
int __wrap_sched_yield(void);

static _Thread_local unsigned int yields;

int __wrap_sched_yield(void)
{
	yields++;
	return __real_sched_yield();
}

Test(serial, who_waits_for_the_first_byte_goes_before_the_guest)
{
	out(UART_SCR, 'x');
	cr_expect_eq(yields, 0);
	out(UART_TX, 'a');
	cr_expect_eq(yields, 1);
	out(UART_TX, 'b');
	cr_expect_eq(yields, 1);
}

Test(serial, input_raises_an_interrupt_and_is_read_back)
{
	out(UART_IER, UART_IER_RDI);
	cr_expect_eq(serial_receive(&serial, (const uint8_t *)"ab", 2), 2);
	cr_expect_geq(irq.count, 1);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_RDI);
	cr_expect(in(UART_LSR)&UART_LSR_DR);
	cr_expect_eq(in(UART_RX), 'a');
	cr_expect_eq(in(UART_RX), 'b');
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
	cr_expect_not(in(UART_LSR)&UART_LSR_DR);
}

/* A driver that starts clears the FIFO and reads the port; what was piped in must survive that. */
Test(serial, input_waits_for_the_driver)
{
	cr_expect_eq(serial_receive(&serial, (const uint8_t *)"ab", 2), 2);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	cr_expect_not(in(UART_LSR)&UART_LSR_DR);
	cr_expect_eq(in(UART_RX), 0);
	cr_expect_eq(irq.count, 0);
	out(UART_IER, UART_IER_RDI);
	cr_expect_eq(irq.count, 1);
	cr_expect(in(UART_LSR)&UART_LSR_DR);
	cr_expect_eq(in(UART_RX), 'a');
}

Test(serial, full_input_is_refused_and_room_is_told_once)
{
	uint8_t bytes[SERIAL_INPUT_SIZE + 10] = { 0 };

	out(UART_IER, UART_IER_RDI);
	cr_expect_eq(serial_receive(&serial, bytes, sizeof(bytes)), SERIAL_INPUT_SIZE);
	cr_expect_eq(serial_receive(&serial, bytes, 1), 0);
	in(UART_RX);
	cr_expect_eq(rooms, 1);
	in(UART_RX);
	cr_expect_eq(rooms, 1);
	cr_expect_eq(serial_receive(&serial, bytes, 5), 2);
}

Test(serial, transmitter_interrupt)
{
	out(UART_IER, UART_IER_THRI);
	cr_expect_eq(irq.count, 1, "enabling it while empty raises it");
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT, "reading it acknowledges");
	out(UART_TX, 'x');
	cr_expect_eq(irq.count, 2);
}

Test(serial, loop_mode_is_a_wire_from_output_to_input)
{
	char byte;

	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	cr_expect_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(UART_TX, 'z');
	cr_expect_eq(in(UART_RX), 'z');
	fcntl(out_pipe[0], F_SETFL, O_NONBLOCK);
	cr_expect_eq(read(out_pipe[0], &byte, 1), -1, "nothing leaves");
}

Test(serial, divisor_latch_hides_the_data_registers)
{
	out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(UART_DLL, 0x34);
	out(UART_DLM, 0x12);
	cr_expect_eq(in(UART_DLL), 0x34);
	cr_expect_eq(in(UART_DLM), 0x12);
	out(UART_LCR, UART_LCR_WLEN8);
	cr_expect_eq(in(UART_IER), 0);
}

/* A reader that has stopped: the port says that it is not ready, the vCPU never waits, and what a
 * guest sends all the same is counted. When the reader comes back everything accepted arrives. */
Test(serial, a_stuck_reader_shows_as_a_busy_transmitter)
{
	unsigned int sent = 0, got = 0;
	char chunk[4096];
	ssize_t count;

	while (in(UART_LSR)&UART_LSR_THRE) {
		out(UART_TX, 'x');
		cr_assert_lt(++sent, 1u << 20, "it is never full");
	}
	cr_expect_gt(sent, CONSOLE_SINK_SIZE - 32);
	for (int i = 0; i < 64; i++)
		out(UART_TX, 'y');
	cr_expect_gt(sink.dropped, 0);
	while (got < sent) {
		count = read(out_pipe[0], chunk, sizeof(chunk));
		cr_assert_gt(count, 0);
		got += (unsigned int)count;
	}
	cr_expect(console_sink_fini(&sink, 1000));
	cr_expect(in(UART_LSR)&UART_LSR_THRE);
}

static uint32_t waits(void)
{
	uint32_t used;

	pthread_mutex_lock(&sink.lock);
	used = sink.tail - sink.head;
	pthread_mutex_unlock(&sink.lock);
	return used;
}

static void send(unsigned int count)
{
	while (count-- > 0)
		out(UART_TX, 'x');
}

static void take(unsigned int count)
{
	char bytes[4096];

	while (count > 0) {
		ssize_t got = read(out_pipe[0], bytes, MIN(count, sizeof(bytes)));

		cr_assert_gt(got, 0);
		count -= (unsigned int)got;
	}
}

/* With a pipe of a page the fourth KiB of three and a byte does not fit: the buffer is not full when that write begins, and
 * when it ends there is room again. The guest, who was told otherwise in between, has its interrupt all the same. */
Test(serial, a_buffer_that_fills_up_while_a_write_waits)
{
	unsigned int sent = 4096 + 8001;

	cr_assert_eq(fcntl(out_pipe[1], F_SETPIPE_SZ, 4096), 4096);
	send(4096 + 1);
	usleep(50000); /* the writer has taken the one */
	send(8000);
	take(4096);
	for (int i = 0; i < 5000 && waits() != 8001 - 3073; i++)
		usleep(1000);
	for (; in(UART_LSR)&UART_LSR_THRE; sent++)
		out(UART_TX, 'x');
	out(UART_IER, UART_IER_THRI);
	irq.count = 0;
	take(sent - 4096);
	for (int i = 0; i < 5000 && irq.count == 0; i++)
		usleep(1000);
	cr_expect_gt(irq.count, 0);
	cr_expect(console_sink_fini(&sink, 1000));
}

Test(serial, a_reader_that_is_gone_costs_the_guest_nothing)
{
	close(out_pipe[0]);
	signal(SIGPIPE, SIG_IGN);
	for (int i = 0; i < 100000; i++)
		out(UART_TX, 'x');
	cr_expect(console_sink_fini(&sink, 1000));
	cr_expect(in(UART_LSR)&UART_LSR_THRE);
}

Test(serial, counts_accesses_and_writes)
{
	uint16_t word = 0;

	out(UART_TX, 'a');
	out(UART_TX, 'b');
	in(UART_LSR);
	cr_expect_eq(serial.missed_reads + serial.missed_writes, 0);
	serial_ops.read(&serial, UART_LSR, &word, 2);
	serial_ops.write(&serial, UART_SCR, &word, 2);
	cr_expect_eq(serial.missed_reads, 1);
	cr_expect_eq(serial.missed_writes, 1);
	cr_expect_eq(sink.writes, 2);
}
