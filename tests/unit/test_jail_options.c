#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "jailer/jail_clean_options.h"
#include "jailer/jail_options.h"
#include "jailer/jail_text.h"

static struct jail_options options;
static struct error err;

#define MUST "--id a1 --exec-file /bin/x --uid 1 --gid 2 "

/* Splits at spaces, as a shell does. */
static int split(char **argv, const char *line)
{
	static char copy[4096];
	int argc = 0;

	snprintf(copy, sizeof(copy), "mayfly-jailer %s", line);
	for (char *word = copy, *end; word && *word; word = end) {
		end = strchr(word, ' ');
		if (end)
			*end++ = '\0';
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	return argc;
}

static int parse(const char *line)
{
	static char *argv[256];

	err = (struct error){ 0 };
	return jail_options_parse(&options, split(argv, line), argv, &err);
}

static void refused(const char *line, const char *what)
{
	cr_assert_eq(parse(line), -EINVAL, "%s", line);
	cr_assert(strstr(err.text, what), "'%s' has no '%s'", err.text, what);
}

Test(jail_options, firecrackers)
{
	cr_assert_eq(parse(MUST "--netns /run/n --daemonize --new-pid-ns --cgroup cpu.shares=10 "
				"--cgroup cpu.x=a=b --cgroup-version 1 --parent-cgroup all/mine "
				"--resource-limit fsize=4096 --resource-limit no-file=100 "
				"--chroot-base-dir /var/j -- --config-file c.json --no-api"),
		     0, "%s", err.text);
	cr_assert_str_eq(options.id, "a1");
	cr_assert_eq(options.uid, 1);
	cr_assert_eq(options.gid, 2);
	cr_assert_str_eq(options.netns, "/run/n");
	cr_assert(options.daemonize && options.new_pid_ns);
	cr_assert_eq(options.cgroup_count, 2);
	cr_assert_str_eq(options.cgroup[1].file, "cpu.x");
	cr_assert_str_eq(options.cgroup[1].value, "a=b");
	cr_assert_eq(options.cgroup_version, 1);
	cr_assert_str_eq(options.parent_cgroup, "all/mine");
	cr_assert_eq(options.file_size, 4096);
	cr_assert_eq(options.no_file, 100);
	cr_assert_str_eq(options.chroot_base, "/var/j");
	cr_assert_eq(options.arg_count, 3);
	cr_assert_str_eq(options.args[2], "--no-api");
}

Test(jail_options, defaults)
{
	cr_assert_eq(parse(MUST), 0);
	cr_assert_str_eq(options.chroot_base, JAIL_BASE_DEFAULT);
	cr_assert_eq(options.no_file, JAIL_NO_FILE_DEFAULT);
	cr_assert_eq(options.cgroup_version, 0);
	cr_assert_eq(options.arg_count, 0);
}

Test(jail_options, what_is_missing_is_named)
{
	refused("--exec-file /bin/x --uid 1 --gid 2", "--id is missing");
	refused("--id a --uid 1 --gid 2", "--exec-file is missing");
	refused("--id a --exec-file /bin/x --gid 2", "--uid is missing");
	refused("--id a --exec-file /bin/x --uid 2", "--gid is missing");
}

Test(jail_options, ids)
{
	static const char *const bad[] = { "..", "a/b", "a_b", "a.b", "a\nb", "" };
	char text[400], line[500];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_assert_eq(jail_check_id("--id", bad[i], &err), -EINVAL, "%s", bad[i]);
	for (size_t len = 64; len <= 300; len += 236 - (len == 64 ? 235 : 0)) {
		memset(text, 'a', len);
		text[len] = '\0';
		cr_assert_eq(jail_check_id("--id", text, &err), len == 64 ? 0 : -EINVAL, "%zu",
			     len);
	}
	memset(text, 'a', 300);
	text[300] = '\0';
	snprintf(line, sizeof(line), "--id %s --exec-file /bin/x --uid 1 --gid 2", text);
	refused(line, "1 to 64 characters");
}

Test(jail_options, paths)
{
	char text[400], line[600];

	refused(MUST "--chroot-base-dir /a/../b", "'..'");
	cr_assert_eq(parse(MUST "--chroot-base-dir a/b --netns c"), 0, "as Firecracker's");
	refused(MUST "--chroot-base-dir /a\nb", "control character");
	refused(MUST "--netns ../n", "'..'");
	refused(MUST "--parent-cgroup a/..", "'..'");
	refused(MUST "--parent-cgroup /a", "must not begin");
	refused(MUST "--bind-ro /a:/b/../c", "'..'");
	refused(MUST "--bind-ro /a:/", "the jail's root");
	refused(MUST "--bind-ro /a", "SOURCE:TARGET");
	refused(MUST "--device /a:/b/../c", "'..'");
	refused(MUST "--device /a:/", "the jail's root");
	refused(MUST "--device /a:/:ro", "the jail's root");
	refused(MUST "--device /a", "SOURCE:TARGET");
	refused(MUST "--device /a:/b:rw", "'rw' is not ro");
	refused(MUST "--device a:/b", "begin with a '/'");
	refused("--id a --uid 1 --gid 1 --exec-file /bin/../x", "'..'");
	memset(text, 'a', 300);
	text[0] = '/';
	text[300] = '\0';
	snprintf(line, sizeof(line), MUST "--chroot-base-dir %s", text);
	refused(line, "300 bytes are too many");
	cr_assert_eq(parse(MUST "--chroot-base-dir /a..b/..c"), 0, "two dots are no component");
}

Test(jail_options, values)
{
	refused(MUST "--cgroup shares=1", "begins with its controller");
	refused(MUST "--cgroup cpu.x", "FILE=VALUE");
	refused(MUST "--cgroup ../cpu.x=1", "begins with its controller");
	refused(MUST "--cgroup cpu.x=a\nb", "control character");
	refused(MUST "--cgroup-version 3", "neither 1 nor 2");
	refused(MUST "--resource-limit cpu=1", "fsize=BYTES");
	refused(MUST "--resource-limit no-file=-1", "not a number");
	refused(MUST "--netns /n --new-net-ns", "exclude each other");
	refused(MUST "--uid 3", "given twice");
	refused("--id a --exec-file /bin/x --uid 4294967295 --gid 1", "not a number");
	refused("--id a --exec-file /bin/x --uid 1x --gid 1", "not a number");
	refused(MUST "--tmpfs 0", "0 MiB");
	refused(MUST "--new-pid", "unknown option");
	refused(MUST "stray", "unexpected argument 'stray'");
}

static int parse_tap(const char *text)
{
	static char copy[512];
	static struct jail_tap tap;

	snprintf(copy, sizeof(copy), "%s", text);
	err = (struct error){ 0 };
	return jail_parse_tap(&tap, copy, &err) < 0 ? -1 : (int)tap.address_count;
}

Test(jail_options, taps)
{
	cr_assert_eq(parse_tap("tap0,mac=02:00:00:00:00:01"), 0, "%s", err.text);
	cr_assert_eq(parse_tap("tap0,mac=02:00:00:00:00:01,ip=10.0.0.2,ip=fd00::2"), 2);
	cr_assert_eq(parse_tap("tap0"), -1);
	cr_assert_eq(parse_tap("tap0,mac=03:00:00:00:00:01"), -1, "a group's address");
	cr_assert_eq(parse_tap("tap0,mac=02:00:00:00:00"), -1);
	cr_assert_eq(parse_tap("tap0,mac=02:00:00:00:00:01,mac=02:00:00:00:00:02"), -1);
	cr_assert_eq(parse_tap("tap0,mac=02:00:00:00:00:01,ip=10.0.0.256"), -1);
	cr_assert_eq(parse_tap("tap0,mac=02:00:00:00:00:01,x=y"), -1);
	cr_assert_eq(parse_tap("a/b,mac=02:00:00:00:00:01"), -1);
	cr_assert_eq(parse_tap("sixteen-bytes-xx,mac=02:00:00:00:00:01"), -1);
}

static int parse_cleanup(const char *line, struct jail_clean_options *out)
{
	static char *argv[32];

	err = (struct error){ 0 };
	return jail_clean_options_parse(out, split(argv, line), argv, &err);
}

Test(jail_options, cleanup)
{
	struct jail_clean_options clean;

	cr_assert_eq(parse_cleanup("--id a --exec-file /opt/firecracker", &clean), 0, "%s",
		     err.text);
	cr_assert_str_eq(clean.exec_name, "firecracker");
	cr_assert_str_eq(clean.base, JAIL_BASE_DEFAULT);
	cr_assert_eq(parse_cleanup("", &clean), -EINVAL);
	cr_assert_eq(parse_cleanup("--id ..", &clean), -EINVAL);
	cr_assert_eq(parse_cleanup("--id a --exec-file ..", &clean), -EINVAL);
	cr_assert_eq(parse_cleanup("--id a --id b", &clean), -EINVAL);
	cr_assert_eq(parse_cleanup("--id a --all x", &clean), -EINVAL);
	cr_assert_eq(parse_cleanup("--id", &clean), -EINVAL);
}
