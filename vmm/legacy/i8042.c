#include "vmm/legacy/i8042.h"

#include <string.h>

#include "vmm/bus.h"

#define PORT_DATA 0
#define PORT_COMMAND 4 /* status when read */

#define STATUS_OUTPUT_FULL 0x01
#define STATUS_SYSTEM 0x04
#define STATUS_UNLOCKED 0x10

#define CONTROL_KEYBOARD_IRQ 0x01
#define CONTROL_SYSTEM 0x04
#define CONTROL_KEYBOARD_OFF 0x10
#define CONTROL_AUX_OFF 0x20
#define CONTROL_TRANSLATE 0x40

#define COMMAND_READ_CONTROL 0x20
#define COMMAND_WRITE_CONTROL 0x60
#define COMMAND_AUX_DISABLE 0xa7
#define COMMAND_SELF_TEST 0xaa
#define COMMAND_KEYBOARD_TEST 0xab
#define COMMAND_KEYBOARD_DISABLE 0xad
#define COMMAND_KEYBOARD_ENABLE 0xae
#define COMMAND_READ_OUTPUT_PORT 0xd0
#define COMMAND_WRITE_OUTPUT_PORT 0xd1
#define COMMAND_ECHO_KEYBOARD 0xd2
#define COMMAND_RESET 0xfe

#define OUTPUT_PORT_NO_RESET 0x01
#define OUTPUT_PORT_A20 0x02

#define KEYBOARD_LEDS 0xed
#define KEYBOARD_SCANCODE_SET 0xf0
#define KEYBOARD_IDENTIFY 0xf2
#define KEYBOARD_RATE 0xf3
#define KEYBOARD_RESET 0xff
#define KEYBOARD_ACK 0xfa
#define KEYBOARD_SELF_TEST_OK 0xaa

static void put(struct i8042 *i8042, uint8_t byte)
{
	if (i8042->output_len == sizeof(i8042->output)) {
		i8042->errors++;
		return; /* as the chip: a guest that does not read loses what comes next */
	}
	i8042->output[i8042->output_len++] = byte;
}

static void put_from_keyboard(struct i8042 *i8042, uint8_t byte)
{
	put(i8042, byte);
	if (i8042->control & CONTROL_KEYBOARD_IRQ)
		irq_line_raise(i8042->irq);
}

static uint8_t take(struct i8042 *i8042)
{
	uint8_t byte = i8042->output[0];

	if (i8042->output_len == 0)
		return 0;
	i8042->output_len--;
	memmove(i8042->output, i8042->output + 1, i8042->output_len);
	/* One interrupt a byte: the next one in line announces itself now. */
	if (i8042->output_len && (i8042->control & CONTROL_KEYBOARD_IRQ))
		irq_line_raise(i8042->irq);
	return byte;
}

static void keyboard_byte(struct i8042 *i8042, uint8_t byte)
{
	put_from_keyboard(i8042, KEYBOARD_ACK);
	if (i8042->keyboard_wants) {
		i8042->keyboard_wants = 0;
		return;
	}
	switch (byte) {
	case KEYBOARD_RESET:
		put_from_keyboard(i8042, KEYBOARD_SELF_TEST_OK);
		break;
	case KEYBOARD_IDENTIFY:
		put_from_keyboard(i8042, 0xab);
		put_from_keyboard(i8042, 0x83);
		break;
	case KEYBOARD_LEDS:
	case KEYBOARD_SCANCODE_SET:
	case KEYBOARD_RATE:
		i8042->keyboard_wants = byte;
		break;
	}
}

/* Returns true when the byte pulls the reset line. */
static bool data_write(struct i8042 *i8042, uint8_t byte)
{
	uint8_t command = i8042->pending_command;

	i8042->pending_command = 0;
	switch (command) {
	case COMMAND_WRITE_CONTROL:
		i8042->control = byte;
		return false;
	case COMMAND_WRITE_OUTPUT_PORT:
		return !(byte & OUTPUT_PORT_NO_RESET);
	case COMMAND_ECHO_KEYBOARD:
		put_from_keyboard(i8042, byte);
		return false;
	default:
		keyboard_byte(i8042, byte);
		return false;
	}
}

static bool command_write(struct i8042 *i8042, uint8_t command)
{
	i8042->pending_command = 0;
	switch (command) {
	case COMMAND_READ_CONTROL:
		put(i8042, i8042->control);
		break;
	case COMMAND_SELF_TEST:
		put(i8042, 0x55);
		break;
	case COMMAND_KEYBOARD_TEST:
		put(i8042, 0x00);
		break;
	case COMMAND_AUX_DISABLE:
		i8042->control |= CONTROL_AUX_OFF;
		break;
	case COMMAND_KEYBOARD_DISABLE:
		i8042->control |= CONTROL_KEYBOARD_OFF;
		break;
	case COMMAND_KEYBOARD_ENABLE:
		i8042->control &= (uint8_t)~CONTROL_KEYBOARD_OFF;
		break;
	case COMMAND_READ_OUTPUT_PORT:
		put(i8042, OUTPUT_PORT_NO_RESET | OUTPUT_PORT_A20);
		break;
	case COMMAND_WRITE_CONTROL:
	case COMMAND_WRITE_OUTPUT_PORT:
	case COMMAND_ECHO_KEYBOARD:
		i8042->pending_command = command;
		break;
	case COMMAND_RESET:
		return true;
	}
	return false;
}

static bool is_missed(uint64_t offset, unsigned int len)
{
	return len != 1 || (offset != PORT_DATA && offset != PORT_COMMAND);
}

static void i8042_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	struct i8042 *i8042 = dev;
	uint8_t value = 0;

	i8042->reads++;
	i8042->missed_reads += is_missed(offset, len);
	pthread_mutex_lock(&i8042->lock);
	if (offset == PORT_DATA)
		value = take(i8042);
	else if (offset == PORT_COMMAND)
		value = STATUS_UNLOCKED | STATUS_SYSTEM |
			(i8042->output_len ? STATUS_OUTPUT_FULL : 0);
	pthread_mutex_unlock(&i8042->lock);
	memset(data, 0, len);
	*(uint8_t *)data = value;
}

static void i8042_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct i8042 *i8042 = dev;
	uint8_t value = *(const uint8_t *)data;
	bool reset = false;

	i8042->writes++;
	i8042->missed_writes += is_missed(offset, len);
	pthread_mutex_lock(&i8042->lock);
	if (offset == PORT_DATA)
		reset = data_write(i8042, value);
	else if (offset == PORT_COMMAND)
		reset = command_write(i8042, value);
	pthread_mutex_unlock(&i8042->lock);
	i8042->resets += reset;
	if (reset)
		i8042->reset(i8042->opaque);
}

const struct bus_ops i8042_ops = { i8042_read, i8042_write };

void i8042_init(struct i8042 *i8042, struct irq_line *irq, void (*reset)(void *), void *opaque)
{
	*i8042 = (struct i8042){
		.irq = irq,
		.reset = reset,
		.opaque = opaque,
		.control = CONTROL_SYSTEM | CONTROL_TRANSLATE | CONTROL_AUX_OFF,
	};
	pthread_mutex_init(&i8042->lock, NULL);
}

/* Scan code set 1, which is what Linux sees of set 2 through a controller that translates. A guest that
 * leaves the bytes where they are gets no more of them. */
void i8042_press_ctrl_alt_del(struct i8042 *i8042)
{
	static const uint8_t keys[] = { 0x1d, 0x38, 0xe0, 0x53, 0xe0, 0xd3, 0xb8, 0x9d };

	pthread_mutex_lock(&i8042->lock);
	if (i8042->output_len + sizeof(keys) <= sizeof(i8042->output))
		for (size_t i = 0; i < sizeof(keys); i++)
			put_from_keyboard(i8042, keys[i]);
	pthread_mutex_unlock(&i8042->lock);
}
