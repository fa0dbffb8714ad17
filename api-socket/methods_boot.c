/* PUT /boot-source. */
#include <fcntl.h>
#include <string.h>

#include "api-socket/methods.h"
#include "api-socket/os_error.h"
#include "vmm/layout.h"

static const struct field fields[] = {
	FIELD(struct boot_request, kernel_image_path, FIELD_FILE, FIELD_REQUIRED,
	      .help = "the kernel: an x86-64 ELF vmlinux or a bzImage"),
	FIELD(struct boot_request, initrd_path, FIELD_FILE, FIELD_OPTIONAL,
	      .help = "its initial RAM disk"),
	FIELD(struct boot_request, boot_args, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "its command line, up to 2047 bytes with what is added to it"),
};

const struct field_set boot_fields = FIELD_SET("BootSourceConfig", struct boot_request, fields);

/* So that a wrong path is known when it is named; the start opens it again. */
static int try_open(const struct opt_file *file)
{
	cleanup_fd int fd = -1;

	if (!file->path)
		return 0;
	fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd < 0 ? -errno : 0;
}

static int put_boot(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	const struct boot_request *boot = request->data;
	char why[OS_ERROR_MAX];
	int ret = try_open(&boot->kernel_image_path);

	if (ret < 0)
		return reply_refuse(reply,
				    "Boot source error: The kernel file cannot be opened: %s",
				    os_error(why, ret));
	ret = try_open(&boot->initrd_path);
	if (ret < 0)
		return reply_refuse(reply,
				    "Boot source error: The initrd file cannot be opened due to "
				    "invalid path or invalid permissions. %s",
				    os_error(why, ret));
	if (boot->boot_args && strlen(boot->boot_args) >= LAYOUT_CMDLINE_MAX)
		return reply_refuse(reply, "Boot source error: The kernel command line is invalid: "
					   "Invalid cmdline capacity provided.");
	return kept_take(&controller->boot, &boot_fields, request, &reply->err);
}

static const struct method methods[] = {
	{
		.name = "boot.put",
		.metric = "boot_source",
		.verb = API_PUT,
		.path = "boot-source",
		.phases = PHASES_BEFORE,
		.fields = &boot_fields,
		.handle = put_boot,
		.help = "The kernel, its initial RAM disk and its command line",
	},
};

const struct method_group boot_methods = METHOD_GROUP(methods);
