/* Help, made of the method table. */
#include <string.h>

#include "cmd/mayctl.h"

static const char usage[] =
	"Usage: mayctl --sock PATH [--json] [--progress] COMMAND...\n"
	"\n"
	"  --sock PATH      the microVM's API socket; else what $MAYCTL_SOCK says\n"
	"  --json           print answers as JSON, for programs\n"
	"  --progress       say on standard error how far `snapshot save` is, as on a terminal without --json\n"
	"  --timeout S      wait at most so many seconds for an event or an answer\n";

static const char statuses[] =
	"\n"
	"A field is given as FIELD=VALUE, one of a map inside as rate_limiter.ops.size=100. A path given as fd:PATH\n"
	"is opened here and passed as a descriptor, newfd:PATH is made here first, fd:N is a descriptor that mayctl\n"
	"was started with.\n"
	"\n"
	"Exit status: 0 done; 1 refused, for the reason printed; 2 nobody answers, or the connection was lost;\n"
	"3 --timeout went by; 153 the command line is wrong.\n"
	"\n"
	"Examples:\n"
	"  mayctl --sock vm.sock drive add root fd:disk.img root ro\n"
	"  mayctl --sock vm.sock vm start\n"
	"  mayctl help drive add\n";

static void print_words(const char *name, FILE *out)
{
	for (; *name; name++)
		fputc(*name == '.' ? ' ' : *name, out);
}

static void print_verb_usage(const struct ctl_verb *verb, FILE *out)
{
	print_words(verb->words, out);
	for (size_t i = 0; i < CTL_POSITIONALS_MAX && verb->positionals[i]; i++)
		fprintf(out, " <%s>", verb->positionals[i]);
	for (size_t i = 0; i < ARRAY_SIZE(verb->switches) && verb->switches[i][0]; i++)
		fprintf(out, " [%s]", verb->switches[i][0]);
}

static void list_verb(const struct ctl_verb *verb, const char *prefix, FILE *out)
{
	const struct method *method = method_by_name(verb->method);
	char *text = NULL;
	size_t len = 0;
	FILE *line;

	if (strncmp(verb->words, prefix, strlen(prefix)) != 0)
		return;
	line = open_memstream(&text, &len);
	if (!line)
		return;
	print_verb_usage(verb, line);
	fclose(line);
	fprintf(out, "  %-52s  %s\n", text, verb->help ? verb->help : method->help);
	free(text);
}

static unsigned int list_verbs(const char *prefix, FILE *out)
{
	unsigned int count = 0;
	const struct method *method;

	for (const struct ctl_verb *alias = ctl_aliases; alias->words; alias++) {
		count += strncmp(alias->words, prefix, strlen(prefix)) == 0;
		list_verb(alias, prefix, out);
	}
	for (unsigned int i = 0; (method = method_at(i)); i++) {
		const struct ctl_verb verb = {
			.words = method->name,
			.method = method->name,
			.positionals = { method->id_field },
		};

		count += strncmp(method->name, prefix, strlen(prefix)) == 0;
		list_verb(&verb, prefix, out);
	}
	return count;
}

void ctl_help(FILE *out)
{
	fputs(usage, out);
	fputs("\nCommands:\n", out);
	for (const struct ctl_command *command = ctl_commands; command->name; command++) {
		char text[80];

		if (!command->help)
			continue;
		snprintf(text, sizeof(text), "%s %s", command->name, command->usage);
		fprintf(out, "  %-52s  %s\n", text, command->help);
	}
	fputs("\nMethods (mayctl help WORDS tells of their fields):\n", out);
	list_verbs("", out);
	fputs(statuses, out);
}

static void print_field(void *opaque, const char *path, const struct field *field)
{
	char type[400];

	describe_type(field, type, sizeof(type));
	fprintf(opaque, "  %-40s  %s%s\n  %-40s    %s\n", path, field->help ? field->help : "",
		field->need == FIELD_REQUIRED ? " (needed)" : "", "", type);
}

static void explain_verb(const struct ctl_verb *verb)
{
	const struct method *method = method_by_name(verb->method);

	printf("Usage: mayctl --sock PATH ");
	print_verb_usage(verb, stdout);
	printf("%s\n\n%s. Allowed %s.\n",
	       !method->fields	       ? ""
	       : method->fields->whole ? " JSON"
				       : " [FIELD=VALUE]...",
	       verb->help ? verb->help : method->help, describe_phases(method->phases));
	for (size_t i = 0; i < ARRAY_SIZE(verb->switches) && verb->switches[i][0]; i++)
		printf("`%s` is the same as %s.\n", verb->switches[i][0], verb->switches[i][1]);
	if (verb->given)
		printf("%s goes without saying.\n", verb->given);
	if (method->fields) {
		printf("\nFields:\n");
		describe_fields(method->fields, print_field, stdout);
	}
}

static const struct ctl_command *command_named(const char *name)
{
	for (const struct ctl_command *command = ctl_commands; command->name; command++)
		if (strcmp(command->name, name) == 0)
			return command;
	return NULL;
}

int ctl_help_command(struct ctl *ctl, int argc, char **argv)
{
	const struct ctl_command *command = argc == 1 ? command_named(argv[0]) : NULL;
	char name[CTL_NAME_MAX];
	struct ctl_verb verb;
	int count;

	(void)ctl;
	if (argc == 0) {
		ctl_help(stdout);
	} else if (command) {
		printf("Usage: mayctl %s%s %s\n\n%s\n", command->needs_sock ? "--sock PATH " : "",
		       command->name, command->usage, command->help ? command->help : "");
	} else if (ctl_find_verb(argc, argv, &verb, name, &count) && count == argc) {
		explain_verb(&verb);
	} else if (argc != 1 || list_verbs(argv[0], stdout) == 0) {
		return ctl_fail(CTL_BAD_ARGUMENTS, "there is no command `%s`", argv[0]);
	}
	return CTL_OK;
}
