/* The machine's network interfaces: from configuration to device. */
#include "virtio/virtio_net.h"
#include "vmm/machine_priv.h"

int machine_add_net(struct machine *machine, unsigned int index, struct error *err)
{
	const struct net_config *config = &machine->config->nets[index];
	const char *name = vm_config_net_name(machine->config, index);
	const struct net_tap_params tap = {
		.net = name,
		.tap = config->tap,
		.fd = config->fd,
		.pairs = config->queue_pairs ? config->queue_pairs : 1,
	};
	struct virtio_net_params params = {
		.name = name,
		.has_mac = config->has_mac,
		.mtu = config->mtu,
		.antispoof = config->antispoof,
		.rx_rate = config->rx_rate,
		.tx_rate = config->tx_rate,
		.queue_size = config->queue_size,
	};
	struct net_backend *backend = NULL;
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = machine_reserve(machine, &at, &irq, err);

	memcpy(params.mac, config->mac, sizeof(params.mac));
	if (ret == 0)
		ret = net_tap_open(&backend, &tap, err);
	if (ret == 0)
		ret = virtio_net_create(&dev, &params, backend, &machine->memory, machine->loops[0],
					irq, err);
	if (ret == 0)
		ret = machine_attach(machine, dev, &at, err);
	/* A snapshot's is served when it is taken up. */
	if (ret == 0 && config->mmds && machine->config->mmds)
		ret = machine_serve_mmds(machine, index, machine->config->mmds, err);
	return ret;
}
