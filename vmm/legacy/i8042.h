/*
 * The i8042 keyboard controller: enough for the guest's reset line (command 0xfe, the way
 * `reboot=k` restarts a PC) and for Linux to find a controller and a keyboard that says nothing
 * by itself. Registers are used by vCPU threads, under the device's lock.
 */
#pragma once

#include <pthread.h>

#include "base/irq_line.h"
#include "base/util.h"

struct bus_ops;

struct i8042 {
	struct irq_line *irq; /* line 1 */
	void (*reset)(
		void *opaque); /* the guest pulled the reset line; vCPU thread, no lock held */
	void *opaque;

	/* Since the start, read by any thread: accesses, those of more than a byte or to no register, resets, and bytes
	 * for a guest that does not read them. */
	_Atomic uint64_t reads, writes, missed_reads, missed_writes, resets, errors;

	pthread_mutex_t lock;
	uint8_t control;	 /* the controller's command byte */
	uint8_t pending_command; /* waits for its byte on the data port; 0: none */
	uint8_t keyboard_wants;	 /* the keyboard waits for an argument of this command */
	uint8_t output[16];	 /* bytes for the guest to read, oldest first */
	unsigned int output_len;
};

/* At LAYOUT_PORT_I8042_DATA; the range covers ports 0x60 to 0x64. */
extern const struct bus_ops i8042_ops;
#define I8042_PORTS 5

void i8042_init(struct i8042 *i8042, struct irq_line *irq, void (*reset)(void *), void *opaque);

/* The keys Ctrl, Alt and Delete are pressed and let go: Linux restarts by it. Any thread. */
void i8042_press_ctrl_alt_del(struct i8042 *i8042);
