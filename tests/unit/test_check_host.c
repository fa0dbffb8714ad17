#include <criterion/criterion.h>
#include <fcntl.h>
#include <ftw.h>
#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd/check_host_priv.h"

#define test_fini(type) __attribute__((cleanup(type)))

Test(check_host, words_are_whole_words)
{
	cr_expect(check_parse_has_word("fpu vme svm npt", "svm"));
	cr_expect(check_parse_has_word("svm", "svm"));
	cr_expect(check_parse_has_word("rw,relatime,memory\n", "memory"));
	cr_expect(check_parse_has_word("svm_lock svm", "svm"), "the second one");
	cr_expect_not(check_parse_has_word("svm_lock nosvm", "svm"));
	cr_expect_not(check_parse_has_word("", "svm"));
}

Test(check_host, numbers_stand_alone)
{
	long long value = 7;

	cr_expect_eq(check_parse_number("65530\n", &value), 0);
	cr_expect_eq(value, 65530);
	cr_expect_eq(check_parse_number("-1", &value), 0);
	cr_expect_eq(value, -1);
	cr_expect_eq(check_parse_number("", &value), -EINVAL);
	cr_expect_eq(check_parse_number("\n", &value), -EINVAL);
	cr_expect_eq(check_parse_number("12 apples", &value), -EINVAL);
	cr_expect_eq(check_parse_number("99999999999999999999", &value), -EINVAL);
	cr_expect_eq(value, -1, "a failure leaves it alone");
}

Test(check_host, module_parameters_are_yes_or_no)
{
	cr_expect_eq(check_parse_bool("Y\n"), 1);
	cr_expect_eq(check_parse_bool("1"), 1);
	cr_expect_eq(check_parse_bool("N\n"), 0);
	cr_expect_eq(check_parse_bool("0\n"), 0);
	cr_expect_eq(check_parse_bool(""), -EINVAL);
	cr_expect_eq(check_parse_bool("10\n"), -EINVAL);
	cr_expect_eq(check_parse_bool("never\n"), -EINVAL);
}

Test(check_host, kernel_versions)
{
	cr_expect_eq(check_parse_kernel_version("6.12.5-cloud-amd64"), KERNEL(6, 12));
	cr_expect_eq(check_parse_kernel_version("5.13"), KERNEL(5, 13));
	cr_expect_gt(check_parse_kernel_version("6.1.0"), KERNEL(5, 19));
	cr_expect_eq(check_parse_kernel_version("6"), 0);
	cr_expect_eq(check_parse_kernel_version("6.x"), 0);
	cr_expect_eq(check_parse_kernel_version("-1.2"), 0);
	cr_expect_eq(check_parse_kernel_version("99999999999999999999.1"), 0);
	cr_expect_eq(check_parse_kernel_version(""), 0);
}

Test(check_host, chosen_one_is_in_brackets)
{
	char mode[8] = "";

	cr_expect_eq(check_parse_chosen("always [madvise] never\n", mode, sizeof(mode)), 0);
	cr_expect_str_eq(mode, "madvise");
	cr_expect_eq(check_parse_chosen("always madvise never", mode, sizeof(mode)), -EINVAL);
	cr_expect_eq(check_parse_chosen("] [", mode, sizeof(mode)), -EINVAL);
	cr_expect_eq(check_parse_chosen("[]", mode, sizeof(mode)), -EINVAL);
	cr_expect_eq(check_parse_chosen("[too_long]", mode, sizeof(mode)), -EINVAL);
}

Test(check_host, cpuinfo_gives_the_first_processors_flags)
{
	const char *text = "processor\t: 0\nflags_of_old : x\nflags\t\t: fpu svm\nbugs\t: y\n"
			   "processor\t: 1\nflags\t\t: none\n";
	char flags[16] = "";

	cr_expect_eq(check_parse_cpuinfo(text, "flags", flags, sizeof(flags)), 0);
	cr_expect_str_eq(flags, "fpu svm");
	cr_expect_eq(check_parse_cpuinfo(text, "vendor_id", flags, sizeof(flags)), -ENOENT);
	cr_expect_eq(check_parse_cpuinfo("flags", "flags", flags, sizeof(flags)), -ENOENT);
	cr_expect_eq(check_parse_cpuinfo("flags:", "flags", flags, sizeof(flags)), -EINVAL);
	cr_expect_eq(check_parse_cpuinfo("flags : 0123456789abcdef", "flags", flags, sizeof(flags)),
		     -EINVAL, "does not fit");
}

Test(check_host, group_lines)
{
	char name[8] = "?";

	cr_expect(check_parse_group_line("kvm:x:104:alice,bob", 104, name, sizeof(name)));
	cr_expect_str_eq(name, "kvm");
	cr_expect_not(check_parse_group_line("kvm:x:104:", 105, name, sizeof(name)));
	cr_expect_not(check_parse_group_line("kvm:x:104", 104, name, sizeof(name)));
	cr_expect_not(check_parse_group_line("a_long_name:x:104:", 104, name, sizeof(name)));
	cr_expect_not(check_parse_group_line(":::", 0, name, sizeof(name)));
	cr_expect_not(check_parse_group_line("", 0, name, sizeof(name)));
}

static struct cgroup_mounts mounts_of(const char *const lines[], size_t count)
{
	struct cgroup_mounts mounts = { 0 };

	for (size_t i = 0; i < count; i++)
		cgroup_mounts_add(&mounts, lines[i]);
	return mounts;
}

Test(check_host, cgroup_mounts_of_version_2)
{
	static const char *const lines[] = {
		"proc /proc proc rw 0 0\n",
		"cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nsdelegate 0 0\n",
		"garbage\n",
		"",
	};
	struct cgroup_mounts mounts = mounts_of(lines, ARRAY_SIZE(lines));

	cr_expect_eq(mounts.v1, 0);
	cr_expect_str_eq(mounts.v2, "/sys/fs/cgroup");
}

Test(check_host, cgroup_mounts_of_a_hybrid)
{
	static const char *const lines[] = {
		"cgroup /sys/fs/cgroup/cpu cgroup rw,cpu,cpuacct 0 0\n",
		"cgroup /sys/fs/cgroup/memory cgroup rw,memory,favordynmods 0 0\n",
		"cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n",
		"cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
	};
	struct cgroup_mounts mounts = mounts_of(lines, ARRAY_SIZE(lines));

	cr_expect_eq(mounts.v1, 2, "name=systemd has no controller");
	cr_expect_not(mounts.favordynmods, "one hierarchy lacks it");
	cr_expect_str_eq(mounts.v2, "/sys/fs/cgroup/unified");
	cr_expect(mounts_of(lines + 1, 1).favordynmods);
}

Test(check_host, found_text_is_printable_and_bounded)
{
	struct check_result result = { 0 };
	char lots[1000];

	check_set(&result, CHECK_OK, "a\x1b[31m\xff\n");
	cr_expect_str_eq(result.found, "a?[31m??");
	memset(lots, 'x', sizeof(lots) - 1);
	lots[sizeof(lots) - 1] = '\0';
	check_set(&result, CHECK_OK, "%s", lots);
	cr_expect_eq(strlen(result.found), sizeof(result.found) - 1);
}

/* A directory with made-up /proc and /sys files. */
struct tree {
	char path[64];
	struct host host;
};

static void tree_init(struct tree *tree)
{
	*tree = (struct tree){ .path = "/tmp/mayfly-check-host.XXXXXX", .host.kvm = -ENOENT };
	cr_assert_not_null(mkdtemp(tree->path));
	tree->host.root = open(tree->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(tree->host.root, 0);
	error_set(&tree->host.kvm_error, ENOENT, "no such KVM");
}

static void tree_add(struct tree *tree, const char *path, const char *text, size_t len)
{
	cleanup_fd int fd = -1;
	char dir[256];

	for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path), path);
		mkdirat(tree->host.root, dir, 0700);
	}
	fd = openat(tree->host.root, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, text, len), (ssize_t)len);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void tree_fini(struct tree *tree)
{
	close_fd(&tree->host.root);
	cr_assert_eq(nftw(tree->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

static const struct check_row *find_row(const struct report *report, const char *id)
{
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->rows[i].check->id, id) == 0)
			return &report->rows[i];
	cr_assert_fail("no check %s", id);
	return NULL;
}

static const char *state_of(const struct report *report, const char *id)
{
	return check_state_name(find_row(report, id)->result.state);
}

/* Every file that a check reads as a number, a switch or a word. */
static const char *const host_files[] = {
	"etc/group",
	"proc/cpuinfo",
	"proc/mounts",
	"proc/swaps",
	"proc/sys/kernel/io_uring_disabled",
	"proc/sys/kernel/pid_max",
	"proc/sys/vm/max_map_count",
	"sys/devices/system/clocksource/clocksource0/current_clocksource",
	"sys/devices/system/cpu/smt/active",
	"sys/devices/system/cpu/vulnerabilities/meltdown",
	"sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
	"sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages",
	"sys/kernel/mm/ksm/run",
	"sys/kernel/mm/transparent_hugepage/enabled",
	"sys/module/kvm/parameters/halt_poll_ns",
	"sys/module/kvm/parameters/ignore_msrs",
	"sys/module/kvm/parameters/nx_huge_pages",
	"sys/module/kvm/parameters/nx_huge_pages_recovery_period_ms",
	"sys/module/kvm/parameters/nx_huge_pages_recovery_ratio",
	"sys/module/kvm_amd/parameters/npt",
	"sys/module/kvm_intel/parameters/ept",
};

/* Whatever was found, the report is whole: each row has its texts, and both forms can be written. */
static void expect_whole(const struct report *report)
{
	FILE *out = fopen("/dev/null", "w");

	cr_assert_not_null(out);
	for (size_t i = 0; i < report->count; i++) {
		const struct check_row *row = &report->rows[i];
		bool lacks = row->result.state != CHECK_OK && row->result.state != CHECK_UNKNOWN;

		cr_expect(row->result.found[0], "%s", row->check->id);
		cr_expect_leq(strlen(row->check->title), 20, "%s", row->check->title);
		cr_expect_eq(lacks, row->result.cost != NULL, "%s", row->check->id);
		cr_expect_eq(lacks, row->result.advice != NULL, "%s", row->check->id);
		for (size_t j = 0; j < i; j++)
			cr_expect_str_neq(row->check->id, report->rows[j].check->id);
	}
	report_print(report, out, 1, true);
	cr_expect_eq(report_print_json(report, out), 0);
	fclose(out);
}

Test(check_host, nothing_is_known_without_proc_and_sys)
{
	test_fini(tree_fini) struct tree tree;
	test_fini(report_fini) struct report report;

	tree_init(&tree);
	cr_assert_eq(report_make(&report, &tree.host), 0);
	expect_whole(&report);
	cr_expect_str_eq(state_of(&report, "cpu_virtualization"), "unknown");
	cr_expect_str_eq(state_of(&report, "kvm_nested_paging"), "unknown");
	cr_expect_str_eq(state_of(&report, "cgroup_version"), "unknown");
	cr_expect_str_eq(state_of(&report, "kvm_device"), "cannot run");
	cr_expect_not(report.can_run);
}

Test(check_host, weird_contents_do_no_harm)
{
	static char noise[70000];
	static const struct {
		const char *text;
		size_t len;
	} contents[] = {
		{ "", 0 },	  { "\n", 1 },
		{ "\0\0\0", 3 },  { "[", 1 },
		{ ":::::::", 7 }, { "-9223372036854775808\n", 21 },
		{ "%s%n%s", 6 },  { noise, sizeof(noise) },
	};
	test_fini(tree_fini) struct tree tree;

	for (size_t i = 0; i < sizeof(noise); i++)
		noise[i] = (char)(i * 131 >> 3);
	tree_init(&tree);
	for (size_t c = 0; c < ARRAY_SIZE(contents); c++) {
		test_fini(report_fini) struct report report;

		for (size_t i = 0; i < ARRAY_SIZE(host_files); i++)
			tree_add(&tree, host_files[i], contents[c].text, contents[c].len);
		cr_assert_eq(report_make(&report, &tree.host), 0);
		expect_whole(&report);
	}
}

static void add_text(struct tree *tree, const char *path, const char *text)
{
	tree_add(tree, path, text, strlen(text));
}

Test(check_host, settings_that_slow_starts)
{
	test_fini(tree_fini) struct tree tree;
	test_fini(report_fini) struct report report;

	tree_init(&tree);
	add_text(&tree, "proc/cpuinfo", "flags : fpu vmx\n");
	add_text(&tree, "proc/mounts", "cgroup /c/cpu cgroup rw,cpu 0 0\n");
	add_text(&tree, "sys/module/kvm/parameters/nx_huge_pages", "Y\n");
	add_text(&tree, "sys/module/kvm/parameters/nx_huge_pages_recovery_ratio", "60\n");
	add_text(&tree, "sys/module/kvm_intel/parameters/ept", "N\n");
	add_text(&tree, "sys/kernel/mm/transparent_hugepage/enabled", "always madvise [never]\n");
	add_text(&tree, "sys/devices/system/clocksource/clocksource0/current_clocksource",
		 "hpet\n");
	cr_assert_eq(report_make(&report, &tree.host), 0);
	expect_whole(&report);
	cr_expect_str_eq(state_of(&report, "cpu_virtualization"), "ok");
	cr_expect_str_eq(state_of(&report, "cgroup_version"), "slow");
	cr_expect_str_eq(state_of(&report, "nx_huge_pages"), "slow");
	cr_expect_str_eq(state_of(&report, "nx_recovery"), "slow");
	cr_expect_str_eq(find_row(&report, "nx_recovery")->result.found,
			 "1/60 of the split pages every 60 s");
	cr_expect_str_eq(state_of(&report, "kvm_nested_paging"), "slow");
	cr_expect_str_eq(state_of(&report, "transparent_huge_pages"), "slow");
	cr_expect_str_eq(state_of(&report, "clocksource"), "slow");
}

Test(check_host, old_kernels_cannot_run_and_middling_ones_are_slow)
{
	static const struct {
		unsigned int kernel;
		const char *state;
	} cases[] = {
		{ KERNEL(5, 10), "cannot run" },
		{ KERNEL(5, 13), "slow" },
		{ KERNEL(6, 0), "slow" },
		{ KERNEL(6, 1), "ok" },
		{ 0, "unknown" },
	};
	test_fini(tree_fini) struct tree tree;

	tree_init(&tree);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		test_fini(report_fini) struct report report;

		tree.host.kernel = cases[i].kernel;
		cr_assert_eq(report_make(&report, &tree.host), 0);
		cr_expect_str_eq(state_of(&report, "kernel_version"), cases[i].state);
	}
}

Test(check_host, json_has_the_promised_shape)
{
	static const char *const keys[] = { "id",    "title", "group", "state",
					    "found", "cost",  "advice" };
	test_fini(tree_fini) struct tree tree;
	test_fini(report_fini) struct report report;
	char *text = NULL;
	size_t size = 0, i;
	FILE *out = open_memstream(&text, &size);
	json_t *root, *row;

	tree_init(&tree);
	cr_assert_eq(report_make(&report, &tree.host), 0);
	cr_assert_eq(report_print_json(&report, out), 0);
	fclose(out);
	root = json_loads(text, 0, NULL);
	cr_assert_not_null(root);
	cr_expect(json_is_false(json_object_get(root, "can_run_guests")));
	cr_expect_str_eq(json_string_value(json_object_get(root, "kvm")), "none");
	cr_expect_eq(json_array_size(json_object_get(root, "checks")), report.count);
	json_array_foreach(json_object_get(root, "checks"), i, row) for (size_t k = 0;
									 k < ARRAY_SIZE(keys); k++)
		cr_expect_not_null(json_object_get(row, keys[k]), "%s", keys[k]);
	json_decref(root);
	free(text);
}

Test(check_host, table_lines_up_and_ends_with_the_verdict)
{
	test_fini(tree_fini) struct tree tree;
	test_fini(report_fini) struct report report;
	char *text = NULL, *rest, *line, *last = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	tree_init(&tree);
	cr_assert_eq(report_make(&report, &tree.host), 0);
	report_print(&report, out, 80, false);
	fclose(out);
	cr_expect_null(strchr(text, '\033'), "no colour was asked for");
	for (rest = text; (line = strsep(&rest, "\n"));) {
		if (!*line)
			continue;
		cr_expect(strlen(line) <= 80 || strrchr(line, ' ') < line + 36 ||
				  strcmp(line, report.verdict) == 0,
			  "only a path may be too long: %s", line);
		if (line[0] == ' ' && strlen(line) > 24)
			cr_expect_eq(line[23], ' ', "%s", line);
		last = line;
	}
	cr_expect_str_eq(last, report.verdict);
	free(text);
}

Test(check_host, probe_says_why_and_leaves_no_descriptor)
{
	struct error err = { 0 };
	int before = dup(0), after;
	enum kvm_quality quality;

	close(before);
	quality = kvm_probe(&err);
	after = dup(0);
	close(after);
	cr_expect_eq(before, after);
	cr_expect_eq(quality == KVM_QUALITY_HARDWARE, err.text[0] == '\0', "%s", err.text);
}

Test(check_host, wrong_option_is_refused)
{
	char name[] = "check-host", option[] = "--jason";
	char *argv[] = { name, option, NULL };

	cr_expect_eq(check_host_main(2, argv), 153);
}
