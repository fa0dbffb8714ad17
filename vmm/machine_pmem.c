/*
 * The machine's pmem devices: files in the guest's address space, above its RAM, each at a multiple of 2 MiB. They are
 * mapped with the rest of memory, since slots are cheap only before the interrupt controllers; the devices follow.
 */

#include "virtio/iov.h"
#include "virtio/virtio_pmem.h"
#include "vmm/machine_priv.h"

static uint64_t next_address(const struct guest_memory *mem)
{
	uint64_t end = LAYOUT_HOLE_END;

	for (unsigned int i = 0; i < mem->count; i++)
		end = MAX(end, mem->regions[i].gpa + mem->regions[i].size);
	for (unsigned int i = 0; i < mem->window_count; i++)
		end = MAX(end, mem->windows[i].region.gpa + mem->windows[i].region.size);
	return align_up(end, PMEM_ALIGN);
}

static int map(struct machine *machine, unsigned int index, struct error *err)
{
	const struct pmem_config *pmem = &machine->config->pmems[index];
	struct machine_pmem *out = &machine->pmems[index];
	const struct pmem_file_params params = {
		.name = vm_config_pmem_name(machine->config, index),
		.path = pmem->path,
		.fd = pmem->fd,
		.read_only = pmem->read_only,
	};
	int ret = pmem_file_open(&out->file, &params, err);

	if (ret < 0)
		return ret;
	machine->pmem_count++;
	out->gpa = next_address(&machine->memory);
	return guest_memory_add_window(
		&machine->memory,
		&(struct guest_region){ out->gpa, out->file.size, out->file.host }, pmem->read_only,
		err);
}

int machine_map_pmems(struct machine *machine, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < machine->config->pmem_count && ret == 0; i++)
		ret = map(machine, i, err);
	return ret;
}

void machine_unmap_pmems(struct machine *machine)
{
	while (machine->pmem_count > 0)
		pmem_file_close(&machine->pmems[--machine->pmem_count].file);
}

int machine_add_pmem(struct machine *machine, unsigned int index, struct error *err)
{
	struct machine_pmem *pmem = &machine->pmems[index];
	const struct virtio_pmem_params params = { .file = &pmem->file,
						   .gpa = pmem->gpa,
						   .rate = machine->config->pmems[index].rate };
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret = machine_reserve(machine, &at, &irq, err);

	if (ret == 0)
		ret = virtio_pmem_create(&dev, &params, &machine->memory, machine->loops[0], irq,
					 err);
	if (ret < 0)
		return ret;
	pmem->dev = dev;
	return machine_attach(machine, dev, &at, err);
}

struct virtio_device *machine_pmem(struct machine *machine, unsigned int index)
{
	return index < machine->pmem_count ? machine->pmems[index].dev : NULL;
}

/* Lost pages ------------------------------------------------------------------------------------*/

/* A load or a save that reads it finds out by itself. */
static bool repair_memory(struct machine *machine, const void *addr)
{
	const bool idle = machine->paused || !machine->started;

	if (!idle)
		iov_lose_memory();
	return memory_pager_repair(machine->pager, addr, idle);
}

bool machine_repair_at(struct machine *machine, const void *addr)
{
	for (unsigned int i = 0; i < machine->pmem_count; i++)
		if (pmem_file_repair(&machine->pmems[i].file, addr))
			return true;
	return machine->pager && repair_memory(machine, addr);
}

void machine_check_pmems(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->pmem_count; i++) {
		pmem_file_check(&machine->pmems[i].file);
		pmem_file_tell(&machine->pmems[i].file);
	}
}

static bool are_repaired(const struct machine *machine, unsigned int *seen)
{
	unsigned int repairs = 0;

	for (unsigned int i = 0; i < machine->pmem_count; i++)
		repairs += atomic_load(&machine->pmems[i].file.repairs);
	if (repairs == *seen)
		return false;
	*seen = repairs;
	return true;
}

/* Another vCPU, or the file watch, may have been here since this one's KVM_RUN failed: then it tries again, once. */
bool machine_repair_pmems(struct machine *machine, unsigned int *seen)
{
	machine_check_pmems(machine);
	if (are_repaired(machine, seen))
		return true;
	for (unsigned int i = 0; i < machine->pmem_count; i++) {
		pmem_file_detach_if_stuck(&machine->pmems[i].file);
		pmem_file_tell(&machine->pmems[i].file);
	}
	return are_repaired(machine, seen);
}

int machine_refuse_lost_pmems(struct machine *machine, struct error *err)
{
	machine_check_pmems(machine);
	for (unsigned int i = 0; i < machine->pmem_count; i++) {
		const struct pmem_file *file = &machine->pmems[i].file;

		if (atomic_load(&file->failed))
			return error_set(err, EIO,
					 "pmem %s: what the guest has of %s is not in the file any "
					 "more, and would not be in a snapshot",
					 file->name, file->label);
	}
	return 0;
}

int machine_watch_pmems(const struct machine *machine, int inotify)
{
	int ret = 0;

	for (unsigned int i = 0; i < machine->pmem_count && ret == 0; i++)
		ret = file_watch(inotify, machine->pmems[i].file.fd, machine->pmems[i].file.path);
	return ret;
}
