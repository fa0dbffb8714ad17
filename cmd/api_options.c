#include "cmd/api_options.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/server.h"
#include "cmd/options.h"

#define SOCKET_DEFAULT "/run/firecracker.socket"
#define ID_MAX 64u

enum option_type { OPTION_FLAG, OPTION_TEXT, OPTION_NUMBER };

struct option_row {
	const char *name;
	enum option_type type;
	size_t offset;
	const char *help;
};

#define ROW(text, kind, member, words)                                  \
	{                                                               \
		text, kind, offsetof(struct api_options, member), words \
	}

static const struct option_row rows[] = {
	ROW("api-sock", OPTION_TEXT, api_sock, "the API socket; default " SOCKET_DEFAULT),
	ROW("id", OPTION_TEXT, id, "the microVM's name; default anonymous-instance"),
	ROW("config-file", OPTION_TEXT, config_file,
	    "start the microVM that this JSON file describes"),
	ROW("no-api", OPTION_FLAG, no_api, "no API socket; needs --config-file"),
	ROW("metadata", OPTION_TEXT, metadata, "JSON file with the data of the metadata service"),
	ROW("boot-timer", OPTION_FLAG, boot_timer, "log how long the guest took to boot"),
	ROW("log-path", OPTION_TEXT, log_path, "file or named pipe for the log"),
	ROW("level", OPTION_TEXT, level, "Error, Warning, Info (default), Debug, Trace or Off"),
	ROW("show-level", OPTION_FLAG, show_level, "log each message's level"),
	ROW("show-log-origin", OPTION_FLAG, show_log_origin, "log where in the source it is from"),
	ROW("module", OPTION_TEXT, module, "log only what this part of the source says"),
	ROW("metrics-path", OPTION_TEXT, metrics_path, "file or named pipe for the metrics"),
	ROW("http-api-max-payload-size", OPTION_NUMBER, payload_max,
	    "bytes of a request's body; default 51200"),
	ROW("mmds-size-limit", OPTION_NUMBER, mmds_max, "bytes of metadata; default: as above"),
	ROW("start-time-us", OPTION_NUMBER, start_time_us, "when the start began, for the metrics"),
	ROW("start-time-cpu-us", OPTION_NUMBER, start_time_cpu_us, "the same, of the CPU clock"),
	ROW("parent-cpu-time-us", OPTION_NUMBER, parent_cpu_time_us, "CPU time spent before exec"),
	ROW("seccomp-filter", OPTION_TEXT, seccomp_filter, "file with system call filters"),
	ROW("no-seccomp", OPTION_FLAG, no_seccomp, "no system call filters"),
	ROW("enable-pci", OPTION_FLAG, enable_pci, "refused: there is no PCI"),
	ROW("describe-snapshot", OPTION_TEXT, describe_snapshot, "print a snapshot's version"),
	ROW("snapshot-version", OPTION_FLAG, snapshot_version, "print the version of snapshots"),
	ROW("version", OPTION_FLAG, version, "print the version"),
	ROW("help", OPTION_FLAG, help, "this text"),
};

void api_options_help(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char name[48];

		snprintf(name, sizeof(name), "--%s%s", rows[i].name,
			 rows[i].type == OPTION_FLAG ? "" : " VALUE");
		printf("  %-33s %s\n", name, rows[i].help);
	}
}

static const struct option_row *find_row(const char *name, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strlen(rows[i].name) == len && strncmp(rows[i].name, name, len) == 0)
			return &rows[i];
	return NULL;
}

static int set_value(struct api_options *options, const struct option_row *row, const char *value,
		     struct error *err)
{
	void *member = (char *)options + row->offset;
	unsigned long number = 0;
	char name[48];
	int ret;

	if (row->type == OPTION_TEXT) {
		*(const char **)member = value;
		return 0;
	}
	snprintf(name, sizeof(name), "--%s", row->name);
	ret = parse_number(name, value, 0, UINT64_MAX, &number, err);
	if (ret < 0)
		return ret;
	*(uint64_t *)member = number;
	return 0;
}

/* One option of argv at *at, which is moved to the last word it used. */
static int parse_one(struct api_options *options, int argc, char **argv, int *at, uint64_t *seen,
		     struct error *err)
{
	const char *word = argv[*at];
	const char *value = strchr(word, '=');
	size_t len = value ? (size_t)(value - word) : strlen(word);
	const struct option_row *row = NULL;

	if (strncmp(word, "--", 2) == 0)
		row = find_row(word + 2, len - 2);
	if (!row)
		return error_set(
			err, EINVAL,
			"Found argument '%s' which wasn't expected, or isn't valid in this "
			"context; see `mayfly --help`",
			word + strspn(word, "-"));
	if (*seen & 1ull << (row - rows))
		return error_set(err, EINVAL, "The argument '%s' was provided more than once.",
				 row->name);
	*seen |= 1ull << (row - rows);
	if (row->type == OPTION_FLAG) {
		if (value)
			return error_set(err, EINVAL, "The argument '%s' takes no value.",
					 row->name);
		*(bool *)((char *)options + row->offset) = true;
		return 0;
	}
	if (!value && *at + 1 < argc && strncmp(argv[*at + 1], "--", 2) != 0)
		return set_value(options, row, argv[++*at], err);
	if (!value)
		return error_set(err, EINVAL,
				 "The argument '%s' requires a value, but none was supplied.",
				 row->name);
	return set_value(options, row, value + 1, err);
}

static int check_id(const char *id, struct error *err)
{
	size_t len = strlen(id);

	for (const char *c = id; *c; c++)
		if (!isascii(*c) || (!isalnum(*c) && *c != '-'))
			return error_set(err, EINVAL,
					 "--id '%s': a name has letters, digits and hyphens", id);
	if (len < 1 || len > ID_MAX)
		return error_set(err, EINVAL, "--id: a name has 1 to %u characters, not %zu",
				 ID_MAX, len);
	return 0;
}

static int check_together(const struct api_options *options, struct error *err)
{
	if (options->no_api && !options->config_file)
		return error_set(err, EINVAL, "Argument 'config-file' required, but not found.");
	if (options->no_seccomp && options->seccomp_filter)
		return error_set(err, EINVAL,
				 "Argument 'seccomp-filter' cannot be used together with argument "
				 "'no-seccomp'.");
	if (options->enable_pci)
		return error_set(err, EINVAL,
				 "--enable-pci: there is no PCI; devices are virtio-mmio");
	return check_id(options->id, err);
}

/* Wherever they stand, they are all that counts. */
static bool asks_for_words(struct api_options *options, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		options->help |= strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0;
		options->version |= strcmp(argv[i], "--version") == 0;
	}
	return options->help || options->version;
}

/* What follows `--` is nobody's. */
static int count_words(int argc, char **argv)
{
	int count = 1;

	while (count < argc && strcmp(argv[count], "--") != 0)
		count++;
	return MIN(count, argc);
}

int api_options_parse(struct api_options *options, int argc, char **argv, struct error *err)
{
	uint64_t seen = 0;

	*options = (struct api_options){ .api_sock = SOCKET_DEFAULT,
					 .id = "anonymous-instance",
					 .payload_max = API_PAYLOAD_MAX_DEFAULT };
	argc = count_words(argc, argv);
	if (asks_for_words(options, argc, argv))
		return 0;
	for (int i = 1; i < argc; i++) {
		int ret = parse_one(options, argc, argv, &i, &seen, err);

		if (ret < 0)
			return ret;
	}
	if (!(seen & 1ull << (find_row("mmds-size-limit", 15) - rows)))
		options->mmds_max = options->payload_max;
	return check_together(options, err);
}
