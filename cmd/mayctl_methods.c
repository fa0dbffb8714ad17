/* Methods as commands: words to a method, further words to its fields. */
#include <string.h>

#include "cmd/mayctl.h"
#include "cmd/progress_line.h"

const struct ctl_verb ctl_aliases[] = {
	{ .words = "vm start",
	  .method = "action",
	  .given = "action_type=InstanceStart",
	  .help = "Starts the microVM" },
	{ .words = "vm flush-metrics",
	  .method = "action",
	  .given = "action_type=FlushMetrics",
	  .help = "Writes its metrics now" },
	{ .words = "vm ctrl-alt-del",
	  .method = "action",
	  .given = "action_type=SendCtrlAltDel",
	  .help = "Presses Ctrl-Alt-Del at its keyboard" },
	{ .words = "vm stop", .method = "vm.stop", .positionals = { "text" } },
	{ .words = "vm pause", .method = "vm.patch", .given = "state=Paused", .help = "Pauses it" },
	{ .words = "vm resume",
	  .method = "vm.patch",
	  .given = "state=Resumed",
	  .help = "Lets it go on" },
	{ .words = "machine set",
	  .method = "machine.put",
	  .positionals = { "vcpu_count", "mem_size_mib" } },
	{ .words = "machine show", .method = "machine.get" },
	{ .words = "boot set",
	  .method = "boot.put",
	  .positionals = { "kernel_image_path", "boot_args" } },
	{ .words = "drive add",
	  .method = "drive.put",
	  .positionals = { "drive_id", "path_on_host" },
	  .given = "is_root_device=false",
	  .switches = { { "ro", "is_read_only=true" }, { "root", "is_root_device=true" } } },
	{ .words = "net add", .method = "net.put", .positionals = { "iface_id", "host_dev_name" } },
	{ .words = "pmem add",
	  .method = "pmem.put",
	  .positionals = { "id", "path_on_host" },
	  .switches = { { "ro", "read_only=true" }, { "root", "root_device=true" } } },
	{ .words = "vsock add", .method = "vsock.put", .positionals = { "guest_cid", "uds_path" } },
	{ .words = "balloon add",
	  .method = "balloon.put",
	  .positionals = { "amount_mib" },
	  .given = "deflate_on_oom=false",
	  .switches = { { "oom", "deflate_on_oom=true" } } },
	{ .words = "balloon set", .method = "balloon.patch", .positionals = { "amount_mib" } },
	{ .words = "balloon show", .method = "balloon.get" },
	{ .words = "snapshot save",
	  .method = "snapshot.create",
	  .positionals = { "snapshot_path", "mem_file_path" },
	  .switches = { { "diff", "snapshot_type=Diff" } } },
	{ .words = "snapshot load",
	  .method = "snapshot.load",
	  .positionals = { "snapshot_path", "mem_backend.backend_path" },
	  .given = "mem_backend.backend_type=File",
	  .unless = "mem_file_path=",
	  .switches = { { "resume", "resume_vm=true" } } },
	{ .words = "snapshot restore",
	  .method = "snapshot.restore",
	  .positionals = { "snapshot_path", "mem_backend.backend_path" },
	  .given = "mem_backend.backend_type=File",
	  .unless = "mem_file_path=",
	  .switches = { { "paused", "resume_vm=false" } } },
	{ .words = "serial set", .method = "serial.put", .positionals = { "serial_out_path" } },
	{ .words = "logger set", .method = "logger.put", .positionals = { "log_path", "level" } },
	{ .words = "metrics set", .method = "metrics.put", .positionals = { "metrics_path" } },
	{ .words = NULL },
};

/* Finding ---------------------------------------------------------------------------------------*/

/* The first words with a character between them; false: they are too long. */
static bool join(int count, char **words, char between, char name[CTL_NAME_MAX])
{
	size_t len = 0;

	name[0] = '\0';
	for (int i = 0; i < count; i++) {
		if (len + strlen(words[i]) + 2 > CTL_NAME_MAX)
			return false;
		if (i > 0)
			name[len++] = between;
		len = (size_t)(stpcpy(name + len, words[i]) - name);
	}
	return true;
}

static const struct ctl_verb *alias_named(const char *words)
{
	for (const struct ctl_verb *alias = ctl_aliases; alias->words; alias++)
		if (strcmp(alias->words, words) == 0)
			return alias;
	return NULL;
}

static bool find_exactly(int count, char **argv, struct ctl_verb *out, char name[CTL_NAME_MAX])
{
	const struct ctl_verb *alias;
	const struct method *method;

	if (!join(count, argv, ' ', name))
		return false;
	alias = alias_named(name);
	if (alias) {
		*out = *alias;
		return true;
	}
	join(count, argv, '.', name);
	method = method_by_name(name);
	if (!method)
		return false;
	*out = (struct ctl_verb){ .words = name, .method = name };
	out->positionals[0] = method->id_field;
	return true;
}

bool ctl_find_verb(int argc, char **argv, struct ctl_verb *out, char name[CTL_NAME_MAX], int *count)
{
	for (*count = argc < 4 ? argc : 4; *count > 0; --*count)
		if (find_exactly(*count, argv, out, name))
			return true;
	return false;
}

/* Calling ---------------------------------------------------------------------------------------*/

static const char *switch_of(const struct ctl_verb *verb, const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(verb->switches); i++)
		if (verb->switches[i][0] && strcmp(verb->switches[i][0], word) == 0)
			return verb->switches[i][1];
	return NULL;
}

/* A method whose parameters are any JSON value: the value is its only word. */
static int take_whole(struct ctl_params *params, int argc, char **argv, struct error *err)
{
	json_error_t why;

	if (argc != 1)
		return error_set(err, EINVAL, "what follows is one JSON value");
	params->tree = json_loads(argv[0], JSON_DECODE_ANY, &why);
	if (!params->tree)
		return error_set(err, EINVAL, "%s", why.text);
	return json_is_object(params->tree)
		       ? 0
		       : error_set(err, EINVAL, "what follows is one JSON object, in braces");
}

/* Fields without names first, then the words that stand for something. */
static int take_word(struct ctl_params *params, const struct ctl_verb *verb,
		     const struct method *method, const char *word, unsigned int *positional,
		     struct error *err)
{
	const char *instead = switch_of(verb, word);
	size_t len = strcspn(word, "=");
	char name[CTL_NAME_MAX];

	snprintf(name, sizeof(name), "%.*s", (int)(len < sizeof(name) ? len : 0), word);
	if (word[len] == '=' && ctl_field(method->fields, name))
		return ctl_params_add(params, method, word, err);
	if (*positional < CTL_POSITIONALS_MAX && verb->positionals[*positional])
		return ctl_params_set(params, method, verb->positionals[(*positional)++], word,
				      err);
	return ctl_params_add(params, method, instead ? instead : word, err);
}

static int take_words(struct ctl_params *params, const struct ctl_verb *verb,
		      const struct method *method, int argc, char **argv, struct error *err)
{
	unsigned int positional = 0;
	bool is_given = verb->given;
	int ret = 0;

	for (int i = 0; i < argc && verb->unless; i++)
		is_given &= strncmp(argv[i], verb->unless, strlen(verb->unless)) != 0;
	if (is_given)
		ret = ctl_params_add(params, method, verb->given, err);
	if (method->fields && method->fields->whole)
		return take_whole(params, argc, argv, err);
	for (int i = 0; i < argc && ret == 0; i++)
		ret = take_word(params, verb, method, argv[i], &positional, err);
	return ret;
}

static int call(struct ctl *ctl, const struct method *method, const struct ctl_params *params)
{
	struct progress_line line;
	const bool has_progress = ctl_progress_begin(ctl, method, &line);
	json_t *result = NULL;
	uint32_t id;
	int ret = mayfly_client_send(ctl->client, method->name, params->tree, params->fds,
				     params->fd_count, &id);

	if (ret == 0 && has_progress)
		ctl_progress_follow(ctl, id, &line);
	if (ret == 0)
		ret = mayfly_client_receive(ctl->client, id, &result);
	if (ret < 0)
		return ctl_fail_call(ctl, ret);
	ctl_print_result(ctl, result);
	json_decref(result);
	return CTL_OK;
}

int ctl_call_verb(struct ctl *ctl, int argc, char **argv)
{
	struct ctl_params params = { 0 };
	const struct method *method;
	char name[CTL_NAME_MAX];
	struct ctl_verb verb;
	struct error err = { 0 };
	int count, status;

	if (!ctl_find_verb(argc, argv, &verb, name, &count))
		return ctl_fail(CTL_BAD_ARGUMENTS, "there is no command `%s`; see mayctl help",
				argv[0]);
	method = method_by_name(verb.method);
	if (take_words(&params, &verb, method, argc - count, argv + count, &err) < 0)
		status = ctl_fail(CTL_BAD_ARGUMENTS, "%s (see mayctl help %s)", err.text,
				  verb.words);
	else
		status = call(ctl, method, &params);
	ctl_params_free(&params);
	return status;
}
