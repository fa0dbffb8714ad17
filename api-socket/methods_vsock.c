/* PUT /vsock. */
#include <string.h>
#include <sys/un.h>

#include "api-socket/methods.h"
#include "api-socket/os_error.h"
#include "virtio/vsock_unix.h"

static const struct field fields[] = {
	FIELD(struct vsock_request, vsock_id, FIELD_STRING, FIELD_OPTIONAL, .deprecated = true,
	      .silent = true, .help = "of no effect"),
	FIELD(struct vsock_request, guest_cid, FIELD_U32, FIELD_REQUIRED,
	      .help = "the guest's context id, from 3 up; less is 3"),
	FIELD(struct vsock_request, uds_path, FIELD_FILE, FIELD_REQUIRED,
	      .help = "the Unix socket that the host's programs connect to, or one that listens "
		      "already"),
};

const struct field_set vsock_fields = FIELD_SET("VsockDeviceConfig", struct vsock_request, fields);

#define CREATE_ERROR                                                   \
	"Vsock config error: Cannot create backend for vsock device: " \
	"Error binding to the host-side Unix socket: "

/* The folder of the socket is looked at when it is named; the socket is made at the start. */
static int check_folder(const char *path, struct api_reply *reply)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *folder = slash ? strndup(path, (size_t)(slash - path) + 1)
					  : strdup("./");
	char why[OS_ERROR_MAX];

	if (folder && access(folder, W_OK | X_OK) < 0)
		return reply_refuse(reply, CREATE_ERROR "%s", os_error(why, errno));
	if (access(path, F_OK) == 0)
		return reply_refuse(reply, CREATE_ERROR "%s", os_error(why, EADDRINUSE));
	return 0;
}

static int check_path(const char *path, struct api_reply *reply)
{
	if (strlen(path) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return reply_refuse(reply, CREATE_ERROR "path must be shorter than SUN_LEN");
	if (strlen(path) > VM_VSOCK_PATH_MAX)
		return reply_refuse(reply,
				    CREATE_ERROR "path is %zu bytes long, and with a port's number "
						 "behind it at most %u fit",
				    strlen(path), VM_VSOCK_PATH_MAX);
	return check_folder(path, reply);
}

/* What came as a descriptor has a path too: it is shown, saved, and the guest's connections go by it. */
static int note_path(struct api_request *request, struct api_reply *reply)
{
	struct vsock_request *vsock = request->data;
	char path[VSOCK_UNIX_PATH_MAX + 1];
	json_t *text;

	if (vsock_unix_path_of(vsock->uds_path.fd, path, &reply->err) < 0)
		return reply_prefix(reply, "Vsock config error");
	text = json_string(path);
	if (!text)
		return reply_refuse(reply, "Vsock config error: vsock: the path of the "
					   "descriptor's socket is no UTF-8");
	vsock->uds_path.path = json_string_value(text);
	return json_object_set_new(request->tree, "uds_path", text) < 0
		       ? error_set(&reply->err, ENOMEM, "out of memory")
		       : 0;
}

static int put_vsock(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	const struct vsock_request *vsock = request->data;
	int ret;

	if (vsock->vsock_id && strlen(vsock->vsock_id) >= VM_ID_SIZE)
		return reply_refuse(
			reply,
			"Vsock config error: the vsock_id has %zu bytes, at most %u are "
			"possible.",
			strlen(vsock->vsock_id), VM_ID_SIZE - 1);
	ret = vsock->uds_path.path ? check_path(vsock->uds_path.path, reply)
				   : note_path(request, reply);
	return ret < 0 ? ret : kept_take(&controller->vsock, &vsock_fields, request, &reply->err);
}

static const struct method methods[] = {
	{
		.name = "vsock.put",
		.metric = "vsock",
		.verb = API_PUT,
		.path = "vsock",
		.phases = PHASES_BEFORE,
		.fields = &vsock_fields,
		.handle = put_vsock,
		.help = "Adds sockets between programs of the guest and of the host",
	},
};

const struct method_group vsock_methods = METHOD_GROUP(methods);
