#include "vmm/legacy/serial.h"

#include <linux/serial_reg.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "vmm/bus.h"

static bool input_is_empty(const struct serial *serial)
{
	return serial->head == serial->tail;
}

/* The interrupt that is pending, by the 16550's order of priority. */
static uint8_t interrupt_id(const struct serial *serial)
{
	if ((serial->interrupt_enable & UART_IER_RLSI) && serial->line_errors)
		return UART_IIR_RLSI;
	if ((serial->interrupt_enable & UART_IER_RDI) && !input_is_empty(serial))
		return UART_IIR_RDI;
	if ((serial->interrupt_enable & UART_IER_THRI) && serial->transmit_pending)
		return UART_IIR_THRI;
	return UART_IIR_NO_INT;
}

/* The line is an edge: it is raised whenever something may have become pending. The driver reads
 * IIR until nothing is, so one edge too many costs an interrupt and one too few would hang. */
static void update_irq(struct serial *serial)
{
	if (interrupt_id(serial) != UART_IIR_NO_INT)
		irq_line_raise(serial->irq);
}

/* Both are asked: the tap notes that somebody waits. */
static bool output_has_room(struct serial *serial)
{
	return console_tap_has_room(serial->tap) && console_sink_has_room(serial->sink);
}

static void transmitter_is_empty(struct serial *serial)
{
	serial->transmit_pending = output_has_room(serial);
	update_irq(serial);
}

static void receive_byte(struct serial *serial, uint8_t byte)
{
	if (serial->tail - serial->head == SERIAL_INPUT_SIZE) {
		serial->line_errors |= UART_LSR_OE;
		return;
	}
	serial->input[serial->tail++ % SERIAL_INPUT_SIZE] = byte;
}

static void send_out(struct serial *serial, uint8_t byte)
{
	if (token_bucket_limits(&serial->limit)) {
		uint64_t now = clock_now_ns(CLOCK_MONOTONIC);

		if (token_bucket_wait(&serial->limit, 1, now) > 0) {
			atomic_fetch_add_explicit(&serial->held_back, 1, memory_order_relaxed);
			return;
		}
		token_bucket_charge(&serial->limit, 1, now);
	}
	console_sink_put(serial->sink, byte);
	console_tap_put(serial->tap, byte);
}

static void transmit(struct serial *serial, uint8_t byte)
{
	atomic_fetch_add_explicit(&serial->written, 1, memory_order_relaxed);
	/* In loop mode what is sent is received: drivers probe for the chip that way. */
	if (serial->modem_control & UART_MCR_LOOP) {
		receive_byte(serial, byte);
	} else {
		if (!serial->wrote && serial->first_output)
			serial->first_output(serial->opaque);
		serial->wrote = true;
		send_out(serial, byte);
	}
	transmitter_is_empty(serial);
}

/* A driver that starts reads the port to empty it, before it enables the receiver's interrupt: until
 * then it finds nothing. There is no noise on our line, but `echo ls | mayfly run ...`. */
static bool shows_input(const struct serial *serial)
{
	return !input_is_empty(serial) &&
	       (serial->interrupt_enable & UART_IER_RDI || serial->modem_control & UART_MCR_LOOP);
}

static uint8_t take_input(struct serial *serial, bool *made_room)
{
	if (!shows_input(serial))
		return 0;
	atomic_fetch_add_explicit(&serial->read, 1, memory_order_relaxed);
	*made_room = serial->tail - serial->head == SERIAL_INPUT_SIZE;
	return serial->input[serial->head++ % SERIAL_INPUT_SIZE];
}

static uint8_t line_status(struct serial *serial)
{
	uint8_t status = serial->line_errors;

	serial->line_errors = 0;
	if (shows_input(serial))
		status |= UART_LSR_DR;
	if (output_has_room(serial))
		status |= UART_LSR_THRE | UART_LSR_TEMT;
	return status;
}

/* In loop mode the modem's inputs are wired to its outputs. */
static uint8_t modem_status(const struct serial *serial)
{
	uint8_t control = serial->modem_control;

	if (!(control & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	return (uint8_t)((control & UART_MCR_DTR ? UART_MSR_DSR : 0) |
			 (control & UART_MCR_RTS ? UART_MSR_CTS : 0) |
			 (control & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
			 (control & UART_MCR_OUT2 ? UART_MSR_DCD : 0));
}

static uint8_t interrupt_identification(struct serial *serial)
{
	uint8_t id = interrupt_id(serial);

	/* Reading it acknowledges the transmitter's interrupt, if that is the one it shows. */
	if (id == UART_IIR_THRI)
		serial->transmit_pending = false;
	if (serial->fifo_control & UART_FCR_ENABLE_FIFO)
		id |= 0xc0;
	return id;
}

static uint8_t register_read(struct serial *serial, uint64_t offset, bool *made_room)
{
	bool dlab = serial->line_control & UART_LCR_DLAB;

	switch (offset) {
	case UART_RX:
		return dlab ? (uint8_t)serial->divisor : take_input(serial, made_room);
	case UART_IER:
		return dlab ? (uint8_t)(serial->divisor >> 8) : serial->interrupt_enable;
	case UART_IIR:
		return interrupt_identification(serial);
	case UART_LCR:
		return serial->line_control;
	case UART_MCR:
		return serial->modem_control;
	case UART_LSR:
		return line_status(serial);
	case UART_MSR:
		return modem_status(serial);
	default:
		return serial->scratch;
	}
}

/* Clearing the FIFO keeps what it holds, for the same reason. */
static void write_fifo_control(struct serial *serial, uint8_t value)
{
	serial->fifo_control = value & UART_FCR_ENABLE_FIFO;
}

/* Enabling the transmitter's interrupt while it is empty raises it: that starts a driver off. */
static void write_interrupt_enable(struct serial *serial, uint8_t value)
{
	serial->interrupt_enable = value & 0x0f;
	if (value & UART_IER_THRI)
		serial->transmit_pending = output_has_room(serial);
	update_irq(serial);
}

static void register_write(struct serial *serial, uint64_t offset, uint8_t value)
{
	bool dlab = serial->line_control & UART_LCR_DLAB;

	switch (offset) {
	case UART_TX:
		if (dlab)
			serial->divisor = (uint16_t)((serial->divisor & 0xff00) | value);
		else
			transmit(serial, value);
		break;
	case UART_IER:
		if (dlab)
			serial->divisor = (uint16_t)((serial->divisor & 0x00ff) | value << 8);
		else
			write_interrupt_enable(serial, value);
		break;
	case UART_FCR:
		write_fifo_control(serial, value);
		break;
	case UART_LCR:
		serial->line_control = value;
		break;
	case UART_MCR:
		serial->modem_control = value & 0x1f;
		break;
	case UART_SCR:
		serial->scratch = value;
		break;
	}
}

static void serial_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct serial *serial = dev;
	bool made_room = false;
	uint8_t value;

	serial->missed_reads += len != 1;
	pthread_mutex_lock(&serial->lock);
	value = register_read(serial, offset, &made_room);
	pthread_mutex_unlock(&serial->lock);
	memset(data, 0, len);
	*(uint8_t *)data = value;
	if (made_room && serial->input_room)
		serial->input_room(serial->opaque);
}

static void serial_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct serial *serial = dev;
	bool wrote;

	serial->missed_writes += len != 1;
	pthread_mutex_lock(&serial->lock);
	wrote = serial->wrote;
	register_write(serial, offset, *(const uint8_t *)data);
	wrote = !wrote && serial->wrote;
	pthread_mutex_unlock(&serial->lock);
	/* Somebody may wait for just this byte, on the processor that the guest would go on with. */
	if (wrote)
		sched_yield();
}

const struct bus_ops serial_ops = { serial_read, serial_write };

size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t count)
{
	size_t taken = 0;

	pthread_mutex_lock(&serial->lock);
	while (taken < count && serial->tail - serial->head < SERIAL_INPUT_SIZE)
		receive_byte(serial, bytes[taken++]);
	update_irq(serial);
	pthread_mutex_unlock(&serial->lock);
	return taken;
}

void serial_output_room(void *opaque)
{
	struct serial *serial = opaque;

	pthread_mutex_lock(&serial->lock);
	transmitter_is_empty(serial);
	pthread_mutex_unlock(&serial->lock);
}

void serial_init(struct serial *serial, struct irq_line *irq, struct console_sink *sink,
		 const struct bucket_config *limit)
{
	static const struct bucket_config none;

	*serial = (struct serial){ .irq = irq, .sink = sink, .divisor = 12 };
	token_bucket_init(&serial->limit, limit ? limit : &none, clock_now_ns(CLOCK_MONOTONIC));
	pthread_mutex_init(&serial->lock, NULL);
}
