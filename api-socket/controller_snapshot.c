/* Saving the controller's machine, and loading one into a controller that has none. */
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <sched.h>
#include <string.h>

#include "api-socket/controller_console.h"
#include "api-socket/controller_priv.h"
#include "virtio/virtio_blk.h"

/* An empty name stands for a descriptor. */
static const char *name_of(const char *kept)
{
	return kept && *kept ? kept : NULL;
}

/* The machine's configuration points to what is kept: a request is gone when its machine still runs, and
 * a PATCH replaces what was asked for first. */
static void point_to_kept(const struct controller *controller, struct vm_config *vm)
{
	for (unsigned int i = 0; i < vm->drive_count; i++) {
		const struct drive_request *drive = controller->drives[i].data;

		vm->drives[i].path = name_of(drive->path_on_host.path);
	}
	for (unsigned int i = 0; i < vm->net_count; i++) {
		const struct net_request *net = controller->nets[i].data;

		vm->nets[i].tap = name_of(net->host_dev_name.path);
	}
	if (vm->has_vsock)
		vm->vsock.path = ((const struct vsock_request *)controller->vsock.data)->uds_path;
}

int controller_save_snapshot(struct controller *controller,
			     const struct snapshot_create_request *request, struct error *err)
{
	const struct save_request save = {
		.state_path = request->snapshot_path.path,
		.memory_path = request->mem_file_path.path,
		.kind = request->snapshot_type.value == SNAPSHOT_DIFF ? SAVE_DIFF : SAVE_FULL,
	};
	struct save_result result;

	if (!save.state_path || !save.memory_path)
		return error_set(err, EINVAL,
				 "a snapshot takes the place of a file, so it wants paths, not "
				 "descriptors");
	point_to_kept(controller, controller->snapshot
					  ? machine_snapshot_config(controller->snapshot)
					  : &controller->vm);
	return machine_save(controller->machine, &save, &result, err);
}

/* What is to be other than it was ----------------------------------------------------------------*/

/* The machine takes descriptors over; the request's go when it has been answered. */
static int copy_descriptor(int fd, int *out, struct error *err)
{
	*out = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return fd >= 0 && *out < 0 ? error_set_errno(err, errno, "a descriptor") : 0;
}

static int override_net(struct vm_config *vm, const struct net_override *override,
			struct error *err)
{
	for (unsigned int i = 0; i < vm->net_count; i++) {
		struct net_config *net = &vm->nets[i];

		if (strcmp(net->id ? net->id : net_name(i), override->iface_id) != 0)
			continue;
		net->tap = override->host_dev_name.path;
		return copy_descriptor(override->host_dev_name.fd, &net->fd, err);
	}
	return error_set(err, EINVAL, "Unknown Network Device.");
}

static int override_drive(struct vm_config *vm, const struct drive_override *override,
			  struct error *err)
{
	for (unsigned int i = 0; i < vm->drive_count; i++) {
		struct drive_config *drive = &vm->drives[i];

		if (strcmp(drive->id ? drive->id : drive_name(i), override->drive_id) != 0)
			continue;
		drive->path = override->path_on_host.path;
		return copy_descriptor(override->path_on_host.fd, &drive->fd, err);
	}
	return error_set(err, EINVAL, "Unknown drive: %s.", override->drive_id);
}

static int override_vsock(struct vm_config *vm, const struct vsock_override *override,
			  struct error *err)
{
	if (!override->given)
		return 0;
	if (!vm->has_vsock)
		return error_set(err, EINVAL, "Unknown Vsock Device.");
	vm->vsock.path = override->uds_path;
	return 0;
}

static int override_config(struct vm_config *vm, const struct snapshot_load_request *request,
			   struct error *err)
{
	const struct net_override *nets = request->network_overrides.items;
	const struct drive_override *drives = request->drive_overrides.items;
	int ret = override_vsock(vm, &request->vsock_override, err);

	for (uint32_t i = 0; i < request->network_overrides.count && ret == 0; i++)
		ret = override_net(vm, &nets[i], err);
	for (uint32_t i = 0; i < request->drive_overrides.count && ret == 0; i++)
		ret = override_drive(vm, &drives[i], err);
	return ret;
}

/* Loading ----------------------------------------------------------------------------------------*/

enum load_huge_pages { LOAD_AS_SAVED, LOAD_SMALL, LOAD_TRANSPARENT, LOAD_2M };

static int check_memory_kind(const struct snapshot_load_request *request, struct error *err)
{
	if (request->mem_backend.given &&
	    request->mem_backend.backend_type.value == MEM_BACKEND_UFFD)
		return error_set(err, ENOTSUP,
				 "memory filled in by another process (Uffd) is not supported yet");
	if (request->huge_pages.value == LOAD_2M)
		return error_set(err, ENOTSUP,
				 "huge_pages: a file of pages of 4 KiB cannot be mapped in 2M");
	return 0;
}

static int open_snapshot(struct controller *controller, const struct snapshot_load_request *request,
			 struct error *err)
{
	const struct opt_file *memory = request->mem_backend.given
						? &request->mem_backend.backend_path
						: &request->mem_file_path;
	const struct snapshot_file state = { request->snapshot_path.path,
					     request->snapshot_path.fd };
	struct snapshot_file image = { memory->path, -1 };
	int ret = check_memory_kind(request, err);

	if (ret == 0 && !memory->path)
		ret = copy_descriptor(memory->fd, &image.fd, err);
	return ret < 0 ? ret : machine_snapshot_open(&controller->snapshot, &state, &image, err);
}

static struct adopt_options adopt_options(struct controller *controller,
					  const struct snapshot_load_request *request)
{
	struct opt_bool *track = &controller->machine_config.track_dirty_pages;

	/* One that was prepared to track does. */
	track->value |= request->track_dirty_pages.value || request->enable_diff_snapshots.value;
	return (struct adopt_options){ .realtime = request->clock_realtime.value,
				       .track_dirty = track->value };
}

static int make_machine(struct controller *controller, const struct snapshot_load_request *request,
			struct error *err)
{
	const struct adopt_options options = adopt_options(controller, request);
	const struct controller_host *host = controller->host;
	struct vm_config *vm = machine_snapshot_config(controller->snapshot);
	int ret = controller_open_serial(controller, err);

	vm->track_dirty = options.track_dirty;
	vm->has_console = true;
	vm->console_fd = controller->serial_fd >= 0 ? controller->serial_fd : STDOUT_FILENO;
	if (ret < 0 || (ret = override_config(vm, request, err)) < 0 ||
	    (ret = vm_config_check_shape(vm, err)) < 0 ||
	    (ret = controller_keep_config(controller, vm, err)) < 0)
		return ret;
	point_to_kept(controller, vm);
	controller->live = vm;
	ret = machine_prepare(&controller->machine, vm, controller->timeline, err);
	if (ret < 0)
		return ret;
	ret = controller_console_connect(controller, err);
	if (ret == 0)
		ret = host->built(host->opaque, controller->machine, err);
	return ret < 0 ? ret
		       : machine_adopt(controller->machine, controller->snapshot, &options, err);
}

/* Into a machine that was prepared: it has its taps and its socket, and a drive may get another image. */
static int replace_drives(struct controller *controller,
			  const struct snapshot_load_request *request, struct error *err)
{
	const struct drive_override *drives = request->drive_overrides.items;
	int ret = 0;

	if (request->network_overrides.count || request->vsock_override.given)
		return error_set(err, EINVAL,
				 "a prepared microVM has its interfaces and its vsock already");
	for (uint32_t i = 0; i < request->drive_overrides.count && ret == 0; i++) {
		const struct opt_file *image = &drives[i].path_on_host;
		unsigned int index = kept_find(controller->drives, controller->drive_count,
					       drives[i].drive_id);
		int fd = -1;

		if (index == controller->drive_count)
			return error_set(err, EINVAL, "Unknown drive: %s.", drives[i].drive_id);
		ret = copy_descriptor(image->fd, &fd, err);
		if (ret == 0)
			ret = virtio_blk_set_backing(
				controller_device(controller, VIRTIO_ID_BLOCK, index), image->path,
				fd, err);
		if (ret == 0)
			ret = kept_make(&controller->drives[index], &drive_fields,
					drive_tree(&controller->live->drives[index],
						   controller->live->has_rootfs && index == 0,
						   drives[i].drive_id, image->path),
					err);
	}
	return ret;
}

static int load_prepared(struct controller *controller, const struct snapshot_load_request *request,
			 struct error *err)
{
	const struct adopt_options options = adopt_options(controller, request);
	int ret = replace_drives(controller, request, err);

	return ret < 0 ? ret
		       : machine_adopt(controller->machine, controller->snapshot, &options, err);
}

static void forget_snapshot(struct controller *controller)
{
	machine_snapshot_close(controller->snapshot);
	controller->snapshot = NULL;
}

int controller_load_snapshot(struct controller *controller,
			     const struct snapshot_load_request *request, struct error *err)
{
	bool prepared = controller->phase == PHASE_PREPARED;
	int ret = open_snapshot(controller, request, err);

	if (ret == 0)
		ret = prepared ? load_prepared(controller, request, err)
			       : make_machine(controller, request, err);
	if (ret < 0) {
		if (!prepared)
			controller_drop_machine(controller);
		forget_snapshot(controller);
		return ret;
	}
	controller_set_phase(controller, PHASE_PAUSED);
	if (request->resume_vm.value) {
		machine_resume(controller->machine);
		/* The guest before all that follows, also where it finds no other processor. */
		sched_yield();
		controller_set_phase(controller, PHASE_RUNNING);
	}
	controller->host->started(controller->host->opaque);
	return 0;
}
