/*
 * The serial port: a 16550A with interrupts, as drivers know it. Output goes to a console_sink;
 * input comes from the control loop. Registers are used by vCPU threads, under the port's lock.
 */
#pragma once

#include <pthread.h>

#include "base/irq_line.h"
#include "base/token_bucket.h"
#include "vmm/legacy/console_sink.h"
#include "vmm/legacy/console_tap.h"

struct bus_ops;

#define SERIAL_PORTS 8
#define SERIAL_INPUT_SIZE 256u

struct serial {
	struct irq_line *irq;
	struct console_sink *sink;
	struct console_tap *tap; /* gets a copy of what the sink gets; NULL: nobody does */
	/* vCPU thread, no lock held: the guest has taken input while the buffer was full. */
	void (*input_room)(void *opaque);
	/* vCPU thread: the guest has written its first byte. */
	void (*first_output)(void *opaque);
	void *opaque;

	/* Since the start, read by any thread: bytes that the guest has written, that a limit has
	 * dropped of these, and that it has read. */
	_Atomic uint64_t written, held_back, read;
	_Atomic uint64_t missed_reads, missed_writes; /* of more than a byte */

	pthread_mutex_t lock;
	struct token_bucket limit; /* of output, bytes */
	bool wrote;		   /* first_output() was called */
	bool transmit_pending;	   /* the "transmitter empty" interrupt is pending */
	uint8_t interrupt_enable, fifo_control, line_control, modem_control, scratch;
	uint16_t divisor;
	uint8_t line_errors; /* sticky bits of the line status register */
	uint32_t head, tail; /* of input; free-running */
	uint8_t input[SERIAL_INPUT_SIZE];
};

extern const struct bus_ops serial_ops;

/* limit: of output, in bytes; what is beyond it is dropped, the guest does not wait. NULL: none. */
void serial_init(struct serial *serial, struct irq_line *irq, struct console_sink *sink,
		 const struct bucket_config *limit);

/* Hands bytes to the guest and returns how many fitted; the rest is the caller's to offer again
 * after input_room(). Any thread. */
size_t serial_receive(struct serial *serial, const uint8_t *bytes, size_t count);

/* The sink or the tap has room again after it was full. Any thread; a console_sink's room() callback. */
void serial_output_room(void *serial);
