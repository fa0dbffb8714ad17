/*
 * What a snapshot holds of the serial port and the i8042. Control thread, while the vCPUs are paused. What
 * is loaded is untrusted: what does not fit is cut to what does.
 */
#pragma once

#include "snapshot/state_desc.h"
#include "vmm/legacy/i8042.h"
#include "vmm/legacy/serial.h"

struct serial_state {
	uint8_t interrupt_enable, fifo_control, line_control, modem_control, scratch, line_errors;
	bool transmit_pending;
	uint16_t divisor;
	uint32_t input_len;
	uint8_t input[SERIAL_INPUT_SIZE]; /* oldest first */
};

extern const struct state_desc serial_state_desc;

void serial_save(struct serial *serial, struct serial_state *state);

/* After the interrupt routes: raises the line when something is pending. What the console put into the
 * port before stays, behind what the snapshot had. */
void serial_load(struct serial *serial, const struct serial_state *state);

struct i8042_state {
	uint8_t control, pending_command, keyboard_wants;
	uint32_t output_len;
	uint8_t output[16];
};

extern const struct state_desc i8042_state_desc;

void i8042_save(struct i8042 *i8042, struct i8042_state *state);
void i8042_load(struct i8042 *i8042, const struct i8042_state *state);
