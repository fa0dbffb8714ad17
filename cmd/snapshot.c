#include "cmd/snapshot.h"

#include <stdio.h>
#include <string.h>

#include "cmd/exit_codes.h"

static void print_help(void)
{
	printf("Usage: mayfly snapshot show FILE [--json]\n"
	       "       mayfly snapshot check FILE\n"
	       "       mayfly snapshot merge BASE LAYER... --output MEMORY\n"
	       "\n"
	       "FILE is the state file of a snapshot. Neither starts a guest or reads its memory.\n"
	       "\n"
	       "  show      what it is: its id, vCPUs, memory, devices, what it needs of a processor\n"
	       "            and a kernel, and the sections of the file\n"
	       "  --json    the same for scripts\n"
	       "  check     whether this host, and this user, can run it, and a line for each thing\n"
	       "            that is missing\n"
	       "  merge     writes a memory file of BASE with each LAYER, the memory file of a diff, laid\n"
	       "            over what comes before it; it goes with the state file of the last one, and\n"
	       "            may replace one that it is made from. Layers must be copied with their holes.\n"
	       "  --help    this text\n"
	       "\n"
	       "Exit status: 0 shown, or it can run here; 1 it cannot; 152 not a snapshot that this\n"
	       "version can read; 153 a wrong option.\n");
}

static int fail(int status, const char *text)
{
	fprintf(stderr, "mayfly: error: %s\n", text);
	return status;
}

static int show(const struct snapshot_view *view, bool json)
{
	int ret = snapshot_show(view, json);

	if (ret == 0)
		return EXIT_OK;
	fprintf(stderr, "mayfly: error: snapshot: cannot write what it is: %s\n",
		strerrordesc_np(-ret));
	return EXIT_GENERIC;
}

/* A name in the file may hold anything, also what a terminal would obey. */
static void print_missing(void *opaque, const char *sentence)
{
	(void)opaque;
	printf("missing: ");
	for (; *sentence; sentence++)
		putchar((unsigned char)*sentence < ' ' || *sentence == 0x7f ? '?' : *sentence);
	putchar('\n');
}

static int check(const struct snapshot_view *view)
{
	if (snapshot_check(view, print_missing, NULL) > 0)
		return EXIT_GENERIC;
	printf("This host can run it.\n");
	return EXIT_OK;
}

struct options {
	const char *verb, *path;
	bool show; /* else check */
	bool json, help;
};

static int parse(int argc, char **argv, struct options *options, struct error *err)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			options->json = true;
		else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			options->help = true;
		else if (argv[i][0] == '-')
			return error_set(err, EINVAL, "snapshot: unknown option '%s'", argv[i]);
		else if (!options->verb)
			options->verb = argv[i];
		else if (!options->path)
			options->path = argv[i];
		else
			return error_set(err, EINVAL, "snapshot: one FILE at a time, not '%s' too",
					 argv[i]);
	}
	if (options->help)
		return 0;
	if (!options->verb)
		return error_set(err, EINVAL, "snapshot: show, check or merge what?");
	options->show = strcmp(options->verb, "show") == 0;
	if (!options->show && strcmp(options->verb, "check") != 0)
		return error_set(err, EINVAL, "snapshot: unknown command '%s'", options->verb);
	if (!options->path)
		return error_set(err, EINVAL, "snapshot %s: no FILE is given", options->verb);
	if (options->json && !options->show)
		return error_set(err, EINVAL, "snapshot %s: --json is show's", options->verb);
	return 0;
}

int snapshot_main(int argc, char **argv)
{
	struct options options = { 0 };
	struct snapshot_view *view;
	struct error err = { 0 };
	int status;

	if (argc > 1 && strcmp(argv[1], "merge") == 0 &&
	    !(argc > 2 && strcmp(argv[2], "--help") == 0))
		return snapshot_merge_main(argc - 1, argv + 1);
	if (parse(argc, argv, &options, &err) < 0)
		return fail(EXIT_BAD_ARGUMENTS, err.text);
	if (options.help) {
		print_help();
		return EXIT_OK;
	}
	if (snapshot_view_open(&view, options.path, &err) < 0)
		return fail(EXIT_BAD_CONFIG, err.text);
	status = options.show ? show(view, options.json) : check(view);
	snapshot_view_close(view);
	return status;
}

/* A file of any other format is refused before. */
int snapshot_describe(const char *path, struct error *err)
{
	struct snapshot_view *view;
	int ret = snapshot_view_open(&view, path, err);

	if (ret < 0)
		return ret;
	snapshot_print_version();
	snapshot_view_close(view);
	return 0;
}

void snapshot_print_version(void)
{
	printf("v%u.0.0\n", STATE_FILE_FORMAT);
}
