/* /drives/{id}. */
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "api-socket/methods.h"
#include "api-socket/os_error.h"
#include "virtio/virtio_blk.h"

#define CREATE_ERROR "Drive config error: Unable to create the virtio block device: "
#define PATCH_ERROR "Drive config error: Unable to patch the block device: "
#define PATCH_END " Please verify the request arguments."

static const char *const caches[] = { "Unsafe", "Writeback", NULL };
static const char *const engines[] = { "Async", "Sync", NULL };

static const struct field put_table[] = {
	FIELD(struct drive_request, drive_id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
	FIELD(struct drive_request, partuuid, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "of the root partition, when that is not the whole drive"),
	FIELD(struct drive_request, is_root_device, FIELD_BOOL, FIELD_REQUIRED,
	      .help = "the root filesystem is on it"),
	FIELD(struct drive_request, cache_type, FIELD_CHOICE, FIELD_DEFAULTED, .choices = caches,
	      .help = "Unsafe offers no flush: fast, lost when the host crashes"),
	FIELD(struct drive_request, is_read_only, FIELD_BOOL, FIELD_OPTIONAL, .shown = true,
	      .help = "the guest cannot write"),
	FIELD(struct drive_request, path_on_host, FIELD_FILE, FIELD_OPTIONAL,
	      .help = "the image: a file or a block device"),
	FIELD(struct drive_request, rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &rate_fields,
	      .help = "how fast it may be"),
	FIELD(struct drive_request, io_engine, FIELD_CHOICE, FIELD_OPTIONAL, .choices = engines,
	      .fallback = 1, .shown = true,
	      .help = "Firecracker's engines; both are io_uring here"),
	FIELD(struct drive_request, socket, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "of a vhost-user process; not supported"),
	FIELD(struct drive_request, direct, FIELD_BOOL, FIELD_OPTIONAL, .silent = true,
	      .ours = true, .help = "around the host's page cache"),
	FIELD(struct drive_request, num_queues, FIELD_U8, FIELD_OPTIONAL, .silent = true,
	      .ours = true, .help = "request queues, up to 32; 1 when not given"),
	FIELD(struct drive_request, queue_size, FIELD_U16, FIELD_OPTIONAL, .silent = true,
	      .ours = true, .help = "entries of each, a power of 2 up to 1024; 256 when not given"),
	FIELD(struct drive_request, loop, FIELD_U8, FIELD_OPTIONAL, .silent = true, .ours = true,
	      .help = "the I/O thread that serves it, up to 15"),
};

const struct field_set drive_fields = FIELD_SET("BlockDeviceConfig", struct drive_request,
						put_table);

static const struct field patch_table[] = {
	FIELD(struct drive_patch_request, drive_id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
	FIELD(struct drive_patch_request, path_on_host, FIELD_FILE, FIELD_OPTIONAL,
	      .help = "another image, or the same whose size has changed"),
	FIELD(struct drive_patch_request, rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "what of its limits changes"),
};

static const struct field_set patch_fields = FIELD_SET("BlockDeviceUpdateConfig",
						       struct drive_patch_request, patch_table);

static const struct field name_table[] = {
	{ .name = "drive_id",
	  .type = FIELD_ID,
	  .need = FIELD_REQUIRED,
	  .offset = offsetof(struct name_request, id),
	  .help = "its name" },
};

static const struct field_set name_fields = FIELD_SET("Drive", struct name_request, name_table);

static struct drive_request *drive_at(struct controller *controller, unsigned int index)
{
	return controller->drives[index].data;
}

/* PUT -------------------------------------------------------------------------------------------*/

/* The image is opened as the device will, so that what is wrong with it is known at once. */
static int try_image(const char *path, bool read_only)
{
	int mode = read_only ? O_RDONLY : O_RDWR;
	cleanup_fd int fd = open(path, mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	return fd < 0 ? -errno : 0;
}

static int check_image(const struct drive_request *drive, struct api_reply *reply)
{
	const char *path = drive->path_on_host.path;
	char why[OS_ERROR_MAX];
	int ret = path ? try_image(path, drive->is_read_only.value) : 0;

	if (ret == 0)
		return 0;
	return reply_refuse(reply,
			    CREATE_ERROR
			    "Virtio backend error: Error manipulating the backing file: %s %s",
			    os_error(why, ret), path);
}

static int check_drive(const struct drive_request *drive, struct api_reply *reply)
{
	bool has_image = drive->path_on_host.path || drive->path_on_host.fd >= 0;

	if (has_image == (drive->socket != NULL))
		return reply_refuse(reply, CREATE_ERROR "Invalid block config.");
	if (drive->socket)
		return reply_refuse(reply, CREATE_ERROR
				    "vhost-user drives are not supported; give path_on_host.");
	return check_image(drive, reply);
}

/* Where the drive belongs: in place of the one of its name, a root device before all others. */
static int find_place(struct controller *controller, const struct drive_request *drive,
		      unsigned int *place, struct api_reply *reply)
{
	unsigned int count = controller->drive_count;
	unsigned int old = kept_find(controller->drives, count, drive->drive_id);
	bool has_root = count > 0 && drive_at(controller, 0)->is_root_device.value;

	if (drive->is_root_device.value && has_root && old != 0)
		return reply_refuse(reply,
				    "Drive config error: A root block device already exists!");
	for (unsigned int i = 0; drive->is_root_device.value && i < controller->pmem_count; i++)
		if (((struct pmem_request *)controller->pmems[i].data)->root_device.value)
			return reply_refuse(reply, "Drive config error: Attempt to add block as a "
						   "root device while the root device defined as "
						   "a pmem device");
	if (old == count && count == VM_DRIVES_MAX)
		return reply_refuse(reply, "Drive config error: more than %u drives.",
				    VM_DRIVES_MAX);
	*place = old;
	return 0;
}

static void swap(struct kept *a, struct kept *b)
{
	struct kept old = *a;

	*a = *b;
	*b = old;
}

static int put_drive(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	struct drive_request *drive = request->data;
	unsigned int place = 0;
	bool is_new;
	int ret;

	if (controller->phase != PHASE_NOT_STARTED)
		return reply_refuse(reply, "PCI is not enabled");
	if ((ret = check_drive(drive, reply)) < 0 ||
	    (ret = find_place(controller, drive, &place, reply)) < 0 ||
	    (ret = kept_take(&controller->drives[place], &drive_fields, request, &reply->err)) < 0)
		return ret;
	compose_rate_kept(&drive->rate_limiter);
	is_new = place == controller->drive_count;
	controller->drive_count += is_new;
	/* A new root device comes before all others; one that was known changes places with the first. */
	for (; drive->is_root_device.value && is_new && place > 0; place--)
		swap(&controller->drives[place], &controller->drives[place - 1]);
	if (drive->is_root_device.value)
		swap(&controller->drives[place], &controller->drives[0]);
	return 0;
}

/* PATCH -----------------------------------------------------------------------------------------*/

/* What is shown of the drive from now on. */
static void remember_image(struct kept *kept, struct api_request *request)
{
	const struct drive_patch_request *patch = request->data;
	struct opt_file *file = &((struct drive_request *)kept->data)->path_on_host;
	json_t *path = json_object_get(request->tree, "path_on_host");

	/* The old path goes with the text that it is part of. */
	if (json_object_set(kept->tree, "path_on_host", path) < 0)
		return;
	close_fd(&file->fd);
	*file = (struct opt_file){
		.path = json_string_value(path),
		.fd = patch->path_on_host.fd >= 0
			      ? fcntl(patch->path_on_host.fd, F_DUPFD_CLOEXEC, 3)
			      : -1,
	};
}

static int patch_image(struct controller *controller, unsigned int index,
		       struct api_request *request, struct api_reply *reply)
{
	const struct drive_patch_request *patch = request->data;
	const char *path = patch->path_on_host.path;
	bool read_only = drive_at(controller, index)->is_read_only.value;
	int fd = path ? -1 : fcntl(patch->path_on_host.fd, F_DUPFD_CLOEXEC, 3);
	char why[OS_ERROR_MAX];
	struct error err;
	int ret = path ? try_image(path, read_only) : 0;

	if (ret < 0)
		return reply_refuse(reply,
				    PATCH_ERROR "Block: Virtio backend error: Error manipulating "
						"the backing file: %s %s" PATCH_END,
				    os_error(why, ret), path);
	ret = virtio_blk_set_backing(controller_device(controller, VIRTIO_ID_BLOCK, index), path,
				     fd, &err);
	if (ret < 0)
		return reply_refuse(reply, PATCH_ERROR "%s" PATCH_END, err.text);
	remember_image(&controller->drives[index], request);
	return 0;
}

static int patch_rate(struct controller *controller, unsigned int index,
		      const struct rate_request *rate, struct api_reply *reply)
{
	struct drive_request *drive = controller->drives[index].data;
	struct rate_update update;
	struct error err;

	compose_rate_update(rate, &update);
	if (virtio_blk_set_rate(controller_device(controller, VIRTIO_ID_BLOCK, index),
				update.new_bytes, update.new_ops, &err) < 0)
		return reply_refuse(reply, PATCH_ERROR "%s" PATCH_END, err.text);
	compose_rate_patched(rate, &drive->rate_limiter, &controller->live->drives[index].rate);
	return 0;
}

static int patch_drive(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	const struct drive_patch_request *patch = request->data;
	unsigned int index = kept_find(controller->drives, controller->drive_count,
				       patch->drive_id);
	bool has_image = patch->path_on_host.path || patch->path_on_host.fd >= 0;
	int ret = 0;

	if (index == controller->drive_count)
		return reply_refuse(reply, PATCH_ERROR "Failed perform action on device: "
						       "Device not found" PATCH_END);
	if (!has_image && !patch->rate_limiter.given)
		return reply_refuse(reply, PATCH_ERROR "Block: Running method expected different "
						       "backend." PATCH_END);
	if (has_image)
		ret = patch_image(controller, index, request, reply);
	if (ret == 0 && patch->rate_limiter.given)
		ret = patch_rate(controller, index, &patch->rate_limiter, reply);
	return ret;
}

static const struct method methods[] = {
	{
		.name = "drive.put",
		.metric = "drive",
		.verb = API_PUT,
		.path = "drives",
		.id_field = "drive_id",
		.phases = PHASES_ALL,
		.fields = &drive_fields,
		.handle = put_drive,
		.help = "Adds a drive, or sets the one of this name anew",
	},
	{
		.name = "drive.patch",
		.metric = "drive",
		.verb = API_PATCH,
		.path = "drives",
		.id_field = "drive_id",
		.phases = PHASES_AFTER,
		.fields = &patch_fields,
		.calls_devices = true,
		.handle = patch_drive,
		.help = "Gives a running drive another image or other limits",
	},
	{
		.name = "drive.delete",
		.verb = API_DELETE,
		.path = "drives",
		.id_field = "drive_id",
		.phases = PHASES_AFTER,
		.fields = &name_fields,
		.handle = refuse_unplug,
		.help = "Refused: there is no PCI to unplug from",
	},
};

const struct method_group drive_methods = METHOD_GROUP(methods);
