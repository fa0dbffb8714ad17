/* Completion for bash: the script asks mayctl itself, which looks into the method table. */
#include <string.h>

#include "cmd/mayctl.h"
#include "cmd/run_options.h"

/* bash takes FIELD=VALUE for three words. `words` answers with "@files" where a path is wanted. */
static const char bash_script[] =
	"# bash completion of mayctl; made by `mayctl completion bash`\n"
	"_mayctl()\n"
	"{\n"
	"\tlocal cur=${COMP_WORDS[COMP_CWORD]} before=(\"${COMP_WORDS[@]:1:COMP_CWORD-1}\") words\n"
	"\tif [ \"$cur\" = = ]; then\n"
	"\t\tbefore+=(=)\n"
	"\t\tcur=\n"
	"\tfi\n"
	"\twords=$(mayctl words -- \"${before[@]}\" 2>/dev/null)\n"
	"\tif [ \"$words\" = @files ]; then\n"
	"\t\tCOMPREPLY=($(compgen -f -- \"$cur\"))\n"
	"\t\tcompopt -o filenames\n"
	"\telse\n"
	"\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	"\t\t[[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace\n"
	"\tfi\n"
	"}\n"
	"complete -F _mayctl mayctl\n";

int ctl_completion_command(struct ctl *ctl, int argc, char **argv)
{
	(void)ctl;
	if (argc != 1 || strcmp(argv[0], "bash") != 0)
		return ctl_fail(CTL_BAD_ARGUMENTS, "there is completion for bash only");
	fputs(bash_script, stdout);
	return CTL_OK;
}

/* Words of commands -----------------------------------------------------------------------------*/

/* The word-th word of a name, when the words before are the same; *len is its length. */
static const char *next_word(const char *name, int argc, char **argv, size_t *len)
{
	for (int i = 0; i < argc; i++) {
		*len = strcspn(name, ". ");
		if (strlen(argv[i]) != *len || strncmp(argv[i], name, *len) != 0 ||
		    name[*len] == '\0')
			return NULL;
		name += *len + 1;
	}
	*len = strcspn(name, ". ");
	return name;
}

static void offer(const char *name, int argc, char **argv)
{
	size_t len;
	const char *word = next_word(name, argc, argv, &len);

	if (word)
		printf("%.*s\n", (int)len, word);
}

static void offer_commands(int argc, char **argv)
{
	const struct method *method;

	for (const struct ctl_command *command = ctl_commands; argc == 0 && command->name;
	     command++)
		if (command->help)
			printf("%s\n", command->name);
	for (const struct ctl_verb *alias = ctl_aliases; alias->words; alias++)
		offer(alias->words, argc, argv);
	for (unsigned int i = 0; (method = method_at(i)); i++)
		offer(method->name, argc, argv);
}

/* Words of fields -------------------------------------------------------------------------------*/

static void offer_field(void *opaque, const char *path, const struct field *field)
{
	(void)opaque;
	if (field->type != FIELD_STRUCT && field->type != FIELD_LIST && !strchr(path, '['))
		printf("%s=\n", path);
}

static void offer_values(const struct field *field)
{
	if (field->type == FIELD_BOOL)
		printf("true\nfalse\n");
	else if (field->type == FIELD_CHOICE)
		for (const char *const *word = field->choices; *word; word++)
			printf("%s\n", *word);
	else if (field->type == FIELD_FILE || field->type == FIELD_STRING)
		printf("@files\n");
}

static void offer_arguments(const struct ctl_verb *verb, int argc, char **argv)
{
	const struct method *method = method_by_name(verb->method);
	const char *positional = argc < CTL_POSITIONALS_MAX ? verb->positionals[argc] : NULL;
	const struct field *field;

	if (!method->fields)
		return;
	if (argc >= 2 && strcmp(argv[argc - 1], "=") == 0) {
		field = ctl_field(method->fields, argv[argc - 2]);
		if (field)
			offer_values(field);
		return;
	}
	field = positional ? ctl_field(method->fields, positional) : NULL;
	if (field && (field->type == FIELD_FILE || field->type == FIELD_STRING)) {
		printf("@files\n");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(verb->switches) && verb->switches[i][0]; i++)
		printf("%s\n", verb->switches[i][0]);
	describe_fields(method->fields, offer_field, NULL);
}

/* Of run: mayfly run's options, files for their values, and a configuration file. */
static void offer_run(const char *before)
{
	const char *name;
	bool has_value;

	for (unsigned int i = 0; (name = run_option_name(i, &has_value)); i++)
		if (has_value && strncmp(before, "--", 2) == 0 && strcmp(before + 2, name) == 0) {
			printf("@files\n");
			return;
		}
	for (unsigned int i = 0; (name = run_option_name(i, &has_value)); i++)
		printf("--%s\n", name);
}

/* Ours, where a method's name cannot be yet. */
static void offer_options(void)
{
	printf("--sock\n--json\n--progress\n--timeout\n");
}

int ctl_words_command(struct ctl *ctl, int argc, char **argv)
{
	char name[CTL_NAME_MAX];
	struct ctl_verb verb;
	int count, at = 0;

	(void)ctl;
	while (at < argc && strncmp(argv[at], "--", 2) == 0) {
		bool has_value = strcmp(argv[at], "--sock") == 0 ||
				 strcmp(argv[at], "--timeout") == 0;

		if (has_value && at + 1 == argc) {
			printf("@files\n");
			return CTL_OK;
		}
		at += has_value ? 2 : 1;
	}
	if (at == argc)
		offer_options();
	else if (strcmp(argv[at], "help") == 0)
		at++;
	if (at + 1 == argc &&
	    (strcmp(argv[at], "ps") == 0 || strcmp(argv[at], "top") == 0 ||
	     strcmp(argv[at], "trace") == 0 || strcmp(argv[at], "console") == 0)) {
		printf("@files\n");
		return CTL_OK;
	}
	if (at < argc && strcmp(argv[at], "run") == 0) {
		offer_run(argv[argc - 1]);
		return CTL_OK;
	}
	offer_commands(argc - at, argv + at);
	if (ctl_find_verb(argc - at, argv + at, &verb, name, &count))
		offer_arguments(&verb, argc - at - count, argv + at + count);
	else if (at < argc && (strcmp(argv[at], "events") == 0 || strcmp(argv[at], "wait") == 0))
		for (int i = 0; event_names[i]; i++)
			printf("%s\n", event_names[i]);
	return CTL_OK;
}
