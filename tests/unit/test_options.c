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
	expect_refused("--kernel k --drive fd=x", "--drive: fd: 'x'");
	expect_refused("--kernel k --drive fd=", "--drive: fd: ''");
	expect_refused("--kernel k --drive :ro", "empty");
	expect_refused("--kernel k --drive d,loop=1,direct=on,loop=1", "loop is given twice");
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

Test(options, a_net_is_a_tap_and_settings)
{
	cr_assert_eq(
		parse("--kernel k --net tap=t0,mac=02:aB:00:00:00:ff,mtu=1400,antispoof=off,queues=4 "
		      "--net fd=9"),
		0, "%s", err.text);
	cr_expect_eq(options.vm.net_count, 2);
	cr_expect_str_eq(options.vm.nets[0].tap, "t0");
	cr_expect_eq(options.vm.nets[0].fd, -1);
	cr_expect(options.vm.nets[0].has_mac);
	cr_expect_eq(memcmp(options.vm.nets[0].mac, "\x02\xab\x00\x00\x00\xff", 6), 0);
	cr_expect_eq(options.vm.nets[0].mtu, 1400);
	cr_expect_not(options.vm.nets[0].antispoof);
	cr_expect_eq(options.vm.nets[0].queue_pairs, 4);
	cr_expect_null(options.vm.nets[1].tap);
	cr_expect_eq(options.vm.nets[1].fd, 9);
	cr_expect_not(options.vm.nets[1].has_mac);
	cr_expect(options.vm.nets[1].antispoof, "it is on unless switched off");
}

Test(options, bad_nets)
{
	expect_refused("--kernel k --net t0", "neither tap=NAME nor fd=N");
	expect_refused("--kernel k --net tap=", "neither");
	expect_refused("--kernel k --net fd=1", "console");
	expect_refused("--kernel k --net fd=x", "not a number");
	expect_refused("--kernel k --net tap=t,mac=2:0:0:0:0:1", "mac=2:0:0:0:0:1");
	expect_refused("--kernel k --net tap=t,mac=02:00:00:00:00:0g", "mac=");
	expect_refused("--kernel k --net tap=t,mac=02:00:00:00:00:00:", "mac=");
	expect_refused("--kernel k --net tap=t,mtu=67", "68 to 65535");
	expect_refused("--kernel k --net tap=t,queues=9", "1 to 8");
	expect_refused("--kernel k --net tap=t,antispoof=no", "on or off");
	expect_refused("--kernel k --net tap=t,speed=1", "unknown setting 'speed'");
	expect_refused("--kernel k --net tap=t,mtu=1400,mtu=1500", "mtu is given twice");
	expect_refused("--kernel k --net tap=a --net tap=b --net tap=c --net tap=d --net tap=e "
		       "--net tap=f --net tap=g --net tap=h --net tap=i",
		       "more than 8");
}

Test(options, nets_that_clash)
{
	static const struct {
		const char *line, *text;
	} cases[] = {
		{ "--net tap=a --net tap=a", "net net1: tap a is net net0's already" },
		{ "--net fd=9 --net fd=9", "descriptor 9 is net net0's already" },
		{ "--drive fd=9 --net fd=9", "descriptor 9 is drive vda's already" },
		{ "--net tap=a,mac=02:00:00:00:00:01 --net tap=b,mac=02:00:00:00:00:01",
		  "it has net net0's MAC" },
		{ "--net tap=a,mac=01:00:00:00:00:01", "not the address of one station" },
		{ "--net tap=a,mac=00:00:00:00:00:00", "not the address of one station" },
		{ "--net fd=9,queues=2", "want a tap by name" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char line[256];

		snprintf(line, sizeof(line), "--kernel k %s", cases[i].line);
		cr_assert_eq(parse(line), 0, "%s", err.text);
		cr_expect_lt(vm_config_check(&options.vm, &err), 0, "%s", line);
		cr_expect(strstr(err.text, cases[i].text) != NULL, "%s: %s", line, err.text);
	}
}

Test(options, rates_go_to_their_devices_wherever_they_stand)
{
	cr_assert_eq(
		parse("--kernel k --rate vda,bytes=10M/1000+512B,ops=100/50+7 --rate rng,bytes=1K/10 "
		      "--rate vdb,ops=5/1000 --drive b --rootfs a"),
		0, "%s", err.text);
	cr_expect_eq(options.vm.drives[0].rate.bytes.size, MIB(10));
	cr_expect_eq(options.vm.drives[0].rate.bytes.refill_ms, 1000);
	cr_expect_eq(options.vm.drives[0].rate.bytes.one_time_burst, 512);
	cr_expect_eq(options.vm.drives[0].rate.ops.size, 100);
	cr_expect_eq(options.vm.drives[0].rate.ops.refill_ms, 50);
	cr_expect_eq(options.vm.drives[0].rate.ops.one_time_burst, 7);
	cr_expect_eq(options.vm.drives[1].rate.bytes.size, 0);
	cr_expect_eq(options.vm.drives[1].rate.ops.size, 5);
	cr_expect_eq(options.vm.rng.rate.bytes.size, 1024);
}

Test(options, rates_of_networks_and_pmems_are_found_by_name)
{
	static struct vm_config vm = { .net_count = 2, .pmem_count = 1 };
	char rx[] = "net1.rx,ops=1/2", tx[] = "net0.tx,bytes=3B/4", pmem[] = "pmem0,ops=5/6";
	char none[] = "net2.rx,ops=1/2", half[] = "net0,ops=1/2", rng[] = "rng,ops=1/2";

	cr_assert_eq(parse_rate("--rate", rx, &vm, &err), 0, "%s", err.text);
	cr_assert_eq(parse_rate("--rate", tx, &vm, &err), 0, "%s", err.text);
	cr_assert_eq(parse_rate("--rate", pmem, &vm, &err), 0, "%s", err.text);
	cr_expect_eq(vm.nets[1].rx_rate.ops.size, 1);
	cr_expect_eq(vm.nets[0].tx_rate.bytes.size, 3);
	cr_expect_eq(vm.pmems[0].rate.ops.refill_ms, 6);
	cr_expect_lt(parse_rate("--rate", none, &vm, &err), 0);
	cr_expect_lt(parse_rate("--rate", half, &vm, &err), 0);
	vm.no_rng = true;
	cr_expect_lt(parse_rate("--rate", rng, &vm, &err), 0);
}

Test(options, bad_rates_are_refused_by_name)
{
	expect_refused("--kernel k --rate vda,ops=1/1", "has no 'vda' to limit");
	expect_refused("--kernel k --rate ,ops=1/1", "has no '' to limit");
	expect_refused("--kernel k --rate rng", "rng: it wants bytes=");
	expect_refused("--kernel k --rate rng,ops=5", "ops=5: it wants AMOUNT/MS");
	expect_refused("--kernel k --rate rng,ops=0/5", "nothing could ever pass");
	expect_refused("--kernel k --rate rng,ops=5/0", "'0' is not a number");
	expect_refused("--kernel k --rate rng,ops=5/", "'' is not a number");
	expect_refused("--kernel k --rate rng,ops=1K/5", "'1K' is not a number");
	expect_refused("--kernel k --rate rng,ops=1/5+x", "'x' is not a number");
	expect_refused("--kernel k --rate rng,bytes=1Q/5", "'1Q' is not a size");
	expect_refused("--kernel k --rate rng,bits=1/5", "unknown setting 'bits'");
	expect_refused("--kernel k --rate rng,ops=1/5,ops=1/6", "ops is given twice");
	expect_refused("--kernel k --rate rng,ops=1/5 --rate rng,ops=1/6", "ops is given twice");
}

Test(options, balloon)
{
	cr_assert_eq(parse("--kernel k --balloon 64,stats=5,deflate-on-oom=on,reporting=on"), 0,
		     "%s", err.text);
	cr_expect(options.vm.has_balloon);
	cr_expect_eq(options.vm.balloon.target_mib, 64);
	cr_expect_eq(options.vm.balloon.stats_interval_s, 5);
	cr_expect(options.vm.balloon.deflate_on_oom && options.vm.balloon.free_page_reporting);
	cr_expect_not(options.vm.balloon.free_page_hinting);
	expect_refused("--kernel k --balloon x", "'x' is not a number");
	expect_refused("--kernel k --balloon 1,stats=65536", "65535");
	expect_refused("--kernel k --balloon 1,colour=red", "unknown setting 'colour'");
	expect_refused("--kernel k --balloon 1 --balloon 2", "a second --balloon, '2'");
}

Test(options, pmem)
{
	cr_assert_eq(parse("--kernel k --pmem a:ro,root=on --pmem fd=7 --pmem b,,c"), 0, "%s",
		     err.text);
	cr_assert_eq(options.vm.pmem_count, 3);
	cr_expect_str_eq(options.vm.pmems[0].path, "a");
	cr_expect(options.vm.pmems[0].read_only && options.vm.pmems[0].root);
	cr_expect_eq(options.vm.pmems[1].fd, 7);
	cr_expect_not(options.vm.pmems[1].read_only || options.vm.pmems[1].root);
	cr_expect_str_eq(options.vm.pmems[2].path, "b,c");
	expect_refused("--kernel k --pmem :ro", "the path is empty");
	expect_refused("--kernel k --pmem fd=2", "the console's");
	expect_refused("--kernel k --pmem a,root=yes", "root=yes: it is on or off");
}

static void expect_bad_config(const char *line, const char *text)
{
	cr_assert_eq(parse(line), 0, "%s", err.text);
	cr_expect_eq(vm_config_check(&options.vm, &err), -EINVAL, "'%s' was accepted", line);
	cr_expect(strstr(err.text, text) != NULL, "'%s' got: %s", line, err.text);
}

Test(options, memory_devices_that_cannot_be)
{
	expect_bad_config("--kernel k --mem 128 --balloon 129", "129 MiB are more than");
	expect_bad_config("--kernel k --pmem a,root=on --pmem b,root=on", "on pmem0 already");
	expect_bad_config("--kernel k --rootfs a --pmem b,root=on", "on vda already");
	expect_bad_config("--kernel k --pmem fd=7 --pmem fd=7", "pmem0's already");
	expect_bad_config("--kernel k --drive fd=7 --pmem fd=7", "drive vda's already");
}
