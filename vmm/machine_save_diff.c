/* What is particular to a save of what has changed: what it is a change of, and where it goes. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "base/guest_dirty.h"
#include "base/log.h"
#include "snapshot/memory_layers.h"
#include "vmm/machine_save_priv.h"

int machine_track(struct machine *machine, struct error *err)
{
	int ret;

	if (machine->memory.dirty)
		return 0;
	ret = guest_dirty_start(&machine->memory, err);
	if (ret == 0)
		ret = kvm_track_memory(&machine->kvm, &machine->memory, err);
	if (ret < 0)
		guest_dirty_stop(&machine->memory);
	return ret;
}

/* A slot that stays as it is refuses nothing. */
void machine_untrack(struct machine *machine)
{
	struct error err;

	guest_dirty_stop(&machine->memory);
	if (kvm_track_memory(&machine->kvm, &machine->memory, &err) < 0)
		log_error("%s", err.text);
}

void machine_set_base(struct machine *machine, const struct snapshot_info *info)
{
	machine->base = (struct machine_base){ .is_there = true, .is_layer = info->is_diff };
	memcpy(machine->base.id, info->id, sizeof(info->id));
	memcpy(machine->base.parent, info->parent, sizeof(info->parent));
	if (machine->memory.dirty)
		guest_dirty_clear(&machine->memory);
}

/* What KVM has noted joins what we have, where it stays until a save has succeeded: a failed one loses nothing. */
int save_take_dirty(struct save *save, struct error *err)
{
	struct machine *machine = save->machine;
	const struct guest_memory *mem = &machine->memory;
	const uint64_t words = guest_dirty_words(mem);
	int ret;

	if (!mem->dirty)
		return 0;
	ret = kvm_take_dirty(&machine->kvm, mem, err);
	for (uint64_t i = 0; i < words && ret == 0 && save->is_diff; i++)
		save->pages.words[i] |= atomic_load_explicit(&mem->dirty[i], memory_order_relaxed);
	return ret;
}

/*
 * A copy without its attribute is believed to be of the last save, as a load believes it; but not when that was
 * a layer, for then it could as well be of what the layer is for.
 */
static int check_base(const struct save *save, int fd, struct error *err)
{
	const struct machine_base *base = &save->machine->base;
	char wanted[SNAPSHOT_ID_TEXT], failed[SNAPSHOT_ID_TEXT], has[SNAPSHOT_ID_TEXT];
	const bool is_known = snapshot_read_attribute(fd, SNAPSHOT_ATTRIBUTE, has);

	snapshot_id_text(base->failed, failed);
	snapshot_id_text(base->id, wanted);
	if (strcmp(has, wanted) == 0 || strcmp(has, failed) == 0 || (!is_known && !base->is_layer))
		return 0;
	return error_set(
		err, EINVAL,
		"%s is the memory of %s%s, but what has changed has changed since snapshot "
		"%s: name a file that is not there for a layer, or the memory file of that one",
		save->request->memory_path, *has ? "snapshot " : "an unknown snapshot", has,
		wanted);
}

/* An existing file of the memory's size. */
int save_find_base(struct save *save, struct error *err)
{
	const struct save_request *request = save->request;
	int fd = request->memory_fd;
	struct stat st;

	if (fd <= 0)
		fd = save->there = open(request->memory_path,
					O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return error_set_errno(err, errno, "cannot open %s", request->memory_path);
	save->merges = S_ISREG(st.st_mode) && (uint64_t)st.st_size == save->info.memory;
	return save->merges ? check_base(save, fd, err) : 0;
}

static int copy_base(struct save *save, struct error *err)
{
	struct progress *progress = save->request->progress;
	int ret;

	progress_begin(progress, "copy", memory_layers_bytes(save->there));
	ret = memory_layers_lay(save->there, save->memory.fd, save->info.memory, progress);
	if (ret < 0)
		return error_set_errno(err, ret, "cannot copy %s", save->request->memory_path);
	progress_end(progress);
	return 0;
}

int save_begin_diff(struct save *save, struct error *err)
{
	struct machine_base *base = &save->machine->base;

	save->info.is_diff = !save->merges || base->is_layer;
	if (save->info.is_diff)
		memcpy(save->info.parent, save->merges ? base->parent : base->id,
		       sizeof(save->info.parent));
	if (!save->merges)
		return 0;
	if (save->there >= 0)
		return copy_base(save, err);
	memcpy(base->failed, save->info.id, sizeof(base->failed)); /* unless it succeeds */
	return 0;
}

int save_end_diff(struct save *save, struct error *err)
{
	char parent[SNAPSHOT_ID_TEXT];
	int64_t data;

	if (!save->info.is_diff)
		return 0;
	/* So that the layer is not taken for all of memory. Where there are no attributes a load refuses it. */
	snapshot_id_text(save->info.parent, parent);
	(void)fsetxattr(save->memory.fd, SNAPSHOT_PARENT_ATTRIBUTE, parent, strlen(parent), 0);
	if (save->merges)
		return 0;
	data = memory_layers_data_pages(save->memory.fd, save->info.memory);
	if (data == (int64_t)save->info.written_pages)
		return 0;
	return error_set(
		err, ENOTSUP,
		"%s: its filesystem does not keep the holes of single pages, so a layer there "
		"would change what has not changed; save onto a copy of the last memory file",
		save->request->memory_path);
}
