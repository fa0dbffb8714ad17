#include "cmd/run_options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cmd/options.h"
#include "vmm/boot/cmdline.h"
#include "vmm/layout.h"

enum option_id {
	OPTION_KERNEL = 1,
	OPTION_INITRD,
	OPTION_ROOTFS,
	OPTION_DRIVE,
	OPTION_PMEM,
	OPTION_BALLOON,
	OPTION_NET,
	OPTION_RATE,
	OPTION_VSOCK,
	OPTION_METADATA,
	OPTION_AGENT,
	OPTION_CPUS,
	OPTION_MEM,
	OPTION_CMDLINE,
	OPTION_CONSOLE,
	OPTION_TIMINGS,
	OPTION_SECCOMP_FILTER,
	OPTION_NO_SECCOMP,
	OPTION_HELP,
};

static const struct option long_options[] = {
	{ "kernel", required_argument, NULL, OPTION_KERNEL },
	{ "initrd", required_argument, NULL, OPTION_INITRD },
	{ "rootfs", required_argument, NULL, OPTION_ROOTFS },
	{ "drive", required_argument, NULL, OPTION_DRIVE },
	{ "pmem", required_argument, NULL, OPTION_PMEM },
	{ "balloon", required_argument, NULL, OPTION_BALLOON },
	{ "net", required_argument, NULL, OPTION_NET },
	{ "rate", required_argument, NULL, OPTION_RATE },
	{ "vsock", required_argument, NULL, OPTION_VSOCK },
	{ "metadata", required_argument, NULL, OPTION_METADATA },
	{ "agent", required_argument, NULL, OPTION_AGENT },
	{ "cpus", required_argument, NULL, OPTION_CPUS },
	{ "mem", required_argument, NULL, OPTION_MEM },
	{ "cmdline", required_argument, NULL, OPTION_CMDLINE },
	{ "console", required_argument, NULL, OPTION_CONSOLE },
	{ "timings", no_argument, NULL, OPTION_TIMINGS },
	{ "seccomp-filter", required_argument, NULL, OPTION_SECCOMP_FILTER },
	{ "no-seccomp", no_argument, NULL, OPTION_NO_SECCOMP },
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

const char *run_option_name(unsigned int index, bool *has_value)
{
	if (index >= ARRAY_SIZE(long_options) - 1)
		return NULL;
	*has_value = long_options[index].has_arg == required_argument;
	return long_options[index].name;
}

static int set_once(const char **field, const char *name, const char *value, struct error *err)
{
	if (*field)
		return error_set(err, EINVAL, "--%s is given twice: '%s' and '%s'", name, *field,
				 value);
	*field = value;
	return 0;
}

static int add_rootfs(struct vm_config *vm, char *text, struct error *err)
{
	struct drive_config drive;
	int ret;

	if (vm->has_rootfs)
		return error_set(err, EINVAL,
				 "a second --rootfs, '%s': a guest has one; add other disks with "
				 "--drive",
				 text);
	if (vm->drive_count == VM_DRIVES_MAX)
		return error_set(err, EINVAL, "--rootfs '%s': more than %u drives", text,
				 VM_DRIVES_MAX);
	ret = parse_drive("--rootfs", text, &drive, err);
	if (ret < 0)
		return ret;
	/* vda, wherever on the command line it stood. */
	memmove(vm->drives + 1, vm->drives, vm->drive_count * sizeof(vm->drives[0]));
	vm->drives[0] = drive;
	vm->drive_count++;
	vm->has_rootfs = true;
	return 0;
}

static int add_drive(struct vm_config *vm, char *text, struct error *err)
{
	if (vm->drive_count == VM_DRIVES_MAX)
		return error_set(err, EINVAL, "--drive '%s': more than %u drives", text,
				 VM_DRIVES_MAX);
	return parse_drive("--drive", text, &vm->drives[vm->drive_count++], err);
}

static int add_net(struct vm_config *vm, char *text, struct error *err)
{
	if (vm->net_count == VM_NETS_MAX)
		return error_set(err, EINVAL, "--net '%s': more than %u interfaces", text,
				 VM_NETS_MAX);
	return parse_net("--net", text, &vm->nets[vm->net_count++], err);
}

static int add_pmem(struct vm_config *vm, char *text, struct error *err)
{
	if (vm->pmem_count == VM_PMEMS_MAX)
		return error_set(err, EINVAL, "--pmem '%s': more than %u pmem devices", text,
				 VM_PMEMS_MAX);
	return parse_pmem("--pmem", text, &vm->pmems[vm->pmem_count++], err);
}

static int add_balloon(struct vm_config *vm, char *text, struct error *err)
{
	if (vm->has_balloon)
		return error_set(err, EINVAL, "a second --balloon, '%s': a guest has one", text);
	vm->has_balloon = true;
	return parse_balloon("--balloon", text, &vm->balloon, err);
}

/* Which device it is shows when all are known. */
static int add_rate(struct run_options *options, char *text, struct error *err)
{
	if (options->rate_count == RUN_RATES_MAX)
		return error_set(err, EINVAL, "--rate '%s': more than %u", text, RUN_RATES_MAX);
	options->rates[options->rate_count++] = text;
	return 0;
}

static int add_vsock(struct vm_config *vm, char *text, struct error *err)
{
	if (vm->has_vsock)
		return error_set(err, EINVAL, "--vsock is given twice: '%s' and '%s'",
				 vm->vsock.path, text);
	vm->has_vsock = true;
	return parse_vsock("--vsock", text, &vm->vsock, err);
}

static int add_metadata(struct run_options *options, char *text, struct error *err)
{
	if (options->metadata.path)
		return error_set(err, EINVAL, "--metadata is given twice: '%s' and '%s'",
				 options->metadata.path, text);
	return parse_metadata("--metadata", text, &options->metadata, err);
}

static int parse_cpus(struct vm_config *vm, const char *text, struct error *err)
{
	unsigned long count;
	int ret = parse_number("--cpus", text, 1, LAYOUT_VCPUS_MAX, &count, err);

	if (ret == 0)
		vm->vcpus = (unsigned int)count;
	return ret;
}

static int apply(struct run_options *options, int id, char *value, struct error *err)
{
	int ret;

	switch (id) {
	case OPTION_KERNEL:
		return set_once(&options->vm.kernel_path, "kernel", value, err);
	case OPTION_INITRD:
		return set_once(&options->vm.initrd_path, "initrd", value, err);
	case OPTION_ROOTFS:
		return add_rootfs(&options->vm, value, err);
	case OPTION_DRIVE:
		return add_drive(&options->vm, value, err);
	case OPTION_NET:
		return add_net(&options->vm, value, err);
	case OPTION_PMEM:
		return add_pmem(&options->vm, value, err);
	case OPTION_BALLOON:
		return add_balloon(&options->vm, value, err);
	case OPTION_RATE:
		return add_rate(options, value, err);
	case OPTION_AGENT:
		if (options->agent.path)
			return error_set(err, EINVAL, "--agent is given twice: '%s' and '%s'",
					 options->agent.path, value);
		return parse_agent("--agent", value, &options->agent, err);
	case OPTION_VSOCK:
		return add_vsock(&options->vm, value, err);
	case OPTION_METADATA:
		return add_metadata(options, value, err);
	case OPTION_CPUS:
		ret = set_once(&options->cpus, "cpus", value, err);
		return ret < 0 ? ret : parse_cpus(&options->vm, value, err);
	case OPTION_MEM:
		ret = set_once(&options->mem, "mem", value, err);
		return ret < 0 ? ret : parse_size("--mem", value, &options->vm.memory, err);
	case OPTION_CMDLINE:
		return set_once(&options->vm.cmdline, "cmdline", value, err);
	case OPTION_CONSOLE:
		return set_once(&options->console, "console", value, err);
	case OPTION_SECCOMP_FILTER:
		return set_once(&options->seccomp_filter, "seccomp-filter", value, err);
	case OPTION_NO_SECCOMP:
		options->no_seccomp = true;
		return 0;
	case OPTION_TIMINGS:
		options->timings = true;
		return 0;
	default:
		options->help = true;
		return 0;
	}
}

static int unknown_option(int argc, char **argv, int at, struct error *err)
{
	const char *name = at < argc ? argv[at] : argv[argc - 1];

	for (const struct option *known = long_options; known->name; known++)
		if (strcmp(name + 2, known->name) == 0 && known->has_arg == required_argument)
			return error_set(err, EINVAL, "%s wants a value (see `mayfly help run`)",
					 name);
	return error_set(err, EINVAL, "unknown option '%s' (see `mayfly help run`)", name);
}

/* getopt_long() takes any beginning of a name; the next option to come could make it another's. */
static bool is_abbreviated(const char *given, const char *name)
{
	return strcspn(given + 2, "=") != strlen(name);
}

static int parse_all(struct run_options *options, int argc, char **argv, struct error *err)
{
	opterr = 0;
	optind = 1;
	for (;;) {
		int at = optind;
		int known = 0;
		int id = getopt_long(argc, argv, "+", long_options, &known);
		int ret;

		if (id == -1)
			break;
		ret = id == '?' || is_abbreviated(argv[at], long_options[known].name)
			      ? unknown_option(argc, argv, at, err)
			      : apply(options, id, optarg, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* It is an initrd, and has the standard streams. */
static int apply_agent(struct run_options *options, struct error *err)
{
	if (options->vm.initrd_path)
		return error_set(err, EINVAL,
				 "--agent '%s' is an initrd; there is --initrd '%s' too",
				 options->agent.path, options->vm.initrd_path);
	options->vm.initrd_path = options->agent.path;
	if (options->vm.init_arg_count == 0)
		return error_set(err, EINVAL,
				 "--agent: no command: it follows a -- (see `mayfly help run`)");
	if (!options->console)
		options->console = "stderr";
	if (strcmp(options->console, "stdio") == 0)
		return error_set(err, EINVAL,
				 "--console stdio: with --agent those are the command's; it is "
				 "stderr, none or a path");
	return 0;
}

int run_options_parse(struct run_options *options, int argc, char **argv, struct error *err)
{
	int ret;

	*options = (struct run_options){ .vm = { .vcpus = 1, .memory = VM_MEMORY_DEFAULT } };
	ret = parse_all(options, argc, argv, err);
	if (ret < 0 || options->help)
		return ret;
	for (unsigned int i = 0; i < options->rate_count && ret == 0; i++)
		ret = parse_rate("--rate", options->rates[i], &options->vm, err);
	if (ret < 0)
		return ret;
	if (optind < argc && strcmp(argv[optind - 1], "--") != 0)
		return error_set(err, EINVAL,
				 "unexpected argument '%s'; what is meant for the guest's init "
				 "follows a --",
				 argv[optind]);
	if (options->metadata.path && !options->vm.net_count)
		return error_set(err, EINVAL, "--metadata %s: there is no --net to serve it by",
				 options->metadata.path);
	options->vm.init_args = (const char *const *)(argv + optind);
	options->vm.init_arg_count = (unsigned int)(argc - optind);
	if (!options->vm.kernel_path)
		return error_set(err, EINVAL,
				 "no --kernel: name the guest's kernel (see `mayfly help run`)");
	if (options->agent.path)
		return apply_agent(options, err);
	if (!options->console)
		options->console = "stdio";
	return 0;
}
