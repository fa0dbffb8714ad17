/* A snapshot's files, opened and believed as far as they can be without a machine. */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/log.h"
#include "vmm/machine_snapshot_priv.h"

/* In the file of old versions, and of a guest that did not reach the service, the section is not there. */
static int read_mmds(struct machine_snapshot *snapshot, struct error *err)
{
	int ret;

	if (state_file_count(&snapshot->state, mmds_config_desc.name) == 0)
		return 0;
	snapshot->has_mmds = true;
	ret = state_file_get(&snapshot->state, &mmds_config_desc, 0, &snapshot->mmds, err);
	if (ret == 0 && !mmds_address_ok(snapshot->mmds.ipv4))
		ret = error_set(err, EINVAL,
				"snapshot %s: the metadata service's address is not link local",
				snapshot->state.name);
	return ret;
}

static int open_state(struct machine_snapshot *snapshot, const struct snapshot_file *file,
		      struct error *err)
{
	cleanup_fd int fd = file->path
				    ? open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
				    : fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	int ret;

	if (fd < 0)
		return error_set_errno(err, errno, "snapshot: cannot open %s",
				       snapshot->state_name);
	ret = state_file_read(&snapshot->state, fd, snapshot->state_name, err);
	if (ret == 0)
		ret = state_file_get(&snapshot->state, &snapshot_info_desc, 0, &snapshot->info,
				     err);
	if (ret == 0)
		ret = state_file_fill(&snapshot->state, &saved_config_desc, 0, &snapshot->saved,
				      err);
	if (ret == 0 && snapshot->saved.pages > GUEST_PAGES_2M)
		ret = error_set(err, EINVAL, "snapshot %s: damaged: unknown kind of pages",
				snapshot->state_name);
	return ret < 0 ? ret : read_mmds(snapshot, err);
}

/* The state of a diff goes with a layer, which cannot be loaded, and with what the layer was merged into: the
 * attributes alone tell which this is. */
static bool was_merged(int memory)
{
	return fgetxattr(memory, SNAPSHOT_ATTRIBUTE, NULL, 0) > 0 &&
	       fgetxattr(memory, SNAPSHOT_PARENT_ATTRIBUTE, NULL, 0) <= 0;
}

/* The pager has the memory, and says of it only what is in it. */
static int check_pager(const struct machine_snapshot *snapshot, struct error *err)
{
	if (snapshot->info.memory == snapshot->saved.memory)
		return 0;
	return error_set(err, EINVAL, "snapshot %s: damaged: two sizes of memory",
			 snapshot->state.name);
}

static int open_memory(struct machine_snapshot *snapshot, const char *path, struct error *err)
{
	const struct snapshot_info *info = &snapshot->info;
	struct stat st;

	if (snapshot->has_pager)
		return check_pager(snapshot, err);
	if (path)
		snapshot->memory = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (snapshot->memory < 0)
		return error_set_errno(err, errno, "snapshot: cannot open %s",
				       snapshot->memory_name);
	if (fstat(snapshot->memory, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "snapshot: %s is not a regular file",
				 snapshot->memory_name);
	if ((uint64_t)st.st_size != info->memory || info->memory != snapshot->saved.memory)
		return error_set(err, EINVAL,
				 "snapshot: %s has %ld bytes, but the memory saved with %s had %lu",
				 snapshot->memory_name, (long)st.st_size, snapshot->state.name,
				 info->memory);
	if (info->is_diff && !was_merged(snapshot->memory))
		return error_set(err, EINVAL,
				 "snapshot: %s is a diff; merge it with what it is based on first "
				 "(see `mayfly snapshot merge`)",
				 snapshot->memory_name);
	return 0;
}

/* The two files belong together by an id; an image that was copied without its attributes has none. */
static int check_pair(const struct machine_snapshot *snapshot, struct error *err)
{
	char wanted[SNAPSHOT_ID_TEXT], has[SNAPSHOT_ID_TEXT];

	if (snapshot->has_pager ||
	    !snapshot_read_attribute(snapshot->memory, SNAPSHOT_ATTRIBUTE, has))
		return 0;
	snapshot_id_text(snapshot->info.id, wanted);
	if (strcmp(has, wanted) == 0)
		return 0;
	return error_set(err, EINVAL,
			 "snapshot: %s and %s do not belong together: the memory is of %s, "
			 "the state of %s",
			 snapshot->memory_name, snapshot->state.name,
			 *has ? has
			      : "an unknown one (its attribute " SNAPSHOT_ATTRIBUTE " is no id)",
			 wanted);
}

/* Room for as many paths as a machine can have, of which few are touched: pages of its own, not malloc's, which
 * would clear it all. */
static struct machine_snapshot *new_snapshot(void)
{
	struct machine_snapshot *pages = mmap(NULL, sizeof(*pages), PROT_READ | PROT_WRITE,
					      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return NULL;
	pages->memory = -1;
	return pages;
}

/* Writes what is there to each page. */
static void touch(void *from, void *end)
{
	volatile uint8_t *at = from, *last = (uint8_t *)end - 1;

	for (; at < last; at += PAGE_SIZE)
		*at = *at;
	*last = *last;
}

/* What a load asks of the stack is there then. */
static __attribute__((noinline)) void warm_stack(void)
{
	volatile uint8_t room[KIB(32)];

	for (size_t at = 0; at < sizeof(room); at += PAGE_SIZE)
		room[at] = 0;
}

/* Reads a state, as a load does: the code for it lies in pages that nothing else touches before. */
static void warm_reading(void)
{
	const struct snapshot_info info = { .memory = 0 };
	struct state_writer writer = { .count = 0 };
	struct state_buffer bytes;
	struct state_file file;
	struct snapshot_info read;
	struct error err;

	state_writer_add(&writer, &snapshot_info_desc, 0, &info);
	if (state_writer_finish(&writer, &bytes, &err) == 0) {
		if (state_file_parse(&file, bytes.bytes, bytes.len, "none", &err) == 0) {
			(void)!state_file_get(&file, &snapshot_info_desc, 0, &read, &err);
			state_file_fini(&file);
		}
		free(bytes.bytes);
	}
	state_writer_fini(&writer);
}

struct machine_snapshot *machine_snapshot_room(const struct vm_config *shape)
{
	struct machine_snapshot *room = new_snapshot();
	struct saved_config *saved;

	if (!room)
		return NULL;
	saved = &room->saved;
	touch(room, saved->drives);
	touch(saved->drives, saved->drives + shape->drive_count);
	touch(saved->nets, saved->nets + shape->net_count);
	touch(saved->pmems, saved->pmems + shape->pmem_count);
	touch(&saved->vsock, room + 1);
	warm_stack();
	warm_reading();
	return room;
}

/* The names and the files; what a failure leaves open the caller closes. */
static int open_files(struct machine_snapshot *snapshot, const struct snapshot_file *state,
		      const struct snapshot_file *memory, struct error *err)
{
	int ret;

	snapshot->state_name = strdup(state->path ? state->path : "the state's descriptor");
	snapshot->memory_name = strdup(memory->path	  ? memory->path
				       : memory->is_pager ? "the passed connection"
							  : "the memory's descriptor");
	if (!snapshot->state_name || !snapshot->memory_name)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	ret = open_state(snapshot, state, err);
	if (ret == 0)
		ret = open_memory(snapshot, memory->path, err);
	return ret < 0 ? ret : check_pair(snapshot, err);
}

static void close_ending(int fd)
{
	if (fd > 0)
		close(fd);
}

int machine_snapshot_open(struct machine_snapshot **out, const struct snapshot_file *state,
			  const struct snapshot_file *memory, struct error *err)
{
	struct machine_snapshot *snapshot = *out ? *out : new_snapshot();
	int memory_fd = memory->path ? -1 : memory->fd;
	int ret;

	*out = NULL;
	if (!snapshot) {
		close_fd(&memory_fd);
		close_ending(memory->ending_fd);
		return error_set(err, ENOMEM, "snapshot: out of memory");
	}
	snapshot->has_pager = memory->is_pager;
	snapshot->pager_patience_ms = memory->patience_ms;
	snapshot->ending_fd = memory->ending_fd;
	snapshot->memory = memory_fd;
	ret = open_files(snapshot, state, memory, err);
	if (ret < 0) {
		machine_snapshot_close(snapshot);
		return ret;
	}
	config_load(&snapshot->saved, &snapshot->config);
	*out = snapshot;
	return 0;
}

void machine_snapshot_close(struct machine_snapshot *snapshot)
{
	if (!snapshot)
		return;
	state_file_fini(&snapshot->state);
	close_fd(&snapshot->memory);
	close_ending(snapshot->ending_fd);
	free(snapshot->state_name);
	free(snapshot->memory_name);
	munmap(snapshot, sizeof(*snapshot));
}

struct vm_config *machine_snapshot_config(struct machine_snapshot *snapshot)
{
	return &snapshot->config;
}

const struct mmds_config *machine_snapshot_mmds(const struct machine_snapshot *snapshot)
{
	return snapshot->has_mmds ? &snapshot->mmds : NULL;
}
