/* The machine's devices: what each is bound to, in the order of their addresses. */
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_mmio.h"
#include "virtio/virtio_rng.h"
#include "vmm/machine_priv.h"

#define VIRTIO_MMIO_QUEUE_NOTIFY_OFFSET 0x50u

/* How long the end of the machine waits for a slow reader of the guest's last words. */
#define CONSOLE_PATIENCE_MS 2000

/* Legacy ----------------------------------------------------------------------------------------*/

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

/* Firecracker's boot timer: init stores 123 when it starts. */
static void boot_timer_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	struct machine *machine = dev;

	(void)len;
	if (offset == 0 && *(const uint8_t *)data == 123)
		timeline_mark(machine->timeline, MOMENT_INIT);
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

	if (machine->serial_room)
		machine->serial_room(machine->serial_room_opaque);
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
	serial_init(&machine->serial, irq, machine->sink);
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
	ret = bus_add(&machine->pio, LAYOUT_PORT_SLEEP_CONTROL, 2, &sleep_ops, machine);
	if (ret < 0)
		return ret;
	return bus_add(&machine->mmio, LAYOUT_BOOT_TIMER, 1, &boot_timer_ops, machine);
}

/* Virtio ----------------------------------------------------------------------------------------*/

static void virtio_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	virtio_mmio_read(dev, offset, data, len);
}

static void virtio_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	virtio_mmio_write(dev, offset, data, len);
}

static const struct bus_ops virtio_ops = { virtio_read, virtio_write };

/* The next free place: a register page and a line of its own. */
static int reserve(struct machine *machine, struct boot_device *at, struct irq_line **irq,
		   struct error *err)
{
	unsigned int n = machine->device_count;

	if (n == LAYOUT_VIRTIO_DEVICES_MAX)
		return error_set(err, ENOSPC, "more than %u virtio devices",
				 LAYOUT_VIRTIO_DEVICES_MAX);
	*at = (struct boot_device){
		.gpa = LAYOUT_VIRTIO_MMIO + n * LAYOUT_VIRTIO_MMIO_SIZE,
		.size = LAYOUT_VIRTIO_MMIO_SIZE,
		.gsi = LAYOUT_GSI_VIRTIO + n,
	};
	return irq_routes_line(&machine->routes, at->gsi, irq, err);
}

/* A guest's notification goes from KVM straight to the device's loop. */
static int bind_queues(struct machine *machine, struct virtio_device *dev, uint64_t gpa,
		       struct error *err)
{
	for (unsigned int i = 0; i < virtio_device_queue_count(dev); i++) {
		int ret = kvm_ioeventfd(&machine->kvm, virtio_device_notify_fd(dev, i),
					gpa + VIRTIO_MMIO_QUEUE_NOTIFY_OFFSET, i, 4);

		if (ret < 0)
			return error_set_errno(err, ret, "cannot bind queue %u (KVM_IOEVENTFD)", i);
	}
	return 0;
}

/* Takes the device over, also on failure. */
static int attach(struct machine *machine, struct virtio_device *dev, const struct boot_device *at,
		  struct error *err)
{
	machine->devices[machine->device_count] = dev;
	machine->addresses[machine->device_count++] = *at;
	if (bus_add(&machine->mmio, at->gpa, at->size, &virtio_ops, dev) < 0)
		return error_set(err, ENOSPC, "too many devices on the bus");
	return bind_queues(machine, dev, at->gpa, err);
}

static int add_rng(struct machine *machine, struct error *err)
{
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = reserve(machine, &at, &irq, err);

	if (ret == 0)
		ret = virtio_rng_create(&dev, "rng", &machine->memory, machine->loops[0], irq, err);
	return ret < 0 ? ret : attach(machine, dev, &at, err);
}

/* A drive may have no sectors (a place to be filled later), but who names an empty image by hand has
 * most likely named the wrong one. */
static int check_not_empty(const struct drive_config *drive, const char *name, struct error *err)
{
	struct stat st;
	int ret = drive->path ? stat(drive->path, &st) : fstat(drive->fd, &st);

	if (ret < 0 || !S_ISREG(st.st_mode) || st.st_size >= 512 || drive->may_be_empty)
		return 0; /* what else may be wrong with it shows when it is opened */
	if (st.st_size == 0)
		return error_set(err, EINVAL, "drive %s: %s is empty", name,
				 drive->path ? drive->path : "its descriptor's file");
	return error_set(err, EINVAL, "drive %s: %s has %ld bytes, less than a sector of 512", name,
			 drive->path ? drive->path : "its descriptor's file", (long)st.st_size);
}

static int add_drive(struct machine *machine, unsigned int index, struct error *err)
{
	const struct drive_config *drive = &machine->config->drives[index];
	struct virtio_blk_params params = {
		.name = drive_name(index),
		.path = drive->path,
		.fd = drive->fd,
		.read_only = drive->read_only,
		.direct = drive->direct,
		.unsafe = drive->unsafe,
		.num_queues = drive->num_queues,
		.queue_size = drive->queue_size,
		.serial = drive_name(index),
	};
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = check_not_empty(drive, drive_name(index), err);

	if (ret == 0)
		ret = reserve(machine, &at, &irq, err);
	if (ret == 0)
		ret = virtio_blk_create(&dev, &params, &machine->memory,
					machine->loops[drive->loop], irq, err);
	return ret < 0 ? ret : attach(machine, dev, &at, err);
}

/* Drives first: Linux names them in the order of their addresses. */
int machine_add_virtio(struct machine *machine, struct error *err)
{
	for (unsigned int i = 0; i < machine->config->drive_count; i++) {
		int ret = add_drive(machine, i, err);

		if (ret < 0)
			return ret;
	}
	return add_rng(machine, err);
}

void machine_free_devices(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->device_count; i++)
		virtio_device_destroy(machine->devices[i]);
	machine->device_count = 0;
	if (machine->sink && console_sink_fini(machine->sink, CONSOLE_PATIENCE_MS))
		free(machine->sink);
}
