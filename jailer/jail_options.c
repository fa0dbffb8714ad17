#include "jailer/jail_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "jailer/jail_text.h"

enum option_id {
	OPTION_ID = 1,
	OPTION_EXEC_FILE,
	OPTION_UID,
	OPTION_GID,
	OPTION_BASE,
	OPTION_NETNS,
	OPTION_DAEMONIZE,
	OPTION_NEW_PID_NS,
	OPTION_CGROUP,
	OPTION_CGROUP_VERSION,
	OPTION_PARENT_CGROUP,
	OPTION_LIMIT,
	OPTION_NEW_NET_NS,
	OPTION_NEW_USER_NS,
	OPTION_BIND_RO,
	OPTION_DEVICE,
	OPTION_TMPFS,
	OPTION_COPY_EXEC,
	OPTION_TAP,
	OPTION_NO_DEVICE_POLICY,
	OPTION_DRY_RUN,
	OPTION_VERSION,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "id", required_argument, NULL, OPTION_ID },
	{ "exec-file", required_argument, NULL, OPTION_EXEC_FILE },
	{ "uid", required_argument, NULL, OPTION_UID },
	{ "gid", required_argument, NULL, OPTION_GID },
	{ "chroot-base-dir", required_argument, NULL, OPTION_BASE },
	{ "netns", required_argument, NULL, OPTION_NETNS },
	{ "daemonize", no_argument, NULL, OPTION_DAEMONIZE },
	{ "new-pid-ns", no_argument, NULL, OPTION_NEW_PID_NS },
	{ "cgroup", required_argument, NULL, OPTION_CGROUP },
	{ "cgroup-version", required_argument, NULL, OPTION_CGROUP_VERSION },
	{ "parent-cgroup", required_argument, NULL, OPTION_PARENT_CGROUP },
	{ "resource-limit", required_argument, NULL, OPTION_LIMIT },
	{ "new-net-ns", no_argument, NULL, OPTION_NEW_NET_NS },
	{ "new-user-ns", no_argument, NULL, OPTION_NEW_USER_NS },
	{ "bind-ro", required_argument, NULL, OPTION_BIND_RO },
	{ "device", required_argument, NULL, OPTION_DEVICE },
	{ "tmpfs", required_argument, NULL, OPTION_TMPFS },
	{ "copy-exec", no_argument, NULL, OPTION_COPY_EXEC },
	{ "tap", required_argument, NULL, OPTION_TAP },
	{ "no-device-policy", no_argument, NULL, OPTION_NO_DEVICE_POLICY },
	{ "dry-run", no_argument, NULL, OPTION_DRY_RUN },
	{ "version", no_argument, NULL, OPTION_VERSION },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

/* Single values ---------------------------------------------------------------------------------*/

static int set_once(const char **field, const char *option, const char *value, struct error *err)
{
	if (*field)
		return error_set(err, EINVAL, "%s is given twice: '%s' and '%s'", option, *field,
				 value);
	*field = value;
	return 0;
}

static int parse_owner(const char *option, const char *text, uint32_t *out, struct error *err)
{
	uint64_t value = 0;
	int ret = jail_parse_number(option, text, UINT32_MAX - 1, &value, err);

	*out = (uint32_t)value;
	return ret;
}

static int parse_version(struct jail_options *options, const char *text, struct error *err)
{
	if (strcmp(text, "1") != 0 && strcmp(text, "2") != 0)
		return error_set(err, EINVAL, "--cgroup-version: '%s' is neither 1 nor 2", text);
	options->cgroup_version = (unsigned int)(*text - '0');
	return 0;
}

static int parse_tmpfs(struct jail_options *options, const char *text, struct error *err)
{
	int ret = jail_parse_number("--tmpfs", text, 1u << 20, &options->tmpfs_mib, err);

	if (ret == 0 && options->tmpfs_mib == 0)
		return error_set(err, EINVAL, "--tmpfs: a root of 0 MiB holds nothing");
	return ret;
}

/* Repeated ones ---------------------------------------------------------------------------------*/

static int add_cgroup(struct jail_options *options, char *text, struct error *err)
{
	char *value = strchr(text, '=');
	const char *dot;

	if (options->cgroup_count == JAIL_CGROUP_MAX)
		return error_set(err, EINVAL, "--cgroup '%s': more than %u", text, JAIL_CGROUP_MAX);
	if (!value || value[1] == '\0')
		return error_set(err, EINVAL, "--cgroup '%s' is not FILE=VALUE", text);
	*value++ = '\0';
	dot = strchr(text, '.');
	if (!dot || dot == text || jail_check_name("--cgroup", text, err) < 0)
		return error_set(err, EINVAL,
				 "--cgroup '%s': a file's name begins with its controller, as in "
				 "cpu.weight",
				 text);
	for (const char *c = value; *c; c++)
		if ((unsigned char)*c < 0x20)
			return error_set(err, EINVAL,
					 "--cgroup %s: the value has a control character in it",
					 text);
	options->cgroup[options->cgroup_count++] = (struct jail_setting){ text, value };
	return 0;
}

static int parse_limit(struct jail_options *options, const char *text, struct error *err)
{
	if (strncmp(text, "fsize=", 6) == 0)
		return jail_parse_number("--resource-limit fsize", text + 6, INT64_MAX,
					 &options->file_size, err);
	if (strncmp(text, "no-file=", 8) == 0)
		return jail_parse_number("--resource-limit no-file", text + 8, 1u << 20,
					 &options->no_file, err);
	return error_set(err, EINVAL,
			 "--resource-limit '%s': there are fsize=BYTES and no-file=NUMBER", text);
}

/* "SOURCE:TARGET", cut up; what follows a second colon is left in the target. */
static int cut_pair(const char *option, char *text, char **target, struct error *err)
{
	*target = strchr(text, ':');
	if (!*target)
		return error_set(err, EINVAL, "%s '%s' is not SOURCE:TARGET", option, text);
	*(*target)++ = '\0';
	return jail_check_absolute(option, text, err);
}

static int check_target(const char *option, const char *source, char *target, struct error *err)
{
	int ret;

	for (size_t len = strlen(target); len > 1 && target[len - 1] == '/'; len--)
		target[len - 1] = '\0';
	ret = jail_check_absolute(option, target, err);
	if (ret == 0 && strspn(target, "/") == strlen(target))
		ret = error_set(err, EINVAL, "%s %s: the target is the jail's root", option,
				source);
	return ret;
}

static int add_bind(struct jail_options *options, char *text, struct error *err)
{
	char *target;
	int ret;

	if (options->bind_count == JAIL_BINDS_MAX)
		return error_set(err, EINVAL, "--bind-ro '%s': more than %u", text, JAIL_BINDS_MAX);
	ret = cut_pair("--bind-ro", text, &target, err);
	if (ret == 0)
		ret = check_target("--bind-ro", text, target, err);
	if (ret == 0)
		options->binds[options->bind_count++] = (struct jail_bind){ text, target };
	return ret;
}

static int add_device(struct jail_options *options, char *text, struct error *err)
{
	char *target, *colon = NULL;
	int ret;

	if (options->device_count == JAIL_DEVICES_MAX)
		return error_set(err, EINVAL, "--device '%s': more than %u", text,
				 JAIL_DEVICES_MAX);
	ret = cut_pair("--device", text, &target, err);
	if (ret == 0 && (colon = strchr(target, ':'))) {
		*colon++ = '\0';
		if (strcmp(colon, "ro") != 0)
			ret = error_set(err, EINVAL, "--device %s: '%s' is not ro", text, colon);
	}
	if (ret == 0)
		ret = check_target("--device", text, target, err);
	if (ret == 0)
		options->devices[options->device_count++] = (struct jail_device){ text, target,
										  colon };
	return ret;
}

static int add_tap(struct jail_options *options, char *text, struct error *err)
{
	if (options->tap_count == JAIL_TAPS_MAX)
		return error_set(err, EINVAL, "--tap '%s': more than %u", text, JAIL_TAPS_MAX);
	return jail_parse_tap(&options->taps[options->tap_count++], text, err);
}

/* All -------------------------------------------------------------------------------------------*/

static int apply_flag(struct jail_options *options, int id)
{
	bool *const flags[] = {
		[OPTION_DAEMONIZE] = &options->daemonize,
		[OPTION_NEW_PID_NS] = &options->new_pid_ns,
		[OPTION_NEW_NET_NS] = &options->new_net_ns,
		[OPTION_NEW_USER_NS] = &options->new_user_ns,
		[OPTION_COPY_EXEC] = &options->copy_exec,
		[OPTION_NO_DEVICE_POLICY] = &options->no_device_policy,
		[OPTION_DRY_RUN] = &options->dry_run,
		[OPTION_VERSION] = &options->version,
		[OPTION_HELP] = &options->help,
	};

	*flags[id] = true;
	return 0;
}

static int apply_owner(struct jail_options *options, int id, const char *value, const char **seen,
		       struct error *err)
{
	const char *option = id == OPTION_UID ? "--uid" : "--gid";
	int ret = set_once(seen, option, value, err);

	if (ret < 0)
		return ret;
	return parse_owner(option, value, id == OPTION_UID ? &options->uid : &options->gid, err);
}

struct seen {
	const char *uid, *gid, *version;
};

static int apply(struct jail_options *options, struct seen *seen, int id, char *value,
		 struct error *err)
{
	switch (id) {
	case OPTION_ID:
		return set_once(&options->id, "--id", value, err);
	case OPTION_EXEC_FILE:
		return set_once(&options->exec_file, "--exec-file", value, err);
	case OPTION_BASE:
		return set_once(&options->chroot_base, "--chroot-base-dir", value, err);
	case OPTION_NETNS:
		return set_once(&options->netns, "--netns", value, err);
	case OPTION_PARENT_CGROUP:
		return set_once(&options->parent_cgroup, "--parent-cgroup", value, err);
	case OPTION_UID:
		return apply_owner(options, id, value, &seen->uid, err);
	case OPTION_GID:
		return apply_owner(options, id, value, &seen->gid, err);
	case OPTION_CGROUP:
		return add_cgroup(options, value, err);
	case OPTION_CGROUP_VERSION:
		return set_once(&seen->version, "--cgroup-version", value, err) < 0
			       ? -EINVAL
			       : parse_version(options, value, err);
	case OPTION_LIMIT:
		return parse_limit(options, value, err);
	case OPTION_BIND_RO:
		return add_bind(options, value, err);
	case OPTION_DEVICE:
		return add_device(options, value, err);
	case OPTION_TMPFS:
		return parse_tmpfs(options, value, err);
	case OPTION_TAP:
		return add_tap(options, value, err);
	default:
		return apply_flag(options, id);
	}
}

static int parse_all(struct jail_options *options, struct seen *seen, int argc, char **argv,
		     struct error *err)
{
	opterr = 0;
	optind = 1;
	for (;;) {
		int at = optind, known = 0, ret;
		int id = getopt_long(argc, argv, "+", long_options, &known);

		if (id == -1)
			return 0;
		/* getopt_long() would take any beginning of a name for it. */
		if (id == '?' || strcspn(argv[at] + 2, "=") != strlen(long_options[known].name))
			return error_set(err, EINVAL,
					 "unknown option, or one without its value: '%s' (see "
					 "`mayfly-jailer --help`)",
					 at < argc ? argv[at] : argv[argc - 1]);
		ret = apply(options, seen, id, optarg, err);
		if (ret < 0)
			return ret;
	}
}

static int check_required(const struct jail_options *options, const struct seen *seen,
			  struct error *err)
{
	const struct {
		const char *option;
		const void *value;
	} required[] = { { "--id", options->id },
			 { "--exec-file", options->exec_file },
			 { "--uid", seen->uid },
			 { "--gid", seen->gid } };

	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!required[i].value)
			return error_set(err, EINVAL, "%s is missing (see `mayfly-jailer --help`)",
					 required[i].option);
	return 0;
}

static int check(const struct jail_options *options, struct error *err)
{
	int ret = jail_check_id("--id", options->id, err);

	if (ret == 0)
		ret = jail_check_path("--chroot-base-dir", options->chroot_base, err);
	if (ret == 0 && options->netns)
		ret = jail_check_path("--netns", options->netns, err);
	if (ret == 0 && options->parent_cgroup)
		ret = jail_check_relative("--parent-cgroup", options->parent_cgroup, err);
	if (ret == 0 && options->netns && options->new_net_ns)
		ret = error_set(err, EINVAL, "--netns and --new-net-ns exclude each other");
	for (unsigned int i = 1; ret == 0 && i < options->tap_count; i++)
		for (unsigned int j = 0; ret == 0 && j < i; j++)
			if (strcmp(options->taps[i].name, options->taps[j].name) == 0)
				ret = error_set(err, EINVAL, "--tap %s is given twice",
						options->taps[i].name);
	return ret;
}

int jail_options_parse(struct jail_options *options, int argc, char **argv, struct error *err)
{
	struct seen seen = { 0 };
	int ret;

	*options = (struct jail_options){ .no_file = JAIL_NO_FILE_DEFAULT };
	ret = parse_all(options, &seen, argc, argv, err);
	if (ret < 0 || options->help || options->version)
		return ret;
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		return error_set(err, EINVAL,
				 "unexpected argument '%s'; what is meant for the program follows "
				 "a --",
				 argv[optind]);
	options->args = argv + optind;
	options->arg_count = (unsigned int)(argc - optind);
	if (!options->chroot_base)
		options->chroot_base = JAIL_BASE_DEFAULT;
	ret = check_required(options, &seen, err);
	if (ret == 0)
		ret = jail_check_path("--exec-file", options->exec_file, err);
	return ret < 0 ? ret : check(options, err);
}
