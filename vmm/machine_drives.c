/* The machine's drives: from configuration to device. */
#include <sys/stat.h>

#include "virtio/virtio_blk.h"
#include "vmm/machine_priv.h"

/* A drive may have no sectors (a place to be filled later), but who names an empty image by hand has
 * most likely named the wrong one. */
static int check_not_empty(const struct drive_config *drive, const char *name, struct error *err)
{
	struct stat st;
	int ret = drive->path ? stat(drive->path, &st) : fstat(drive->fd, &st);

	if (ret < 0 || !S_ISREG(st.st_mode) || st.st_size >= 512 || drive->may_be_empty)
		return 0; /* what else may be wrong with it shows when it is opened */
	if (st.st_size == 0)
		return error_set(
			err, EINVAL,
			"drive %s: %s is empty; name another, or give it a size (truncate -s)",
			name, drive->path ? drive->path : "its descriptor's file");
	return error_set(err, EINVAL, "drive %s: %s has %ld bytes, less than a sector of 512", name,
			 drive->path ? drive->path : "its descriptor's file", (long)st.st_size);
}

int machine_add_drive(struct machine *machine, unsigned int index, struct error *err)
{
	const struct drive_config *drive = &machine->config->drives[index];
	const char *name = vm_config_drive_name(machine->config, index);
	struct virtio_blk_params params = {
		.name = name,
		.path = drive->path,
		.fd = drive->fd,
		.read_only = drive->read_only,
		.direct = drive->direct,
		.unsafe = drive->unsafe,
		.num_queues = drive->num_queues,
		.queue_size = drive->queue_size,
		.serial = drive_name(index),
		.rate = drive->rate,
	};
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = check_not_empty(drive, name, err);

	if (ret == 0)
		ret = machine_reserve(machine, &at, &irq, err);
	if (ret == 0)
		ret = virtio_blk_create(&dev, &params, &machine->memory,
					machine->loops[drive->loop], irq, err);
	return ret < 0 ? ret : machine_attach(machine, dev, &at, err);
}
