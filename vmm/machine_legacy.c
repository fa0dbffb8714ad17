/* What a machine has beside virtio: serial port, i8042, power button, boot timer, VMGenID's interrupt. */
#include <string.h>

#include "base/log.h"
#include "vmm/machine_priv.h"

static void on_reset(void *opaque)
{
	machine_set_end(opaque, MACHINE_RESET, "the guest has restarted (i8042)");
}

/* ACPI's sleep control register: SLP_TYP in bits 2 to 4, SLP_EN in bit 5 (ACPI 6.4, 4.8.3.7). */
static void sleep_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	uint8_t value = *(const uint8_t *)data;

	(void)len;
	if (offset == 0 && (value & 0x20) && (value >> 2 & 7) == LAYOUT_SLP_TYP_S5)
		machine_set_end(dev, MACHINE_POWERED_OFF, "the guest has powered off (ACPI)");
}

static void read_zeroes(void *dev, uint64_t offset, void *data, unsigned int len)
{
	(void)dev;
	(void)offset;
	memset(data, 0, len);
}

static const struct bus_ops sleep_ops = { read_zeroes, sleep_write };

/* Since a client asked for the start; in Firecracker's words. */
static void log_boot_time(struct timeline *timeline)
{
	uint64_t us = (clock_now_ns(CLOCK_MONOTONIC) - timeline->at[MOMENT_ASKED]) / 1000;
	uint64_t cpu = (clock_now_ns(CLOCK_PROCESS_CPUTIME_ID) - timeline->asked_cpu) / 1000;

	log_info("Guest-boot-time = %6lu us %lu ms, %6lu CPU us %lu CPU ms", us, us / 1000, cpu,
		 cpu / 1000);
}

/* Firecracker's boot timer: init stores 123 when it starts. */
static void boot_timer_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	const uint64_t one = 1;
	struct machine *machine = dev;

	(void)len;
	if (offset != 0 || *(const uint8_t *)data != 123)
		return;
	timeline_mark(machine->timeline, MOMENT_INIT);
	if (write(machine->notice_fd, &one, sizeof(one)) < 0)
		log_error("cannot signal that init runs");
	if (machine->config->log_boot_time)
		log_boot_time(machine->timeline);
}

static const struct bus_ops boot_timer_ops = { read_zeroes, boot_timer_write };

static void on_first_output(void *opaque)
{
	struct machine *machine = opaque;

	timeline_mark(machine->timeline, MOMENT_FIRST_OUTPUT);
}

static void on_input_room(void *opaque)
{
	struct machine *machine = opaque;

	for (unsigned int i = 0; i < SERIAL_ROOMS_MAX && machine->serial_rooms[i].room; i++)
		machine->serial_rooms[i].room(machine->serial_rooms[i].opaque);
}

static int add_serial(struct machine *machine, struct error *err)
{
	const struct vm_config *config = machine->config;
	struct irq_line *irq;
	int ret = irq_routes_line(&machine->routes, LAYOUT_GSI_SERIAL, &irq, err);

	if (ret < 0)
		return ret;
	machine->sink = calloc(1, sizeof(*machine->sink));
	if (!machine->sink)
		return error_set(err, ENOMEM, "console: out of memory");
	console_sink_init(machine->sink, config->has_console ? config->console_fd : -1,
			  serial_output_room, &machine->serial);
	serial_init(&machine->serial, irq, machine->sink, &config->serial_limit);
	machine->serial.first_output = on_first_output;
	machine->serial.input_room = on_input_room;
	machine->serial.opaque = machine;
	return bus_add(&machine->pio, LAYOUT_PORT_SERIAL, SERIAL_PORTS, &serial_ops,
		       &machine->serial);
}

static int add_i8042(struct machine *machine, struct error *err)
{
	struct irq_line *irq;
	int ret = irq_routes_line(&machine->routes, LAYOUT_GSI_KEYBOARD, &irq, err);

	if (ret < 0)
		return ret;
	i8042_init(&machine->i8042, irq, on_reset, machine);
	return bus_add(&machine->pio, LAYOUT_PORT_I8042_DATA, I8042_PORTS, &i8042_ops,
		       &machine->i8042);
}

int machine_add_legacy(struct machine *machine, struct error *err)
{
	int ret;

	if ((ret = add_serial(machine, err)) < 0 || (ret = add_i8042(machine, err)) < 0)
		return ret;
	ret = irq_routes_line(&machine->routes, LAYOUT_GSI_EVENTS, &machine->vmgenid.irq, err);
	if (ret < 0)
		return ret;
	ret = bus_add(&machine->pio, LAYOUT_PORT_SLEEP_CONTROL, 2, &sleep_ops, machine);
	if (ret < 0)
		return ret;
	return bus_add(&machine->mmio, LAYOUT_BOOT_TIMER, 1, &boot_timer_ops, machine);
}

void machine_press_ctrl_alt_del(struct machine *machine)
{
	i8042_press_ctrl_alt_del(&machine->i8042);
}
