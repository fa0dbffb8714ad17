/* Saving the controller's machine, and loading one into a controller that has none. */
#include <fcntl.h>
#include <sched.h>
#include <string.h>

#include "api-socket/controller_priv.h"
#include "vmm/mmds/mmds.h"

/* An empty name stands for a descriptor. */
static const char *name_of(const char *kept)
{
	return kept && *kept ? kept : NULL;
}

/* The machine's configuration points to what is kept: a request is gone when its machine still runs, and
 * a PATCH replaces what was asked for first. */
static void point_to_kept(const struct controller *controller, struct vm_config *vm)
{
	const struct boot_request *boot = controller->boot.data;

	vm->kernel_path = boot ? name_of(boot->kernel_image_path.path) : NULL;
	vm->initrd_path = boot ? name_of(boot->initrd_path.path) : NULL;
	vm->cmdline = boot ? boot->boot_args : NULL;
	for (unsigned int i = 0; i < vm->drive_count; i++) {
		const struct drive_request *drive = controller->drives[i].data;

		vm->drives[i].id = drive->drive_id;
		vm->drives[i].partuuid = drive->partuuid;
		vm->drives[i].path = name_of(drive->path_on_host.path);
	}
	for (unsigned int i = 0; i < vm->net_count; i++) {
		const struct net_request *net = controller->nets[i].data;

		vm->nets[i].id = net->iface_id;
		vm->nets[i].tap = name_of(net->host_dev_name.path);
	}
	for (unsigned int i = 0; i < vm->pmem_count; i++) {
		const struct pmem_request *pmem = controller->pmems[i].data;

		vm->pmems[i].id = pmem->id;
		vm->pmems[i].path = name_of(pmem->path_on_host.path);
	}
	if (vm->has_vsock) {
		const struct vsock_request *vsock = controller->vsock.data;

		vm->vsock.id = vsock->vsock_id;
		vm->vsock.path = vsock->uds_path.path;
	}
}

struct save_progress {
	struct progress progress;
	struct controller *controller;
};

static void tell_progress(struct progress *progress)
{
	struct save_progress *save = container_of(progress, struct save_progress, progress);

	listeners_tell(&save->controller->listeners, EVENT_SNAPSHOT_PROGRESS,
		       json_pack("{s:s, s:I, s:I}", "step", progress->step, "done_bytes",
				 (json_int_t)progress->done, "total_bytes",
				 (json_int_t)progress->total));
}

int controller_save_snapshot(struct controller *controller,
			     const struct snapshot_create_request *request, struct error *err)
{
	struct save_progress progress = { .progress.tell = tell_progress,
					  .controller = controller };
	const struct save_request save = {
		.state_path = request->snapshot_path.path ? request->snapshot_path.path
							  : "the state's descriptor",
		.state_fd = request->snapshot_path.fd,
		.memory_path = request->mem_file_path.path ? request->mem_file_path.path
							   : "the memory's descriptor",
		.memory_fd = request->mem_file_path.fd,
		.kind = request->snapshot_type.value == SNAPSHOT_DIFF ? SAVE_DIFF : SAVE_FULL,
		.progress = &progress.progress,
	};
	struct save_result result;

	point_to_kept(controller, controller->live);
	return machine_save(controller->machine, &save, &result, err);
}

/* Loading ----------------------------------------------------------------------------------------*/

enum load_huge_pages { LOAD_AS_SAVED, LOAD_SMALL, LOAD_TRANSPARENT, LOAD_2M };

static bool is_paged(const struct snapshot_load_request *request)
{
	return request->mem_backend.given &&
	       request->mem_backend.backend_type.value == MEM_BACKEND_UFFD;
}

#define PATIENCE_MS 30000u

static unsigned int patience_ms(const struct snapshot_load_request *request)
{
	const struct opt_uint *timeout = &request->mem_backend.timeout_ms;

	return timeout->given ? (unsigned int)timeout->value : PATIENCE_MS;
}

/* As it was, unless the request says another kind: what cannot be had is refused, not replaced. */
static enum guest_pages pages_of(const struct controller *controller,
				 const struct snapshot_load_request *request)
{
	switch (request->huge_pages.value) {
	case LOAD_SMALL:
		return GUEST_PAGES_4K;
	case LOAD_TRANSPARENT:
		return GUEST_PAGES_TRANSPARENT;
	case LOAD_2M:
		return GUEST_PAGES_2M;
	default:
		return machine_snapshot_config(controller->snapshot)->pages;
	}
}

/* The snapshot takes descriptors over; the request's go when it has been answered. */
static int copy_descriptor(const struct opt_file *file, int *out, struct error *err)
{
	*out = file->path ? -1 : fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	return !file->path && *out < 0 ? error_set_errno(err, errno, "a descriptor") : 0;
}

static int open_snapshot(struct controller *controller, const struct snapshot_load_request *request,
			 struct error *err)
{
	const struct opt_file *memory = request->mem_backend.given
						? &request->mem_backend.backend_path
						: &request->mem_file_path;
	const struct snapshot_file state = { .path = request->snapshot_path.path,
					     .fd = request->snapshot_path.fd };
	struct snapshot_file image = { .path = memory->path,
				       .fd = -1,
				       .is_pager = is_paged(request),
				       .patience_ms = patience_ms(request) };
	int ret = copy_descriptor(memory, &image.fd, err);

	if (ret == 0 && image.is_pager && controller->host->load_waits)
		ret = image.ending_fd = controller->host->load_waits(controller->host->opaque, err);
	if (ret < 0)
		close_fd(&image.fd);
	return ret < 0 ? ret : machine_snapshot_open(&controller->snapshot, &state, &image, err);
}

static struct adopt_options adopt_options(const struct controller *controller,
					  const struct snapshot_load_request *request,
					  const struct machine_identity *identity)
{
	return (struct adopt_options){ .realtime = request->clock_realtime.value,
				       .track_dirty = request->track_dirty_pages.value ||
						      request->enable_diff_snapshots.value,
				       .pages = pages_of(controller, request),
				       .identity = identity };
}

static int open_console(struct controller *controller, const struct snapshot_load_request *request,
			struct error *err)
{
	if (!request->serial_override.given)
		return controller_open_serial(controller, err);
	close_fd(&controller->serial_fd);
	return controller_open_serial_at(&request->serial_override.serial_out_path,
					 &controller->serial_fd, err);
}

static int keep(struct controller *controller, struct vm_config *vm, struct error *err)
{
	const struct mmds_config *mmds = machine_snapshot_mmds(controller->snapshot);
	int ret = controller_keep_config(controller, vm, err);

	if (ret < 0)
		return ret;
	/* What it pointed to may have been replaced just now. */
	point_to_kept(controller, vm);
	return mmds ? controller_keep_mmds(controller, vm, mmds, err) : 0;
}

static int configure(struct controller *controller, const struct snapshot_load_request *request,
		     const struct adopt_options *options, struct machine_identity *identity,
		     struct error *err)
{
	struct vm_config *vm = machine_snapshot_config(controller->snapshot);
	int ret = open_console(controller, request, err);

	vm->pages = options->pages;
	vm->track_dirty = options->track_dirty;
	vm->has_console = true;
	controller_compose_serial_limit(controller, vm);
	vm->console_fd = controller->serial_fd >= 0 ? controller->serial_fd : STDOUT_FILENO;
	if (ret < 0 || (ret = controller_read_identity(controller, vm, request, identity, err)) < 0)
		return ret;
	controller_configure_identity(identity, vm);
	ret = vm_config_check_shape(vm, err);
	return ret < 0 ? ret : keep(controller, vm, err);
}

static int make_machine(struct controller *controller, const struct snapshot_load_request *request,
			const struct adopt_options *options, struct machine_identity *identity,
			struct error *err)
{
	struct vm_config *vm = machine_snapshot_config(controller->snapshot);
	int ret = configure(controller, request, options, identity, err);

	if (ret < 0)
		return ret;
	controller->live = vm;
	ret = machine_prepare_early(&controller->machine, vm, controller->timeline, err);
	vm->vsock.listener = 0; /* the request's */
	if (ret < 0)
		return ret;
	machine_expect_adoption(controller->machine);
	ret = controller_connect_machine(controller, err);
	return ret < 0 ? ret
		       : machine_adopt(controller->machine, controller->snapshot, options, err);
}

/* A machine that was prepared has become somebody: what is shown and saved says who. There is no way back by now. */
static void note_adopted(struct controller *controller, const struct machine_identity *identity,
			 const struct adopt_options *options)
{
	struct error err;
	const struct vm_config *saved = machine_snapshot_config(controller->snapshot);
	struct vm_config *vm = &controller->vm;

	for (unsigned int i = 0; i < MIN(vm->net_count, saved->net_count); i++) {
		vm->nets[i].has_mac = saved->nets[i].has_mac;
		vm->nets[i].mmds = saved->nets[i].mmds;
		memcpy(vm->nets[i].mac, saved->nets[i].mac, sizeof(vm->nets[i].mac));
	}
	vm->vsock.cid = saved->vsock.cid;
	vm->smt = saved->smt;
	vm->kernel_path = saved->kernel_path;
	vm->initrd_path = saved->initrd_path;
	vm->cmdline = saved->cmdline;
	controller_note_identity(identity, vm);
	if (identity->console.given) {
		close_fd(&controller->serial_fd);
		controller->serial_fd = vm->console_fd = identity->console.fd;
	}
	kept_clear(&controller->mmds_config);
	vm->track_dirty |= options->track_dirty; /* one that was prepared to track does */
	vm->pages = options->pages;
	if (keep(controller, vm, &err) < 0)
		log_error("snapshot: what is shown of the microVM is not what was loaded: %s",
			  err.text);
}

static int load_prepared(struct controller *controller, const struct snapshot_load_request *request,
			 const struct adopt_options *options, struct machine_identity *identity,
			 struct error *err)
{
	const struct serial_override *serial = &request->serial_override;
	int ret = controller_read_identity(controller, &controller->vm, request, identity, err);

	if (ret < 0)
		return ret;
	if (serial->given) {
		ret = controller_open_serial_at(&serial->serial_out_path, &identity->console.fd,
						err);
		identity->console.given = ret == 0;
	}
	if (ret < 0) {
		machine_identity_close(identity);
		return ret;
	}
	ret = machine_adopt(controller->machine, controller->snapshot, options, err);
	if (ret < 0 && identity->console.given)
		close_fd(&identity->console.fd);
	return ret;
}

static void forget_snapshot(struct controller *controller)
{
	machine_snapshot_close(controller->snapshot);
	controller->snapshot = NULL;
}

void controller_make_room(struct controller *controller)
{
	controller->snapshot = machine_snapshot_room(&controller->vm);
}

/* The guest before all that follows, also where it finds no other processor. */
static void resume(struct controller *controller)
{
	machine_resume(controller->machine);
	sched_yield();
	controller_set_phase(controller, PHASE_RUNNING);
}

int controller_load_snapshot(struct controller *controller,
			     const struct snapshot_load_request *request, struct error *err)
{
	bool prepared = controller->phase == PHASE_PREPARED;
	struct machine_identity identity = { 0 };
	struct adopt_options options;
	int ret;

	timeline_ask_load(controller->timeline);
	if (prepared)
		machine_expect_adoption(controller->machine);
	ret = open_snapshot(controller, request, err);
	timeline_mark(controller->timeline, MOMENT_SNAPSHOT_READ);
	if (ret >= 0) {
		options = adopt_options(controller, request, &identity);
		ret = prepared ? load_prepared(controller, request, &options, &identity, err)
			       : make_machine(controller, request, &options, &identity, err);
	}
	if (ret < 0) {
		if (!prepared)
			controller_drop_machine(controller);
		forget_snapshot(controller);
		if (prepared)
			controller_make_room(controller);
		return ret;
	}
	timeline_mark(controller->timeline, MOMENT_ADOPTED);
	if (request->mmds && mmds_store_put(&controller->mmds->store, request->mmds) < 0)
		log_error("mmds: out of memory; the metadata is what it was");
	controller_set_phase(controller, PHASE_PAUSED);
	if (request->resume_vm.value)
		resume(controller);
	if (prepared)
		note_adopted(controller, &identity, &options);
	controller->host->started(controller->host->opaque);
	metrics_begin(controller);
	return 0;
}
