/* A paused machine, written to files. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/xattr.h>

#include "base/log.h"
#include "base/version.h"
#include "virtio/virtio_device_state.h"
#include "vmm/clock_state.h"
#include "vmm/irq_state.h"
#include "vmm/legacy/legacy_state.h"
#include "vmm/machine_save_priv.h"
#include "vmm/snapshot_needs.h"
#include "vmm/vcpu_state.h"

/* Sections ----------------------------------------------------------------------------------------*/

int machine_save_vcpus(struct machine *machine, struct vcpu_state **out, struct error *err)
{
	const unsigned int count = machine->vcpu_count;
	struct vcpu_state *states = calloc(count, sizeof(*states));
	struct error errors[LAYOUT_VCPUS_MAX] = { 0 };
	int ret = 0;

	*out = states;
	if (!states)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	for (unsigned int i = 0; i < count; i++)
		vcpu_start_task(&machine->vcpus[i], vcpu_save, &states[i], &errors[i]);
	for (unsigned int i = 0; i < count; i++) {
		if (vcpu_wait_task(&machine->vcpus[i]) < 0 && ret == 0) {
			*err = errors[i];
			ret = err->code;
		}
	}
	return ret;
}

static int save_vcpus(struct save *save, struct error *err)
{
	struct vcpu_state *states cleanup_free = NULL;
	int ret = machine_save_vcpus(save->machine, &states, err);

	for (unsigned int i = 0; i < save->machine->vcpu_count && ret == 0; i++) {
		snapshot_need_vcpu(&save->info, &states[i]);
		state_writer_add(&save->writer, &vcpu_state_desc, i, &states[i]);
	}
	return ret;
}

/* What it has beside registers and queues. */
static int save_own(struct save *save, unsigned int index, struct error *err)
{
	struct virtio_device *dev = save->machine->devices[index];
	void *own cleanup_free = NULL;

	if (!dev->ops->state)
		return 0;
	own = calloc(1, dev->ops->state->size);
	if (!own)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	dev->ops->save(dev, own);
	state_writer_add(&save->writer, dev->ops->state, index, own);
	return 0;
}

static int save_device(struct save *save, unsigned int index, struct error *err)
{
	struct virtio_device_state *core cleanup_free = malloc(sizeof(*core));

	if (!core)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	virtio_device_save(save->machine->devices[index], core);
	state_writer_add(&save->writer, &virtio_device_state_desc, index, core);
	return save_own(save, index, err);
}

static int save_config(struct save *save, struct error *err)
{
	struct saved_config *config cleanup_free = malloc(sizeof(*config));
	int ret;

	if (!config)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	ret = config_save(save->machine->config, config, err);
	config->pages = (uint32_t)save->machine->memory.pages;
	for (unsigned int i = 0; i < config->net_count; i++)
		config->nets[i].mmds = save->machine->mmds[i] != NULL;
	if (ret == 0)
		state_writer_add(&save->writer, &saved_config_desc, 0, config);
	if (ret == 0 && save->machine->mmds_service)
		state_writer_add(&save->writer, &mmds_config_desc, 0,
				 &save->machine->mmds_service->config);
	return ret;
}

static int save_cpuid(struct save *save, struct error *err)
{
	struct cpuid_state *state cleanup_free = malloc(sizeof(*state));

	if (!state)
		return error_set(err, ENOMEM, "snapshot: out of memory");
	cpuid_to_state(&save->machine->cpuid.table, state);
	state_writer_add(&save->writer, &cpuid_state_desc, 0, state);
	return 0;
}

static void save_legacy(struct save *save)
{
	struct machine *machine = save->machine;
	struct irq_state irq;
	struct serial_state serial;
	struct i8042_state i8042;
	const struct vmgenid_state vmgenid = { .gpa = machine->vmgenid.gpa };

	irq_save(&machine->routes, &irq);
	serial_save(&machine->serial, &serial);
	i8042_save(&machine->i8042, &i8042);
	state_writer_add(&save->writer, &irq_state_desc, 0, &irq);
	state_writer_add(&save->writer, &serial_state_desc, 0, &serial);
	state_writer_add(&save->writer, &i8042_state_desc, 0, &i8042);
	state_writer_add(&save->writer, &vmgenid_state_desc, 0, &vmgenid);
	state_writer_add(&save->writer, &vmclock_state_desc, 0, &machine->vmclock);
}

/* The clock next to the vCPUs' counters. */
static int save_sections(struct save *save, struct error *err)
{
	struct machine *machine = save->machine;
	struct clock_state clock;
	int ret;

	if ((ret = save_config(save, err)) < 0 || (ret = save_cpuid(save, err)) < 0 ||
	    (ret = clock_save(&machine->kvm, &clock, err)) < 0)
		return ret;
	state_writer_add(&save->writer, &clock_state_desc, 0, &clock);
	ret = save_vcpus(save, err);
	if (ret == 0)
		save_legacy(save);
	for (unsigned int i = 0; i < machine->device_count && ret == 0; i++)
		ret = save_device(save, i, err);
	return ret;
}

/* Memory ------------------------------------------------------------------------------------------*/

/* Pages of files (a kernel, an initrd, the image that this machine started from) are not the page cache's
 * to tell of. */
static void add_file_pages(struct save *save)
{
	const struct machine *machine = save->machine;

	for (unsigned int i = 0; i < machine->backings.count; i++) {
		const struct file_backing *backing = &machine->backings.entries[i];
		uint64_t first;

		if (machine->adopted)
			memory_image_add_data(backing->fd, &save->pages);
		else if (memory_image_page_of(&machine->memory, backing->host, &first))
			page_set_add(&save->pages, first,
				     align_up(backing->len, PAGE_SIZE) / PAGE_SIZE);
	}
}

static int find_pages(struct save *save, struct error *err)
{
	const struct guest_memory *mem = &save->machine->memory;
	int ret = page_set_init(&save->pages, memory_image_pages(mem), err);

	if (ret == 0)
		ret = save_take_dirty(save, err);
	if (ret < 0 || save->is_diff)
		return ret;
	/* What a pager has not been asked for yet is not there, and may be anything. */
	if (save->machine->pager)
		page_set_add(&save->pages, 0, save->pages.pages);
	else
		ret = memory_image_add_resident(mem, &save->pages, err);
	if (ret == 0)
		add_file_pages(save);
	return ret;
}

static void set_attribute(struct save *save)
{
	static bool told;
	char text[SNAPSHOT_ID_TEXT];

	snapshot_id_text(save->info.id, text);
	save->info.has_attribute = fsetxattr(save->memory.fd, SNAPSHOT_ATTRIBUTE, text,
					     strlen(text), 0) == 0;
	if (save->info.has_attribute || told)
		return;
	told = true;
	log_warn("%s: its filesystem takes no user attributes (%s): a load cannot tell whether "
		 "memory and state belong together",
		 save->request->memory_path, strerrordesc_np(errno));
}

/* What a file that is written in place was a layer of. */
static void clear_parent(struct save *save)
{
	if (fgetxattr(save->memory.fd, SNAPSHOT_PARENT_ATTRIBUTE, NULL, 0) > 0)
		(void)fsetxattr(save->memory.fd, SNAPSHOT_PARENT_ATTRIBUTE, "", 0, 0);
}

static int open_target(struct new_file *file, const char *path, int fd, bool keep,
		       struct error *err)
{
	return fd > 0 ? new_file_take(file, fd, keep, path, err) : new_file_open(file, path, err);
}

static void say_without_ring(int why)
{
	static bool told;

	if (!told)
		log_warn(
			"snapshots: their memory is not written by io_uring (%s) but by one thread, one "
			"piece after the other",
			strerrordesc_np(-why));
	told = true;
}

/* By the ring of the I/O loop, whose devices have been drained: none can be made once the machine has its filters. */
static int write_pages(struct save *save, struct memory_write_result *pages, struct error *err)
{
	const struct memory_write job = { .fd = save->memory.fd,
					  .mem = &save->machine->memory,
					  .set = &save->pages,
					  .with_zeroes = save->is_diff,
					  .loop = save->machine->loops[0],
					  .progress = save->request->progress };
	int ret;

	progress_begin(job.progress, "memory", page_set_count(job.set) * PAGE_SIZE);
	ret = memory_write(&job, pages);
	if (ret < 0)
		error_set_errno(err, ret, "cannot write %s", save->request->memory_path);
	ret = machine_got_image(save->machine, ret, err);
	if (ret < 0)
		return ret;
	progress_end(job.progress);
	if (pages->ring < 0)
		say_without_ring(pages->ring);
	return 0;
}

/* Before there is a file: a handler that does not answer costs the save, and nothing of the machine. */
static int fetch_pages(struct save *save, struct error *err)
{
	struct machine *machine = save->machine;
	const struct page_fetch_job job = { .mem = &machine->memory,
					    .set = &save->pages,
					    .patience_ms = machine->pager_patience_ms,
					    .progress = save->request->progress };
	int ret;

	if (!machine->pager)
		return 0;
	progress_begin(job.progress, "fetch", page_set_count(job.set) * PAGE_SIZE);
	ret = machine->fetch ? 0 : page_fetch_create(&machine->fetch);
	if (ret == 0)
		ret = page_fetch(machine->fetch, &job);
	if (ret == -ETIMEDOUT)
		return error_set(err, ETIMEDOUT, "the page-fault handler at %s does not answer",
				 machine->pager_name);
	return ret < 0 ? error_set_errno(err, ret, "snapshot: cannot fetch memory") : 0;
}

static int write_memory(struct save *save, struct save_result *result, struct error *err)
{
	struct memory_write_result pages = { 0 };
	int ret = find_pages(save, err);

	if (ret == 0)
		ret = fetch_pages(save, err);
	if (ret == 0 && save->is_diff)
		ret = save_find_base(save, err);
	if (ret == 0)
		ret = open_target(&save->memory, save->request->memory_path,
				  save->request->memory_fd, save->merges, err);
	if (ret == 0 && save->is_diff)
		ret = save_begin_diff(save, err);
	if (ret < 0)
		return ret;
	/* First: a file that is written in place is no other's memory any more. */
	set_attribute(save);
	if (!save->info.is_diff)
		clear_parent(save);
	ret = write_pages(save, &pages, err);
	if (ret < 0)
		return ret;
	save->info.written_pages = pages.written;
	*result = (struct save_result){ pages.looked_at, pages.written };
	ret = save_end_diff(save, err);
	if (ret < 0)
		return ret;
	progress_begin(save->request->progress, "sync", 0);
	return new_file_sync(&save->memory, err);
}

/* Files -------------------------------------------------------------------------------------------*/

static int write_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t done = write(fd, bytes, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		bytes += done;
		len -= (size_t)done;
	}
	return 0;
}

static int write_state(struct save *save, struct error *err)
{
	struct state_buffer bytes;
	int ret;

	state_writer_add(&save->writer, &snapshot_info_desc, 0, &save->info);
	ret = state_writer_finish(&save->writer, &bytes, err);
	if (ret < 0)
		return ret;
	ret = open_target(&save->state, save->request->state_path, save->request->state_fd, false,
			  err);
	if (ret == 0) {
		ret = write_all(save->state.fd, bytes.bytes, bytes.len);
		if (ret < 0)
			error_set_errno(err, ret, "cannot write %s", save->request->state_path);
	}
	free(bytes.bytes);
	return ret < 0 ? ret : new_file_sync(&save->state, err);
}

/* Both are durable under other names by now: what can fail between the two renames is next to nothing. */
static int take_places(struct save *save, struct error *err)
{
	int ret;

	if ((ret = new_file_rename(&save->memory, err)) < 0 ||
	    (ret = new_file_rename(&save->state, err)) < 0 ||
	    (ret = new_file_sync_folder(&save->memory, err)) < 0)
		return ret;
	return new_file_sync_folder(&save->state, err);
}

static void describe(struct save *save)
{
	struct utsname host;

	save->info = (struct snapshot_info){
		.mayfly_version = MAYFLY_VERSION,
		.memory = guest_memory_size(&save->machine->memory),
		.created = clock_now_ns(CLOCK_REALTIME),
	};
	snapshot_need_basics(&save->info);
	if (uname(&host) == 0)
		snprintf(save->info.host_kernel, sizeof(save->info.host_kernel), "%.64s",
			 host.release);
}

static int new_id(struct save *save, struct error *err)
{
	if (getrandom(save->info.id, sizeof(save->info.id), 0) == (ssize_t)sizeof(save->info.id))
		return 0;
	return error_set_errno(err, errno, "snapshot: no random number to be had");
}

static bool is_same_file(int one, int other)
{
	struct stat a, b;

	return fstat(one, &a) == 0 && fstat(other, &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* Emptying it would take the guest's memory away. */
static bool is_behind_memory(const struct machine *machine, int fd)
{
	for (unsigned int i = 0; fd > 0 && i < machine->backings.count; i++)
		if (is_same_file(machine->backings.entries[i].fd, fd))
			return true;
	return false;
}

static int check_request(struct machine *machine, const struct save_request *request,
			 struct error *err)
{
	if (!machine->paused)
		return error_set(err, EBUSY, "save/restore unavailable while running");
	if (request->kind == SAVE_DIFF && !machine->memory.dirty)
		return error_set(err, ENOTSUP,
				 "a diff snapshot needs a microVM that was started or loaded with "
				 "track_dirty_pages: true; save a full one");
	if (is_behind_memory(machine, request->state_fd) ||
	    is_behind_memory(machine, request->memory_fd))
		return error_set(
			err, EINVAL,
			"a descriptor's file is what the guest's memory is mapped from; it "
			"cannot be written anew");
	if (strcmp(request->state_path, request->memory_path) == 0 ||
	    (request->state_fd > 0 && is_same_file(request->state_fd, request->memory_fd)))
		return error_set(err, EINVAL, "state and memory cannot both be %s",
				 request->state_path);
	return machine_refuse_lost_pmems(machine, err);
}

int machine_save(struct machine *machine, const struct save_request *request,
		 struct save_result *result, struct error *err)
{
	struct save save = { .machine = machine,
			     .request = request,
			     .state = NEW_FILE_NONE,
			     .memory = NEW_FILE_NONE,
			     .there = -1,
			     .is_diff = request->kind == SAVE_DIFF && machine->base.is_there };
	int ret = check_request(machine, request, err);

	if (ret < 0)
		return ret;
	describe(&save);
	if ((ret = new_id(&save, err)) == 0 && (ret = save_sections(&save, err)) == 0 &&
	    (ret = write_memory(&save, result, err)) == 0 && (ret = write_state(&save, err)) == 0)
		ret = take_places(&save, err);
	if (ret == 0)
		machine_set_base(machine, &save.info);
	new_file_close(&save.state);
	new_file_close(&save.memory);
	close_fd(&save.there);
	page_set_fini(&save.pages);
	state_writer_fini(&save.writer);
	return ret;
}
