/* The memory of a machine that takes up a snapshot: mapped, copied into huge pages, or filled in by a handler. */
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>

#include "snapshot/memory_image.h"
#include "vmm/machine_snapshot_priv.h"

/* What became of guest memory, as a sentence about the handler. */
static const char *pager_fault(enum memory_pager_end end)
{
	return end == MEMORY_PAGER_GONE ? "is gone, and with it guest memory" : "does not answer";
}

/* On the pager's thread. */
static void pager_lost(void *opaque, enum memory_pager_end why)
{
	struct machine *machine = opaque;
	char text[512];

	snprintf(text, sizeof(text), "%s: the page-fault handler %s", machine->pager_name,
		 pager_fault(why));
	machine_set_end(machine, why == MEMORY_PAGER_LEFT ? MACHINE_STOPPED : MACHINE_MEMORY_LOST,
			text);
}

int machine_got_image(struct machine *machine, int ret, struct error *err)
{
	const enum memory_pager_end end = memory_pager_got(machine->pager);

	if (end == MEMORY_PAGER_SERVES)
		return ret;
	return error_set(err, end == MEMORY_PAGER_SILENT ? ETIMEDOUT : EIO,
			 "the page-fault handler at %s %s", machine->pager_name, pager_fault(end));
}

/* Whose memory it is the handler knows. */
static int map_pager(struct machine *machine, const struct machine_snapshot *snapshot,
		     struct error *err)
{
	const bool by_name = snapshot->memory < 0;
	struct memory_pager_params params = {
		.socket = by_name ? snapshot->memory_name : NULL,
		.fd = -1,
		.page_size = guest_memory_granule(&machine->memory),
		.patience_ms = snapshot->pager_patience_ms,
		.ending_fd = snapshot->ending_fd,
		.lost = pager_lost,
		.opaque = machine,
	};
	int ret = guest_memory_map_zeroes(&machine->memory, err);

	if (ret < 0)
		return ret;
	if (!by_name)
		params.fd = fcntl(snapshot->memory, F_DUPFD_CLOEXEC, 3);
	machine->pager_name = snapshot->memory_name;
	machine->pager_patience_ms = snapshot->pager_patience_ms;
	return memory_pager_start(&machine->pager, &machine->memory, &params, err);
}

/* A file on hugetlbfs, or a memfd with MFD_HUGETLB. */
static bool is_huge(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 && fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize == MIB(2);
}

/* An ordinary file has no pages of 2 MiB to map. */
static int copy_memory(struct machine *machine, const struct machine_snapshot *snapshot,
		       struct error *err)
{
	int ret = guest_memory_map_zeroes(&machine->memory, err);

	if (ret < 0)
		return ret;
	ret = memory_image_read(snapshot->memory, &machine->memory);
	return ret < 0 ? error_set_errno(err, ret, "cannot read %s", snapshot->memory_name) : 0;
}

int machine_map_image(struct machine *machine, const struct machine_snapshot *snapshot,
		      enum guest_pages pages, struct error *err)
{
	uint64_t offset = 0;
	bool huge;
	int ret;

	machine->memory.pages = pages;
	if (snapshot->has_pager)
		return map_pager(machine, snapshot, err);
	huge = is_huge(snapshot->memory);
	if (!huge && pages == GUEST_PAGES_2M)
		return copy_memory(machine, snapshot, err);
	if (huge)
		ret = guest_memory_map_huge_image(&machine->memory, snapshot->memory, err);
	else if ((ret = guest_memory_map_image(&machine->memory, snapshot->memory)) < 0)
		ret = error_set_errno(err, ret, "cannot map %s", snapshot->memory_name);
	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < machine->memory.count && ret == 0; i++) {
		const struct guest_region *region = &machine->memory.regions[i];

		offset += region->size;
		ret = file_backings_add(&machine->backings, region->host, region->size, offset,
					snapshot->memory, snapshot->memory_name, err);
	}
	return ret;
}

void machine_unmap_image(struct machine *machine)
{
	memory_pager_stop(machine->pager);
	machine->pager = NULL;
	file_backings_fini(&machine->backings);
	guest_memory_unmap(&machine->memory);
}
