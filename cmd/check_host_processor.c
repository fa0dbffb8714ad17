/* The processor: can it virtualize, and does it keep guests apart? */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/utsname.h>

#include "cmd/check_host_priv.h"

#define VULNERABILITIES "sys/devices/system/cpu/vulnerabilities"

static void run_architecture(const struct host *host, const struct host_check *check,
			     struct check_result *result)
{
	struct utsname name;

	(void)host;
	if (uname(&name))
		check_set(result, CHECK_UNKNOWN, "uname: %s", strerror(errno));
	else
		check_set(result, strcmp(name.machine, "x86_64") == 0 ? CHECK_OK : check->lack,
			  "%s", name.machine);
}

static void run_virtualization(const struct host *host, const struct host_check *check,
			       struct check_result *result)
{
	char text[8192], flags[4096]; /* the first processor speaks for all */
	int ret = host_read(host, "proc/cpuinfo", text, sizeof(text));

	if (ret >= 0)
		ret = check_parse_cpuinfo(text, "flags", flags, sizeof(flags)) ? -EINVAL : 0;
	if (ret < 0)
		check_unknown(result, "proc/cpuinfo", ret);
	else if (check_parse_has_word(flags, "vmx"))
		check_set(result, CHECK_OK, "VT-x (vmx)");
	else if (check_parse_has_word(flags, "svm"))
		check_set(result, CHECK_OK, "AMD-V (svm)");
	else
		check_set(result, check->lack, "neither vmx nor svm%s%s",
			  check_parse_has_word(flags, "hypervisor") ? "; this is a virtual machine"
								    : "",
			  host->kvm >= 0 ? "; its /dev/kvm is a software one" : "");
}

/* Appends the name of a vulnerability if its file says that nothing holds it off. */
static void add_vulnerability(int dir, const char *name, char *list, size_t size)
{
	struct host here = { .root = dir };
	char text[128];

	if (name[0] == '.' || host_read(&here, name, text, sizeof(text)) < 0)
		return;
	if (strncmp(text, "Vulnerable", strlen("Vulnerable")) == 0)
		check_append_word(list, size, ", ", name);
}

static void run_mitigations(const struct host *host, const struct host_check *check,
			    struct check_result *result)
{
	int fd = openat(host->root, VULNERABILITIES, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	char list[128] = "";
	struct dirent *entry;

	if (!dir) {
		check_unknown(result, VULNERABILITIES, -errno);
		close_fd(&fd);
		return;
	}
	while ((entry = readdir(dir)))
		add_vulnerability(fd, entry->d_name, list, sizeof(list));
	closedir(dir);
	if (list[0])
		check_set(result, check->lack, "open to %s", list);
	else
		check_set(result, CHECK_OK, "all that the kernel knows of are held off");
}

static void run_smt(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	int active = host_read_bool(host, "sys/devices/system/cpu/smt/active");

	(void)check;
	if (active < 0)
		check_unknown(result, "sys/devices/system/cpu/smt/active", active);
	else
		check_set(result, CHECK_OK, "%s",
			  active ? "on: give tenants whole cores, or switch it off" : "off");
}

static const struct host_check checks[] = {
	{ .id = "architecture",
	  .title = "architecture",
	  .run = run_architecture,
	  .lack = CHECK_CANNOT_RUN,
	  .cost = "mayfly knows x86-64 only",
	  .advice = "use an x86-64 host" },
	{ .id = "cpu_virtualization",
	  .title = "virtualization",
	  .run = run_virtualization,
	  .lack = CHECK_MISSING,
	  .cost = "no hardware KVM, so no kernel runs as a guest",
	  .advice = "switch on VT-x or AMD-V in the firmware; in a virtual machine, nested "
		    "virtualization at its provider; for tests, use tests/lab/lab" },
	{ .id = "cpu_mitigations",
	  .title = "mitigations",
	  .run = run_mitigations,
	  .lack = CHECK_MISSING,
	  .cost = "a hostile guest may read what it should not through the processor",
	  .advice = "update microcode and kernel; boot without mitigations=off" },
	{ .id = "smt", .title = "hyper-threading", .run = run_smt },
};

const struct check_group check_processor = { "Processor", checks, ARRAY_SIZE(checks) };
