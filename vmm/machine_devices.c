/* The machine's virtio devices: where each is and what it is bound to, in the order of their addresses. */
#include <sys/mman.h>

#include "virtio/virtio_mmio.h"
#include "virtio/virtio_rng.h"
#include "vmm/machine_priv.h"

#define VIRTIO_MMIO_QUEUE_NOTIFY_OFFSET 0x50u

/* How long the end of the machine waits for a slow reader of the guest's last words. */
#define CONSOLE_PATIENCE_MS 2000

static void virtio_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	virtio_mmio_read(dev, offset, data, len);
}

static void virtio_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	virtio_mmio_write(dev, offset, data, len);
}

static const struct bus_ops virtio_ops = { virtio_read, virtio_write };

int machine_reserve(struct machine *machine, struct boot_device *at, struct irq_line **irq,
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

static int bind_queue(struct machine *machine, unsigned int device, unsigned int queue, bool to_fd)
{
	const int fd = virtio_device_notify_fd(machine->devices[device], queue);
	const uint64_t gpa = machine->addresses[device].gpa + VIRTIO_MMIO_QUEUE_NOTIFY_OFFSET;

	return kvm_ioeventfd(&machine->kvm, fd, gpa, queue, 4, to_fd);
}

static int ring_bell(struct virtio_bell *bell, struct virtio_device *dev, unsigned int queue,
		     bool to_fd)
{
	struct machine *machine = container_of(bell, struct machine, bell);
	unsigned int device = 0;

	while (machine->devices[device] != dev)
		device++;
	return bind_queue(machine, device, queue, to_fd);
}

/* A guest's notification goes from KVM straight to the device's loop; or, where the vCPU may serve it, to us as long as that
 * is worth it. */
static int bind_queues(struct machine *machine, unsigned int device, struct error *err)
{
	struct virtio_device *dev = machine->devices[device];

	if (dev->serves_here) {
		machine->bell.bind = ring_bell;
		dev->bell = &machine->bell;
		return 0;
	}
	for (unsigned int i = 0; i < virtio_device_queue_count(dev); i++) {
		int ret = bind_queue(machine, device, i, true);

		if (ret < 0)
			return error_set_errno(err, ret, "cannot bind queue %u (KVM_IOEVENTFD)", i);
	}
	return 0;
}

/* One mapping of ours, and two places in the guest: a page for each virtio device, then the IOAPIC's. */
#define VIRTIO_BYTES (LAYOUT_VIRTIO_DEVICES_MAX * LAYOUT_VIRTIO_MMIO_SIZE)
#define REGISTERS_BYTES (VIRTIO_BYTES + LAYOUT_IOAPIC_SIZE)

static int show_pages(struct machine *machine, uint8_t *pages, struct error *err)
{
	const struct guest_region places[] = {
		{ .gpa = LAYOUT_VIRTIO_MMIO, .size = VIRTIO_BYTES, .host = pages },
		{ .gpa = LAYOUT_IOAPIC, .size = LAYOUT_IOAPIC_SIZE, .host = pages + VIRTIO_BYTES },
	};
	int ret = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(places) && ret == 0; i++)
		ret = kvm_add_read_only(&machine->kvm, &machine->memory, i, &places[i], err);
	return ret;
}

int machine_show_registers(struct machine *machine, struct error *err)
{
	uint8_t *pages = mmap(NULL, REGISTERS_BYTES, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int ret;

	if (pages == MAP_FAILED)
		return error_set(err, ENOMEM, "out of memory");
	ret = show_pages(machine, pages, err);
	if (ret < 0) {
		munmap(pages, REGISTERS_BYTES);
		return ret == -EOPNOTSUPP ? 0
					  : ret; /* the guest has an exit for each, as without it */
	}
	machine->registers = pages;
	ioapic_show(&machine->routes.ioapic, pages + VIRTIO_BYTES);
	return 0;
}

int machine_attach(struct machine *machine, struct virtio_device *dev, const struct boot_device *at,
		   struct error *err)
{
	dev->notice_fd = machine->notice_fd;
	machine->devices[machine->device_count] = dev;
	machine->addresses[machine->device_count++] = *at;
	if (bus_add(&machine->mmio, at->gpa, at->size, &virtio_ops, dev) < 0)
		return error_set(err, ENOSPC, "too many devices on the bus");
	if (machine->registers)
		virtio_mmio_show(dev, machine->registers + (at->gpa - LAYOUT_VIRTIO_MMIO));
	return bind_queues(machine, machine->device_count - 1, err);
}

static int add_rng(struct machine *machine, struct error *err)
{
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = machine_reserve(machine, &at, &irq, err);

	if (ret < 0)
		return ret;
	ret = virtio_rng_create(&dev, "rng", &machine->config->rng.rate, &machine->memory,
				machine->loops[0], irq, err);
	if (ret < 0)
		return ret;
	return machine_attach(machine, dev, &at, err);
}

/* Linux numbers devices of a kind in the order of their addresses. */
int machine_add_virtio(struct machine *machine, struct error *err)
{
	const struct vm_config *config = machine->config;
	int ret = 0;

	for (unsigned int i = 0; i < config->drive_count && ret == 0; i++)
		ret = machine_add_drive(machine, i, err);
	for (unsigned int i = 0; i < config->net_count && ret == 0; i++)
		ret = machine_add_net(machine, i, err);
	for (unsigned int i = 0; i < config->pmem_count && ret == 0; i++)
		ret = machine_add_pmem(machine, i, err);
	if (ret == 0 && config->has_vsock)
		ret = machine_add_vsock(machine, err);
	if (ret == 0 && config->has_balloon)
		ret = machine_add_balloon(machine, err);
	if (ret == 0 && !config->no_rng)
		ret = add_rng(machine, err);
	return ret;
}

struct virtio_device *machine_device(struct machine *machine, uint32_t virtio_id,
				     unsigned int index)
{
	for (unsigned int i = 0; i < machine->device_count; i++)
		if (machine->devices[i]->ops->id == virtio_id && index-- == 0)
			return machine->devices[i];
	return NULL;
}

bool machine_device_breaks(struct machine *machine, unsigned int index, struct machine_breaks *out)
{
	struct virtio_device *dev;

	if (index >= machine->device_count)
		return false;
	dev = machine->devices[index];
	out->name = dev->name;
	out->count = atomic_load_explicit(&dev->breaks, memory_order_relaxed);
	pthread_mutex_lock(&dev->lock);
	memcpy(out->why, dev->why_broken, sizeof(out->why));
	pthread_mutex_unlock(&dev->lock);
	return true;
}

void machine_free_devices(struct machine *machine)
{
	machine_free_mmds(machine);
	for (unsigned int i = 0; i < machine->device_count; i++)
		virtio_device_destroy(machine->devices[i]);
	machine->device_count = 0;
	if (machine->registers)
		munmap(machine->registers, REGISTERS_BYTES);
	machine->registers = NULL;
	if (machine->sink && console_sink_fini(machine->sink, CONSOLE_PATIENCE_MS))
		free(machine->sink);
}
