#include "api-socket/describe.h"

#include <string.h>

#define PATH_MAX_LEN 128

/* Words ------------------------------------------------------------------------------------------*/

static void describe_choices(const struct field *field, char *out, size_t size)
{
	size_t len = (size_t)snprintf(out, size, "one of");

	for (const char *const *word = field->choices; *word && len < size; word++)
		len += (size_t)snprintf(out + len, size - len, "%s %s",
					word == field->choices ? "" : ",", *word);
}

void describe_type(const struct field *field, char *out, size_t size)
{
	static const char *const words[] = {
		[FIELD_BOOL] = "true or false",
		[FIELD_U8] = "number of 8 bits",
		[FIELD_U16] = "number of 16 bits",
		[FIELD_U32] = "number of 32 bits",
		[FIELD_U64] = "number",
		[FIELD_USIZE] = "number",
		[FIELD_STRING] = "text",
		[FIELD_ID] = "text: letters, digits and underscores",
		[FIELD_FILE] = "path, or {\"fd\": i}",
		[FIELD_STRUCT] = "map",
		[FIELD_LIST] = "list of maps",
		[FIELD_STRINGS] = "list of texts",
		[FIELD_NAMES] = "map of texts",
		[FIELD_ANY] = "anything",
	};

	if (field->type == FIELD_CHOICE)
		describe_choices(field, out, size);
	else
		snprintf(out, size, "%s", words[field->type]);
}

const char *describe_phases(unsigned int phases)
{
	switch (phases) {
	case PHASES_BEFORE:
		return "before the start";
	case PHASES_AFTER:
		return "after the start";
	case PHASE_RUNNING:
		return "while it runs";
	case PHASE_PAUSED:
		return "while it is paused";
	case PHASES_BEFORE | PHASE_PREPARED:
		return "before the start, or once prepared";
	case PHASES_ALL:
		return "any time";
	default:
		return "at some times";
	}
}

void describe_http(const struct method *method, char *out, size_t size)
{
	static const char *const verbs[] = { "GET", "PUT", "PATCH", "DELETE" };

	if (method->verb >= API_VERBS)
		snprintf(out, size, "%s", "");
	else if (method->id_field)
		snprintf(out, size, "%s /%s/{%s}", verbs[method->verb], method->path,
			 method->id_field);
	else
		snprintf(out, size, "%s /%s", verbs[method->verb], method->path);
}

/* Fields ----------------------------------------------------------------------------------------*/

struct visit {
	void (*visit)(void *opaque, const char *path, const struct field *field);
	void *opaque;
};

static void visit_set(const struct visit *visit, const struct field_set *set, const char *prefix)
{
	for (uint32_t i = 0; set && i < set->count; i++) {
		const struct field *field = &set->fields[i];
		char path[PATH_MAX_LEN];

		snprintf(path, sizeof(path), "%s%s%s", prefix, *prefix ? "." : "", field->name);
		visit->visit(visit->opaque, path, field);
		if (field->type == FIELD_LIST)
			snprintf(path + strlen(path), sizeof(path) - strlen(path), "[]");
		if (field->type == FIELD_STRUCT || field->type == FIELD_LIST)
			visit_set(visit, field->sub, path);
	}
}

void describe_fields(const struct field_set *set,
		     void (*visit)(void *opaque, const char *path, const struct field *field),
		     void *opaque)
{
	visit_set(&(struct visit){ visit, opaque }, set, "");
}

/* docs/protocol.md -------------------------------------------------------------------------------*/

static const char introduction[] =
	"# The protocol\n"
	"\n"
	"Made of the method table by `mayctl protocol`; a test compares. Do not edit.\n"
	"\n"
	"One Unix socket speaks two languages; a connection's first byte tells which. Both call the methods "
	"below:\n"
	"\n"
	"- **HTTP/1.1 with JSON**, as Firecracker's API; each method says its verb and path.\n"
	"- **MessagePack-RPC**: `[0, id, method, [params]]` is answered by `[1, id, error, result]`; `error` is "
	"nil or\n"
	"  `{\"message\": text}`, `params` one map of the fields below, or nothing. `[2, method, [params]]` "
	"wants no\n"
	"  answer. Events come as `[2, event, [details]]`, once `events.subscribe` has asked for them. "
	"Several requests\n"
	"  may be under way; an answer says by its id which it is for. What is no such message is answered "
	"with the\n"
	"  notification `error`, and the connection ends.\n"
	"\n"
	"A path may be given as a descriptor instead: `{\"fd\": i}` is the i-th descriptor that came, by "
	"SCM_RIGHTS,\n"
	"with the request's bytes. Those that are not used are closed. A request that brings descriptors goes in a "
	"sendmsg() of\n"
	"its own: they belong to the request that has the last of its bytes. It goes for every path; for the socket of a\n"
	"vsock it is one that is bound to a path and listens.\n"
	"\n"
	"| event | details | when |\n"
	"| --- | --- | --- |\n"
	"| `vm.state` | `state`: Running, Paused | it starts, is paused, goes on |\n"
	"| `vm.ready` | | init has told the boot timer |\n"
	"| `vm.trace` | as the method | just before the end |\n"
	"| `vm.ended` | `how`: powered-off, reset, triple-fault, kvm-error, memory-lost, stopped; `text` | it has ended; "
	"the process follows |\n"
	"| `device.failed` | `device`, `text`: why | it needs a reset by its driver |\n"
	"| `balloon.statistics` | as the method | the guest has sent new ones |\n"
	"| `snapshot.progress` | `step`: fetch (from a page-fault handler), copy (of what a diff is merged into), memory, sync (which tells no more); "
	"`done_bytes`, `total_bytes` | a snapshot is being saved: each step's beginning and end, and every 100 ms |\n"
	"| `console.output` | `data`: base64; `dropped`: bytes lost before it | only with `console.attach` |\n"
	"| `console.room` | | the same: what `console.write` did not take can be written |\n"
	"\n"
	"A message is at most `--http-api-max-payload-size` bytes long and 16 arrays or maps deep; it holds "
	"no binary\n"
	"values. A client that lets 256 KiB of events pile up is disconnected; of the console's output what is beyond "
	"128 KiB\n"
	"is dropped and counted; of `snapshot.progress`, what comes before the last was read. Metadata is a map here; what\n"
	"HTTP has nested deeper is for HTTP to read.\n";

static void print_field(void *opaque, const char *path, const struct field *field)
{
	static const char *const needs[] = {
		[FIELD_OPTIONAL] = "",
		[FIELD_DEFAULTED] = "",
		[FIELD_REQUIRED] = "yes",
		[FIELD_REQUIRED_OR_OURS] = "",
	};
	char type[400];

	describe_type(field, type, sizeof(type));
	fprintf(opaque, "| `%s` | %s | %s | %s%s |\n", path, type, needs[field->need],
		field->help ? field->help : "", field->deprecated ? " (deprecated)" : "");
}

static void print_method(FILE *out, const struct method *method)
{
	char http[200];

	describe_http(method, http, sizeof(http));
	fprintf(out, "\n## %s\n\n%s. Allowed %s.", method->name, method->help,
		describe_phases(method->phases));
	if (*http)
		fprintf(out, " HTTP: `%s`.", http);
	fprintf(out, "\n");
	if (!method->fields || method->fields->count == 0)
		return;
	fprintf(out, "\n| field | is | needed | meaning |\n| --- | --- | --- | --- |\n");
	describe_fields(method->fields, print_field, out);
}

void describe_protocol(FILE *out)
{
	fputs(introduction, out);
	for (unsigned int g = 0; method_groups[g]; g++)
		for (unsigned int i = 0; i < method_groups[g]->count; i++)
			print_method(out, &method_groups[g]->methods[i]);
}

/* `methods` --------------------------------------------------------------------------------------*/

static void list_field(void *opaque, const char *path, const struct field *field)
{
	char type[400];
	json_t *item;

	describe_type(field, type, sizeof(type));
	item = json_pack("{s:s, s:s, s:b, s:s}", "name", path, "type", type, "required",
			 field->need == FIELD_REQUIRED, "help", field->help ? field->help : "");
	json_array_append_new(opaque, item);
}

static json_t *list_method(const struct method *method)
{
	json_t *fields = json_array();
	char http[200];

	describe_http(method, http, sizeof(http));
	if (fields && method->fields)
		describe_fields(method->fields, list_field, fields);
	return json_pack("{s:s, s:s, s:s, s:s, s:o}", "name", method->name, "help", method->help,
			 "allowed", describe_phases(method->phases), "http", http, "fields",
			 fields);
}

json_t *describe_methods(void)
{
	json_t *list = json_array();

	for (unsigned int g = 0; method_groups[g]; g++)
		for (unsigned int i = 0; list && i < method_groups[g]->count; i++)
			json_array_append_new(list, list_method(&method_groups[g]->methods[i]));
	return list;
}
