/* The serial port, for clients that are told of events. Ours. */
#include <nettle/base64.h>
#include <string.h>

#include "api-socket/controller_console.h"
#include "api-socket/methods.h"

struct write_request {
	bool given;
	const char *text, *data;
};

static const struct field write_table[] = {
	FIELD(struct write_request, text, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "what is typed; this or data"),
	FIELD(struct write_request, data, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "the same, of any bytes, in base64"),
};

static const struct field_set write_fields = FIELD_SET("ConsoleWrite", struct write_request,
						       write_table);

static int attach(struct controller *controller, struct api_request *request,
		  struct api_reply *reply)
{
	return controller_console_attach(controller, request->listener, &reply->err);
}

static int detach(struct controller *controller, struct api_request *request,
		  struct api_reply *reply)
{
	(void)reply;
	controller_console_detach(controller, request->listener);
	return 0;
}

static int check_write(const void *data, struct error *err)
{
	const struct write_request *write = data;

	if (!write->text == !write->data)
		return error_set(err, EINVAL, "one of `text` and `data` is needed");
	return 0;
}

/* The caller's to free; NULL: it is no base64, or there is no memory. */
static uint8_t *decode(const char *text, size_t *count)
{
	const size_t len = strlen(text);
	uint8_t *bytes = malloc(BASE64_DECODE_LENGTH(len) + 1);
	struct base64_decode_ctx ctx;

	base64_decode_init(&ctx);
	if (bytes && base64_decode_update(&ctx, count, bytes, len, text) &&
	    base64_decode_final(&ctx))
		return bytes;
	free(bytes);
	return NULL;
}

static int write_input(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	const struct write_request *write = request->data;
	const uint8_t *bytes = (const uint8_t *)write->text;
	size_t count = write->text ? strlen(write->text) : 0;
	cleanup_free uint8_t *decoded = NULL;
	ssize_t taken;

	if (write->data) {
		bytes = decoded = decode(write->data, &count);
		if (!decoded)
			return reply_refuse(reply, "`data` is not base64");
	}
	taken = controller_console_write(controller, bytes, count, &reply->err);
	return taken < 0 ? (int)taken
			 : reply_with(reply, json_pack("{s:I}", "taken", (json_int_t)taken));
}

static const struct method methods[] = {
	{
		.name = "console.attach",
		.verb = API_VERBS,
		.phases = PHASES_ALL,
		.listens = true,
		.handle = attach,
		.help = "From now on what the guest writes to its serial port comes as notifications "
			"`console.output`: `data` is base64, `dropped` how many bytes before it are lost "
			"because this client did not read",
	},
	{
		.name = "console.detach",
		.verb = API_VERBS,
		.phases = PHASES_ALL,
		.listens = true,
		.handle = detach,
		.help = "It does not any more",
	},
	{
		.name = "console.write",
		.verb = API_VERBS,
		.phases = PHASES_AFTER,
		.fields = &write_fields,
		.check = check_write,
		.handle = write_input,
		.help = "Types on the guest's serial port. Answers how many bytes it has `taken`, at most "
			"4096 ahead of the guest; after fewer than all, the notification `console.room` "
			"tells an attached client when to go on",
	},
};

const struct method_group console_methods = METHOD_GROUP(methods);
