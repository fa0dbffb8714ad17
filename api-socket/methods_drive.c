/* /drives/{id}. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "api-socket/methods.h"
#include "api-socket/os_error.h"

#define CREATE_ERROR "Drive config error: Unable to create the virtio block device: "

static const char *const caches[] = { "Unsafe", "Writeback", NULL };
static const char *const engines[] = { "Async", "Sync", NULL };

static const struct field fields[] = {
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
};

const struct field_set drive_fields = FIELD_SET("BlockDeviceConfig", struct drive_request, fields);

/* The image is opened as the device will, so that what is wrong with it is known at once. */
static int check_image(const struct drive_request *drive, struct api_reply *reply)
{
	const char *path = drive->path_on_host.path;
	int mode = drive->is_read_only.value ? O_RDONLY : O_RDWR;
	char why[OS_ERROR_MAX];
	cleanup_fd int fd = -1;

	if (!path)
		return 0;
	fd = open(path, mode | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd >= 0)
		return 0;
	return reply_refuse(reply,
			    CREATE_ERROR
			    "Virtio backend error: Error manipulating the backing file: %s %s",
			    os_error(why, errno), path);
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

static bool is_root(const struct kept *drive)
{
	return ((const struct drive_request *)drive->data)->is_root_device.value;
}

/* Where the drive belongs: in place of the one of its name, a root device before all others. */
static int find_place(struct controller *controller, const struct drive_request *drive,
		      unsigned int *place, struct api_reply *reply)
{
	unsigned int count = controller->drive_count;
	unsigned int old = kept_find(controller->drives, count, drive->drive_id);
	bool has_root = count > 0 && is_root(&controller->drives[0]);

	if (drive->is_root_device.value && has_root && old != 0)
		return reply_refuse(reply,
				    "Drive config error: A root block device already exists!");
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
	const struct drive_request *drive = request->data;
	unsigned int place = 0;
	int ret;

	if (controller->phase != PHASE_NOT_STARTED)
		return reply_refuse(reply, "PCI is not enabled");
	if ((ret = check_drive(drive, reply)) < 0 ||
	    (ret = find_place(controller, drive, &place, reply)) < 0 ||
	    (ret = kept_take(&controller->drives[place], &drive_fields, request, &reply->err)) < 0)
		return ret;
	if (place == controller->drive_count)
		controller->drive_count++;
	for (; drive->is_root_device.value && place > 0; place--)
		swap(&controller->drives[place], &controller->drives[place - 1]);
	return 0;
}

static const struct method methods[] = {
	{
		.name = "drive.put",
		.verb = API_PUT,
		.path = "drives",
		.id_field = "drive_id",
		.phases = PHASES_ALL,
		.fields = &drive_fields,
		.handle = put_drive,
		.help = "Adds a drive, or sets the one of this name anew",
	},
};

const struct method_group drive_methods = METHOD_GROUP(methods);
