/* A MessagePack-RPC client's bytes: measured, read, called, written again. Nothing is started. */
#include <stdlib.h>
#include <string.h>

#include "api-socket/controller.h"
#include "api-socket/rpc_tree.h"
#include "base/log.h"
#include "tests/fuzz/no_guest.h"

#define LEN_MAX 51200u

static struct controller *controller;

static int drop(void *to, const char *bytes, size_t len)
{
	(void)to;
	(void)bytes;
	(void)len;
	return 0;
}

/* Methods that touch nothing outside; what starts a machine or opens a path is left out. */
static void call(const json_t *tree)
{
	const char *name = json_string_value(json_array_get(tree, 2));
	const struct method *method = name ? method_by_name(name) : NULL;
	struct listener listener = { .kinds = 0 };
	struct api_input input = { .tree = json_array_get(json_array_get(tree, 3), 0),
				   .listener = &listener };
	struct field_error why;
	struct api_reply reply;

	if (!method || strcmp(name, "action") == 0 || (input.tree && !json_is_object(input.tree)))
		return;
	if (strncmp(name, "machine.", 8) != 0 && strncmp(name, "events.", 7) != 0 &&
	    strncmp(name, "drive.", 6) != 0 && strncmp(name, "vm.info", 7) != 0)
		return;
	method_call(controller, method, &input, &why, &reply);
	if (reply.result)
		rpc_tree_write(reply.result, drop, NULL);
	json_decref(reply.result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct controller_params params = no_guest_params();
	struct error err;
	const char *why;
	json_t *tree;
	size_t len;

	log_set_level(LOG_ERROR);
	if (!controller && controller_create(&controller, &params, &err) < 0)
		abort();
	while (size > 0 && rpc_measure(data, size, LEN_MAX, &len, &why) == RPC_WHOLE) {
		if (len == 0 || len > size)
			abort();
		tree = rpc_tree_read(data, len, &err);
		if (tree) {
			rpc_tree_write(tree, drop, NULL);
			call(tree);
		}
		json_decref(tree);
		data += len;
		size -= len;
	}
	return 0;
}
