/* PUT /serial: where the serial port's output goes. */
#include <fcntl.h>

#include "api-socket/methods.h"
#include "api-socket/os_error.h"

static const struct field fields[] = {
	FIELD(struct serial_request, serial_out_path, FIELD_FILE, FIELD_OPTIONAL,
	      .expected = "path string", .help = "a file or named pipe; it is added at its end"),
	FIELD(struct serial_request, rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &bucket_fields, .help = "how many bytes of it; what is beyond is dropped"),
};

static const struct field_set serial_fields = FIELD_SET("SerialConfig", struct serial_request,
							fields);

static int put_serial(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	return kept_take(&controller->serial, &serial_fields, request, &reply->err);
}

int controller_open_serial_at(const struct opt_file *file, int *fd, struct error *err)
{
	const char *path = file->path;
	char why[OS_ERROR_MAX];

	*fd = path ? controller_open_output(path) : fcntl(file->fd, F_DUPFD_CLOEXEC, 3);
	if (*fd < 0)
		return error_set(err, errno, "Cannot open the serial port's output %s: %s",
				 path ? path : "by its descriptor", os_error(why, errno));
	if (path || (fcntl(*fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
		return 0;
	close_fd(fd);
	return error_set(err, EBADF,
			 "Cannot open the serial port's output by its descriptor: it is not open "
			 "for writing");
}

int controller_open_serial(struct controller *controller, struct error *err)
{
	const struct serial_request *serial = controller->serial.data;
	const struct opt_file *file = serial ? &serial->serial_out_path : NULL;

	close_fd(&controller->serial_fd);
	return file && (file->path || file->fd >= 0)
		       ? controller_open_serial_at(file, &controller->serial_fd, err)
		       : 0;
}

static const struct method methods[] = {
	{
		.name = "serial.put",
		.metric = "serial",
		.verb = API_PUT,
		.path = "serial",
		.phases = PHASES_BEFORE,
		.fields = &serial_fields,
		.handle = put_serial,
		.help = "Sends the serial port's output to a file or pipe",
	},
};

const struct method_group serial_methods = METHOD_GROUP(methods);
