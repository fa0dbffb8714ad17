#include "api-socket/method.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"
#include "api-socket/field_words.h"

/* Finding ---------------------------------------------------------------------------------------*/

const struct method *method_at(unsigned int number)
{
	for (unsigned int g = 0; method_groups[g]; g++) {
		if (number < method_groups[g]->count)
			return &method_groups[g]->methods[number];
		number -= method_groups[g]->count;
	}
	return NULL;
}

static unsigned int method_number(const struct method *method)
{
	unsigned int number = 0;

	while (method_at(number) != method)
		number++;
	return number;
}

bool method_counted_before(const struct method *method)
{
	for (unsigned int i = 0; method_at(i) != method; i++) {
		const struct method *other = method_at(i);

		if (other->metric && other->verb == method->verb &&
		    strcmp(other->metric, method->metric) == 0)
			return true;
	}
	return false;
}

const struct method *method_by_name(const char *name)
{
	for (unsigned int g = 0; method_groups[g]; g++)
		for (unsigned int i = 0; i < method_groups[g]->count; i++)
			if (strcmp(method_groups[g]->methods[i].name, name) == 0)
				return &method_groups[g]->methods[i];
	return NULL;
}

/* Does `path` begin with all of `own`? Then *rest is what follows, without a slash. */
static bool path_begins(char *path, const char *own, char **rest)
{
	size_t len = strlen(own);

	if (strncmp(path, own, len) != 0 || (path[len] != '\0' && path[len] != '/'))
		return false;
	*rest = path[len] ? path + len + 1 : path + len;
	return true;
}

/* The longest path that fits is the one that is meant. */
const struct method *method_by_path(enum api_verb verb, char *path, char **id)
{
	const struct method *found = NULL;

	for (unsigned int g = 0; method_groups[g]; g++)
		for (unsigned int i = 0; i < method_groups[g]->count; i++) {
			const struct method *method = &method_groups[g]->methods[i];
			char *rest;

			if (method->verb != verb || !path_begins(path, method->path, &rest))
				continue;
			if (!*method->path && *path)
				continue;
			if (found && strlen(found->path) >= strlen(method->path))
				continue;
			found = method;
			*id = rest;
		}
	return found;
}

/* Calling ---------------------------------------------------------------------------------------*/

int method_check_phase(const struct controller *controller, unsigned int phases, struct error *err)
{
	if (phases & controller->phase)
		return 0;
	if (controller->phase == PHASE_PREPARED)
		return error_set(err, EINVAL,
				 "The requested operation is not supported in a process that was "
				 "prepared for a snapshot: load one.");
	return error_set(err, EINVAL,
			 "The requested operation is not supported %s starting the microVM.",
			 controller->phase == PHASE_NOT_STARTED ? "before" : "after");
}

/* Long enough for a handler that has the page at hand; the others wait too. */
#define DEVICES_MS 2000u

static int handle(struct controller *controller, const struct method *method,
		  struct api_request *request, struct api_reply *reply)
{
	struct machine *machine = method->calls_devices ? controller->machine : NULL;
	int ret = machine ? machine_await_devices(machine, DEVICES_MS, &reply->err) : 0;

	if (ret < 0)
		return ret;
	ret = method->handle(controller, request, reply);
	if (machine)
		machine_had_devices(machine);
	return ret;
}

static enum api_outcome call_checked(struct controller *controller, const struct method *method,
				     struct api_request *request, struct api_reply *reply)
{
	int ret = method->check ? method->check(request->data, &reply->err) : 0;

	if (ret < 0)
		return API_REFUSED;
	reply->deprecated = (method->fields &&
			     fields_use_deprecated(method->fields, request->data)) ||
			    (method->is_deprecated && method->is_deprecated(request->data));
	ret = method_check_phase(controller, method->phases, &reply->err);
	if (ret == 0)
		ret = handle(controller, method, request, reply);
	return ret < 0 ? API_REFUSED : API_DONE;
}

static const char *request_id(const struct method *method, const void *data)
{
	for (uint32_t i = 0; i < method->fields->count; i++) {
		const struct field *field = &method->fields->fields[i];

		if (strcmp(field->name, method->id_field) == 0)
			return *(const char *const *)(const void *)((const char *)data +
								    field->offset);
	}
	return "";
}

/* A name is a name whoever says it, but that one with a hyphen fits into a file and no path, as Firecracker has it; and
 * path and body must name the same thing. */
static int check_id(const struct method *method, const char *path_id, const void *data,
		    struct error *err)
{
	const char *id;

	if (!method->id_field)
		return 0;
	id = request_id(method, data);
	if (!path_id || strcmp(id, path_id) == 0)
		return api_id_check(id, path_id ? "" : "-", err);
	if (method->names_ids)
		return error_set(
			err, EINVAL,
			"The id from the path [%s] does not match the id from the body [%s]!",
			path_id, id);
	return error_set(err, EINVAL, "The id from the path does not match the id from the body!");
}

static enum api_outcome call_decoded(struct controller *controller, const struct method *method,
				     const struct api_input *input, struct api_request *request,
				     struct field_error *why, struct api_reply *reply)
{
	int ret = fields_decode(method->fields, request->tree, input->fds, request->data, why);
	enum api_outcome outcome = API_REFUSED;

	if (ret == -ENOMEM)
		error_set(&reply->err, ENOMEM, "out of memory");
	if (ret < 0)
		return ret == -ENOMEM ? API_REFUSED : API_BAD_FIELDS;
	reply->misread = check_id(method, input->path_id, request->data, &reply->err) < 0;
	if (!reply->misread)
		outcome = call_checked(controller, method, request, reply);
	if (!request->taken)
		fields_free(method->fields, request->data);
	return outcome;
}

static enum api_outcome call(struct controller *controller, const struct method *method,
			     const struct api_input *input, struct field_error *why,
			     struct api_reply *reply)
{
	struct api_request request = { 0 };
	enum api_outcome outcome = API_REFUSED;

	*why = (struct field_error){ 0 };
	*reply = (struct api_reply){ 0 };
	request.listener = input->listener;
	request.fds = input->fds;
	request.wants_plain_text = input->wants_plain_text;
	if (method->listens && !input->listener) {
		reply_refuse(reply, "%s needs a connection that can be told of events",
			     method->name);
		return API_REFUSED;
	}
	if (!method->fields)
		return call_checked(controller, method, &request, reply);
	request.tree = input->tree ? json_incref(input->tree) : json_object();
	request.data = calloc(1, method->fields->size);
	if (request.data && request.tree)
		outcome = call_decoded(controller, method, input, &request, why, reply);
	else
		error_set(&reply->err, ENOMEM, "out of memory");
	if (!request.taken)
		free(request.data);
	json_decref(request.tree);
	return outcome;
}

/* What a client wrote is part of the reason, and no line of the log is to begin in it. */
static void log_outcome(const struct method *method, enum api_outcome outcome, const char *why)
{
	struct error said;

	error_set(&said, EINVAL, "%s", outcome == API_DONE ? "done" : why);
	log_info("api: %s: %s", method->name, said.text);
}

static struct call_counts *count_call(struct controller *controller, const struct method *method)
{
	struct call_counts *counts = &controller->calls[method_number(method)];

	counts->count++;
	return counts;
}

void method_count(struct controller *controller, const struct method *method, bool fails)
{
	count_call(controller, method)->fails += fails;
}

enum api_outcome method_call(struct controller *controller, const struct method *method,
			     const struct api_input *input, struct field_error *why,
			     struct api_reply *reply)
{
	/* First: what it asks for may be to tell the counts. */
	struct call_counts *counts = count_call(controller, method);
	enum api_outcome outcome = call(controller, method, input, why, reply);

	counts->fails += outcome == API_BAD_FIELDS || reply->misread;
	if (reply->deprecated) {
		controller->deprecated_calls++;
		log_limited(&controller->deprecations, LOG_WARN,
			    "api: %s: a field or value that is deprecated", method->name);
	}
	text_mend(why->text);
	text_mend(reply->err.text);
	log_outcome(method, outcome, outcome == API_BAD_FIELDS ? why->text : reply->err.text);
	return outcome;
}

/* For handlers ----------------------------------------------------------------------------------*/

int reply_refuse(struct api_reply *reply, const char *fmt, ...)
{
	char text[sizeof(reply->err.text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	return error_set(&reply->err, EINVAL, "%s", text);
}

int reply_with(struct api_reply *reply, json_t *result)
{
	reply->result = result;
	return result ? 0 : error_set(&reply->err, ENOMEM, "out of memory");
}

int reply_prefix(struct api_reply *reply, const char *prefix)
{
	char text[sizeof(reply->err.text)];

	memcpy(text, reply->err.text, sizeof(text));
	return error_set(&reply->err, reply->err.code, "%s: %s", prefix, text);
}

/* The struct's descriptors, one after the other; NULL behind the last. */
static struct opt_file *next_file(const struct field_set *set, void *data, uint32_t *at)
{
	for (; *at < set->count; (*at)++)
		if (set->fields[*at].type == FIELD_FILE) {
			struct opt_file *file =
				(void *)((char *)data + set->fields[(*at)++].offset);

			if (file->fd >= 0)
				return file;
		}
	return NULL;
}

/* What the front end lent becomes ours. */
static int own_descriptors(const struct field_set *set, void *data, struct error *err)
{
	struct opt_file *file;

	for (uint32_t at = 0; (file = next_file(set, data, &at));) {
		int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 3);

		if (fd < 0)
			return error_set_errno(err, errno, "cannot keep a descriptor");
		file->fd = fd;
	}
	return 0;
}

int kept_take(struct kept *kept, const struct field_set *set, struct api_request *request,
	      struct error *err)
{
	int ret = own_descriptors(set, request->data, err);

	if (ret < 0)
		return ret;
	kept_clear(kept);
	*kept = (struct kept){ set, request->data, json_incref(request->tree) };
	request->taken = true;
	return 0;
}

int kept_make(struct kept *kept, const struct field_set *set, json_t *tree, struct error *err)
{
	void *data = calloc(1, set->size);
	struct field_error why;
	int ret = tree && data ? fields_decode(set, tree, NULL, data, &why) : -ENOMEM;

	if (ret < 0) {
		free(data);
		json_decref(tree);
		return error_set(err, -ret, "%s", ret == -ENOMEM ? "out of memory" : why.text);
	}
	kept_clear(kept);
	*kept = (struct kept){ set, data, tree };
	return 0;
}

void kept_clear(struct kept *kept)
{
	struct opt_file *file;

	if (!kept->set)
		return;
	for (uint32_t at = 0; (file = next_file(kept->set, kept->data, &at));)
		close_fd(&file->fd);
	fields_free(kept->set, kept->data);
	free(kept->data);
	json_decref(kept->tree);
	*kept = (struct kept){ 0 };
}

json_t *kept_encode(const struct kept *kept)
{
	return kept->set ? fields_encode(kept->set, kept->data) : json_null();
}
