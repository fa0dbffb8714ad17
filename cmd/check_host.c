#include "cmd/check_host.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>

#include "cmd/check_host_priv.h"
#include "cmd/exit_codes.h"

#define WIDTH_DEFAULT 100
#define WIDTH_MAX 120

struct options {
	bool json;
	bool quiet;
	bool help;
};

static void print_help(void)
{
	printf("Usage: mayfly check-host [--json | --quiet]\n"
	       "\n"
	       "Says what this host has and lacks for running microVMs, what each lack costs and what\n"
	       "to do about it. It only looks: nothing on the host is changed. It tries KVM by running\n"
	       "a guest of a few instructions.\n"
	       "\n"
	       "  --json    the same for scripts: {can_run_guests, kvm, verdict, checks: [{id, title,\n"
	       "            group, state, found, cost, advice}]}\n"
	       "  --quiet   only the last line, the verdict\n"
	       "  --help    this text\n"
	       "\n"
	       "Each check is one of\n"
	       "  ok          as it should be\n"
	       "  slow        works, but costs time\n"
	       "  missing     some part of mayfly cannot be used here\n"
	       "  cannot run  no Linux guest runs until this is put right\n"
	       "  unknown     the host does not say\n"
	       "\n"
	       "Colours on a terminal, unless NO_COLOR is set. Run it as the user, and in the container\n"
	       "or service, that mayfly will run in: rights and limits are theirs.\n"
	       "\n"
	       "Exit status: 0 Linux guests can run here; 1 they cannot; 153 a wrong option.\n");
}

static int parse_options(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			options->json = true;
		} else if (strcmp(argv[i], "--quiet") == 0 || strcmp(argv[i], "-q") == 0) {
			options->quiet = true;
		} else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			options->help = true;
		} else {
			fprintf(stderr,
				"mayfly: error: check-host: unknown %s '%s'; try `mayfly "
				"check-host --help`\n",
				argv[i][0] == '-' ? "option" : "argument", argv[i]);
			return -EINVAL;
		}
	}
	return 0;
}

static void host_init(struct host *host)
{
	struct utsname name;

	*host = (struct host){ .root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC) };
	host->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (host->kvm < 0) {
		host->kvm = -errno;
		error_set_errno(&host->kvm_error, host->kvm, "cannot open /dev/kvm");
	} else {
		host->quality = kvm_probe_fd(host->kvm, &host->kvm_error);
	}
	if (uname(&name) == 0)
		host->kernel = check_parse_kernel_version(name.release);
}

static void host_fini(struct host *host)
{
	close_fd(&host->kvm);
	close_fd(&host->root);
}

static unsigned int terminal_width(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || size.ws_col == 0)
		return WIDTH_DEFAULT;
	return MIN((unsigned int)size.ws_col, (unsigned int)WIDTH_MAX);
}

/* https://no-color.org: set and not empty means no. */
static bool want_colour(void)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(STDOUT_FILENO) && !(no_color && *no_color) &&
	       !(term && strcmp(term, "dumb") == 0);
}

static int print(const struct report *report, const struct options *options)
{
	int ret = 0;

	if (options->json)
		ret = report_print_json(report, stdout);
	else if (options->quiet)
		printf("%s\n", report->verdict);
	else
		report_print(report, stdout, terminal_width(), want_colour());
	if (fflush(stdout) || ferror(stdout))
		ret = errno ? -errno : -EIO;
	return ret;
}

int check_host_main(int argc, char **argv)
{
	struct options options = { 0 };
	struct report report;
	struct host host;
	int ret;

	if (parse_options(argc, argv, &options))
		return EXIT_BAD_ARGUMENTS;
	if (options.help) {
		print_help();
		return EXIT_OK;
	}
	host_init(&host);
	ret = report_make(&report, &host);
	if (ret == 0)
		ret = print(&report, &options);
	if (ret)
		fprintf(stderr, "mayfly: error: check-host: cannot write the report: %s\n",
			strerror(-ret));
	ret = ret == 0 && report.can_run ? EXIT_OK : EXIT_GENERIC;
	report_fini(&report);
	host_fini(&host);
	return ret;
}
