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
	{ "help", no_argument, NULL, OPTION_HELP },
	{ 0 },
};

void run_options_help(void)
{
	printf("Usage: mayfly run --kernel PATH [OPTION]... [-- ARG...]\n"
	       "\n"
	       "Starts a microVM in the foreground, with its serial port on this terminal.\n"
	       "\n"
	       "  --kernel PATH        the guest's kernel: an x86-64 ELF vmlinux or a bzImage\n"
	       "  --initrd PATH        its initial RAM disk\n"
	       "  --rootfs DRIVE       the root filesystem; always vda\n"
	       "  --drive DRIVE        a further disk: vdb, vdc, ... in the order given, up to %u in\n"
	       "                       all; without --rootfs the first one is vda\n"
	       "  --pmem PMEM          a file as persistent memory: pmem0, pmem1, ... in the order given,\n"
	       "                       up to %u in all\n"
	       "  --balloon BALLOON    memory to take from the guest and give back to the host\n"
	       "  --net NET            a network interface, up to %u\n"
	       "  --rate RATE          how much a device may move, in bytes, operations or both\n"
	       "  --vsock PATH[,cid=N] stream sockets between host and guest, whose CID is N (default\n"
	       "                       3). Programs of the host connect to the Unix socket PATH and\n"
	       "                       say `CONNECT <port>`; for the guest's connections to a port of\n"
	       "                       the host (CID 2) they listen at PATH_<port>\n"
	       "  --metadata PATH[,version=V1|V2][,address=A.B.C.D]\n"
	       "                       JSON that every NET serves to the guest, by HTTP at the address\n"
	       "                       (default 169.254.169.254). V2 wants session tokens (default V1)\n"
	       "  --agent PATH[,wait=S] run the command ARG... in the guest: its standard streams are\n"
	       "                       ours, its status is ours (128+N for signal N; 125 when it is not\n"
	       "                       known: no start of the agent within S seconds (default %u), a\n"
	       "                       crash of the guest, any failure here). PATH is the initrd\n"
	       "                       build/guest/agent.cpio, which goes on to a --rootfs\n"
	       "  --cpus N             vCPUs, 1 to %u (default 1)\n"
	       "  --mem MIB            memory in MiB, or with a suffix: 512M, 4G (default %lu)\n"
	       "  --cmdline STRING     the kernel's command line, instead of\n"
	       "                         %s\n"
	       "                       console=ttyS0 and root=/dev/vda ro|rw are added unless STRING\n"
	       "                       names its own\n"
	       "  --console stdio|stderr|none|PATH\n"
	       "                       where the serial port is (default stdio; with --agent\n"
	       "                       stderr). stderr gets the guest's output, as does a PATH, at\n"
	       "                       its end; none discards it\n"
	       "  --timings            at the end, print where the time went\n"
	       "  --help               this text\n"
	       "  -- ARG...            arguments for the guest's init, at most %u\n"
	       "\n"
	       "A DRIVE is PATH or fd=N (an open descriptor), then :ro for read-only, then settings\n"
	       "as ,KEY=VALUE. A comma that is part of the path is written twice.\n"
	       "  cache=writeback|unsafe   unsafe offers no flush: fast, lost when the host crashes\n"
	       "  direct=on|off            on goes around the host's page cache (default off)\n"
	       "  num-queues=N             request queues, up to %u (default 1)\n"
	       "  queue-size=N             entries of each, a power of 2 up to %u (default 256)\n"
	       "  loop=N                   the I/O thread that serves it, 0 to %u (default 0)\n"
	       "\n"
	       "A NET is tap=NAME, a tap of the host, or fd=N, an open one, then settings as\n"
	       ",KEY=VALUE.\n"
	       "  mac=XX:XX:XX:XX:XX:XX    the guest's address (default: made up)\n"
	       "  mtu=N                    what the guest is to use, %u to 65535 (default: it decides)\n"
	       "  antispoof=on|off         on drops what the guest sends from another MAC (default on)\n"
	       "  queues=N                 pairs of queues, up to %u (default 1), of a tap that has as many\n"
	       "\n"
	       "A PMEM is PATH or fd=N of a regular file, then :ro for read-only, then settings. Guests that\n"
	       "have the same file share its pages; writable, what one writes the others see.\n"
	       "  root=on|off              on: the root filesystem is on it (default off). The kernel goes\n"
	       "                           around its page cache when --cmdline has rootflags=dax\n"
	       "\n"
	       "A BALLOON is a number of MiB, then settings as ,KEY=VALUE.\n"
	       "  deflate-on-oom=on|off    a guest short of memory may take it back (default off)\n"
	       "  stats=SECONDS            statistics of the guest's memory so often (default 0: none)\n"
	       "  reporting=on|off         pages that the guest frees go back by themselves (default off)\n"
	       "  hinting=on|off           the guest can be asked for its free pages (default off)\n"
	       "\n"
	       "A RATE is DEVICE,bytes=SIZE/MS[+BURST],ops=COUNT/MS[+BURST], one of the two or both: SIZE\n"
	       "bytes (a number of MiB, or 64K, 512B) or COUNT operations in MS milliseconds, filled in\n"
	       "evenly, SIZE or COUNT at once if they were saved up, and BURST more once, at the start.\n"
	       "A DEVICE is vda, vdb, ..., net0.rx (what the guest receives), net0.tx, pmem0 (flushes) or\n"
	       "rng. A drive's flush is an operation.\n"
	       "\n"
	       "On a terminal: Ctrl-A x ends the microVM, Ctrl-A h lists the other keys.\n"
	       "\n"
	       "Exit status: 0 when the guest powered off or restarted, or after Ctrl-A x;\n"
	       "1 failure, or KVM could not go on; 148 SIGSYS; 149 a file the guest ran from was cut\n"
	       "short, or SIGBUS; 150 SIGSEGV; 152 a kernel, image or value that cannot work; 153 bad\n"
	       "command line; 154 SIGXCPU; 156 SIGHUP; 157 SIGILL; 160 the guest's CPU\n"
	       "triple-faulted; 128+N any other signal N.\n"
	       "\n"
	       "Examples:\n"
	       "  mayfly run --kernel vmlinux --rootfs debian.ext4:ro --mem 512 -- /bin/echo hello\n"
	       "  echo hi | mayfly run --kernel vmlinux --agent agent.cpio -- wc -c\n",
	       VM_DRIVES_MAX, VM_PMEMS_MAX, VM_NETS_MAX, AGENT_PATIENCE_DEFAULT_S, LAYOUT_VCPUS_MAX,
	       VM_MEMORY_DEFAULT >> 20, CMDLINE_DEFAULT, CMDLINE_INIT_ARGS_MAX, VM_QUEUES_MAX,
	       VM_QUEUE_SIZE_MAX, VM_IO_LOOPS_MAX - 1, VM_NET_MTU_MIN, VM_NET_QUEUE_PAIRS_MAX);
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
