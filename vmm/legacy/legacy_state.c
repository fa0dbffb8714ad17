#include "vmm/legacy/legacy_state.h"

#include <string.h>

#define SERIAL(member, kind) STATE_FIELD(struct serial_state, member, kind, 1)

static const struct state_field serial_fields[] = {
	SERIAL(interrupt_enable, STATE_U8),
	SERIAL(fifo_control, STATE_U8),
	SERIAL(line_control, STATE_U8),
	SERIAL(modem_control, STATE_U8),
	SERIAL(scratch, STATE_U8),
	SERIAL(line_errors, STATE_U8),
	SERIAL(transmit_pending, STATE_BOOL),
	SERIAL(divisor, STATE_U16),
	STATE_BLOB(struct serial_state, input, input_len, 1),
};

const struct state_desc serial_state_desc = STATE_DESC("serial", struct serial_state, 1,
						       serial_fields);

void serial_save(struct serial *serial, struct serial_state *state)
{
	pthread_mutex_lock(&serial->lock);
	*state = (struct serial_state){
		.interrupt_enable = serial->interrupt_enable,
		.fifo_control = serial->fifo_control,
		.line_control = serial->line_control,
		.modem_control = serial->modem_control,
		.scratch = serial->scratch,
		.line_errors = serial->line_errors,
		.transmit_pending = serial->transmit_pending,
		.divisor = serial->divisor,
	};
	for (uint32_t at = serial->head; at != serial->tail; at++)
		state->input[state->input_len++] = serial->input[at % SERIAL_INPUT_SIZE];
	pthread_mutex_unlock(&serial->lock);
}

void serial_load(struct serial *serial, const struct serial_state *state)
{
	uint8_t later[SERIAL_INPUT_SIZE];
	size_t later_len = 0;

	pthread_mutex_lock(&serial->lock);
	while (serial->head != serial->tail)
		later[later_len++] = serial->input[serial->head++ % SERIAL_INPUT_SIZE];
	serial->interrupt_enable = state->interrupt_enable & 0x0f;
	serial->fifo_control = state->fifo_control;
	serial->line_control = state->line_control;
	serial->modem_control = state->modem_control & 0x1f;
	serial->scratch = state->scratch;
	serial->line_errors = state->line_errors;
	serial->transmit_pending = state->transmit_pending;
	serial->divisor = state->divisor;
	pthread_mutex_unlock(&serial->lock);
	/* Both raise the line for what the registers say is pending. */
	serial_receive(serial, state->input, state->input_len);
	serial_receive(serial, later, later_len);
}

#define I8042(member, kind) STATE_FIELD(struct i8042_state, member, kind, 1)

static const struct state_field i8042_fields[] = {
	I8042(control, STATE_U8),
	I8042(pending_command, STATE_U8),
	I8042(keyboard_wants, STATE_U8),
	STATE_BLOB(struct i8042_state, output, output_len, 1),
};

const struct state_desc i8042_state_desc = STATE_DESC("i8042", struct i8042_state, 1, i8042_fields);

_Static_assert(sizeof(((struct i8042_state *)0)->output) == sizeof(((struct i8042 *)0)->output),
	       "the saved output is the controller's");

void i8042_save(struct i8042 *i8042, struct i8042_state *state)
{
	pthread_mutex_lock(&i8042->lock);
	*state = (struct i8042_state){
		.control = i8042->control,
		.pending_command = i8042->pending_command,
		.keyboard_wants = i8042->keyboard_wants,
		.output_len = i8042->output_len,
	};
	memcpy(state->output, i8042->output, sizeof(state->output));
	pthread_mutex_unlock(&i8042->lock);
}

void i8042_load(struct i8042 *i8042, const struct i8042_state *state)
{
	pthread_mutex_lock(&i8042->lock);
	i8042->control = state->control;
	i8042->pending_command = state->pending_command;
	i8042->keyboard_wants = state->keyboard_wants;
	i8042->output_len = state->output_len;
	memcpy(i8042->output, state->output, sizeof(i8042->output));
	pthread_mutex_unlock(&i8042->lock);
	if (state->output_len)
		irq_line_raise(i8042->irq);
}
