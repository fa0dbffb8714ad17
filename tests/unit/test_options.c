#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "cmd/options.h"
#include "cmd/run_options.h"

static struct run_options options;
static struct error err;

/* Parses what a shell would have split at spaces; argv stays alive for the options. */
static int parse(const char *line)
{
	static char copy[4096];
	static char *argv[128];
	int argc = 0;

	snprintf(copy, sizeof(copy), "run %s", line);
	for (char *word = copy, *end; word && *word; word = end) {
		end = strchr(word, ' ');
		if (end)
			*end++ = '\0';
		argv[argc++] = word;
	}
	argv[argc] = NULL;
	err.text[0] = '\0';
	return run_options_parse(&options, argc, argv, &err);
}

static void expect_refused(const char *line, const char *text)
{
	cr_expect_lt(parse(line), 0, "'%s' was accepted", line);
	cr_expect(strstr(err.text, text) != NULL, "'%s' got: %s", line, err.text);
}

Test(options, rootfs_is_always_vda)
{
	cr_assert_eq(parse("--kernel k --drive b:ro --rootfs a --drive fd=7"), 0, "%s", err.text);
	cr_expect_eq(options.vm.drive_count, 3);
	cr_expect_str_eq(options.vm.drives[0].path, "a");
	cr_expect_not(options.vm.drives[0].read_only);
	cr_expect_str_eq(options.vm.drives[1].path, "b");
	cr_expect(options.vm.drives[1].read_only);
	cr_expect_null(options.vm.drives[2].path);
	cr_expect_eq(options.vm.drives[2].fd, 7);
}

Test(options, what_follows_the_dashes_is_inits)
{
	cr_assert_eq(parse("--kernel k -- --cpus 99 --"), 0, "%s", err.text);
	cr_expect_eq(options.vm.init_arg_count, 3);
	cr_expect_str_eq(options.vm.init_args[0], "--cpus");
	cr_expect_str_eq(options.vm.init_args[2], "--");
}

Test(options, sizes)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = { { "512", MIB(512) }, { "512M", MIB(512) }, { "2G", GIB(2) },
		     { "8192K", MIB(8) }, { "1T", GIB(1024) },	{ "1GiB", GIB(1) } };
	static const char *const bad[] = { "",
					   "x",
					   "-1",
					   "1x",
					   "1.5G",
					   "1MM",
					   " 1",
					   "1Gi",
					   "+5",
					   "0x10",
					   "99999999999999999999",
					   "18446744073709551615T" };
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		cr_expect_eq(parse_size("--mem", good[i].text, &bytes, &err), 0);
		cr_expect_eq(bytes, good[i].bytes, "%s is %lu", good[i].text, bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		cr_expect_eq(parse_size("--mem", bad[i], &bytes, &err), -EINVAL, "%s", bad[i]);
}

Test(options, a_comma_in_a_path_is_written_twice)
{
	struct drive_config drive;
	char path[] = "a,,b:ro", keys[] = "a,b=c";

	cr_expect_eq(parse_drive("--drive", path, &drive, &err), 0);
	cr_expect_str_eq(drive.path, "a,b");
	cr_expect(drive.read_only);
	cr_expect_eq(parse_drive("--drive", keys, &drive, &err), -EINVAL);
	cr_expect(strstr(err.text, "'b'") != NULL, "%s", err.text);
}

Test(options, drive_settings)
{
	struct drive_config drive;
	char all[] = "a:ro,direct=on,cache=unsafe,num-queues=4,queue-size=1024,loop=3";
	static const char *const bad[] = { "a,direct=yes",    "a,cache=none",
					   "a,num-queues=0",  "a,num-queues=33",
					   "a,queue-size=48", "a,queue-size=2048",
					   "a,loop=16",	      "a,loop",
					   "a,frob=1",	      "a,",
					   "a,direct=on," };

	cr_assert_eq(parse_drive("--drive", all, &drive, &err), 0, "%s", err.text);
	cr_expect(drive.read_only && drive.direct && drive.unsafe);
	cr_expect_eq(drive.num_queues, 4);
	cr_expect_eq(drive.queue_size, 1024);
	cr_expect_eq(drive.loop, 3);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[64];

		snprintf(text, sizeof(text), "%s", bad[i]);
		cr_expect_eq(parse_drive("--drive", text, &drive, &err), -EINVAL, "%s", bad[i]);
	}
}

Test(options, refusals_quote_what_was_given)
{
	expect_refused("", "--kernel");
	expect_refused("--kernel", "--kernel wants a value");
	expect_refused("--kernel a --kernel b", "twice");
	expect_refused("--kernel k --rootfs a --rootfs b", "second --rootfs, 'b'");
	expect_refused("--kernel k --cpus 0", "'0'");
	expect_refused("--kernel k --cpus 33", "'33'");
	expect_refused("--kernel k --cpus 1x", "'1x'");
	expect_refused("--kernel k --mem lots", "'lots'");
	expect_refused("--kernel k --frob", "'--frob'");
	expect_refused("--kernel k stray", "'stray'");
	expect_refused("--kernel k --drive fd=1", "descriptor 1");
	expect_refused("--kernel k --drive fd=x", "'x'");
	expect_refused("--kernel k --drive :ro", "empty");
	expect_refused("--kernel k --timings=yes", "--timings");
}

Test(options, seventeen_drives_are_too_many)
{
	char line[512] = "--kernel k";

	for (int i = 0; i < 16; i++)
		snprintf(line + strlen(line), sizeof(line) - strlen(line), " --drive d");
	cr_expect_eq(parse(line), 0);
	snprintf(line + strlen(line), sizeof(line) - strlen(line), " --drive last");
	expect_refused(line, "'last'");
}

Test(options, the_configuration_is_checked_as_a_whole)
{
	cr_assert_eq(parse("--kernel k --mem 1"), 0);
	cr_expect_eq(vm_config_check(&options.vm, &err), -EINVAL);
	cr_expect(strstr(err.text, "memory") != NULL, "%s", err.text);
	cr_assert_eq(parse("--kernel k --mem 8T"), 0);
	cr_expect_eq(vm_config_check(&options.vm, &err), -EINVAL);
	cr_assert_eq(parse("--kernel k --mem 8193K"), 0);
	cr_expect_eq(vm_config_check(&options.vm, &err), -EINVAL);
}
