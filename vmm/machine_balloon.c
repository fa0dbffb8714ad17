/* The machine's balloon: from configuration to device. */
#include "virtio/virtio_balloon.h"
#include "vmm/machine_priv.h"

int machine_add_balloon(struct machine *machine, struct error *err)
{
	const struct balloon_config *balloon = &machine->config->balloon;
	const struct virtio_balloon_params params = {
		.name = "balloon",
		.target_mib = balloon->target_mib,
		.deflate_on_oom = balloon->deflate_on_oom,
		.stats_interval_s = (uint16_t)balloon->stats_interval_s,
		.reporting = balloon->free_page_reporting,
		.hinting = balloon->free_page_hinting,
	};
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = machine_reserve(machine, &at, &irq, err);

	if (ret == 0)
		ret = virtio_balloon_create(&dev, &params, &machine->memory, machine->loops[0], irq,
					    err);
	if (ret < 0)
		return ret;
	machine->balloon = dev;
	return machine_attach(machine, dev, &at, err);
}

struct virtio_device *machine_balloon(struct machine *machine)
{
	return machine->balloon;
}
