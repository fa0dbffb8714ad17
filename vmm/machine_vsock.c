/* The machine's vsock: from configuration to device. */
#include "virtio/virtio_vsock.h"
#include "vmm/machine_priv.h"

int machine_add_vsock(struct machine *machine, struct error *err)
{
	const struct vsock_config *vsock = &machine->config->vsock;
	const struct virtio_vsock_params params = { .path = vsock->path, .cid = vsock->cid };
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = machine_reserve(machine, &at, &irq, err);

	if (ret == 0)
		ret = virtio_vsock_create(&dev, &params, &machine->memory, machine->loops[0], irq,
					  err);
	return ret < 0 ? ret : machine_attach(machine, dev, &at, err);
}
