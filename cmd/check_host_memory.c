/* Memory: what guests' pages are made of, and what else looks at them. */
#include <string.h>
#include <sys/resource.h>

#include "cmd/check_host_priv.h"

#define THP_ENABLED "sys/kernel/mm/transparent_hugepage/enabled"
#define HUGETLB "sys/kernel/mm/hugepages/hugepages-2048kB/"
#define MAPS_LEAST 65530	  /* the kernel's default */
#define LOCKED_LEAST (8ull << 20) /* the same, since Linux 5.16 */

static void run_thp(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	char text[128], mode[32];
	int ret = host_read(host, THP_ENABLED, text, sizeof(text));

	if (ret >= 0)
		ret = check_parse_chosen(text, mode, sizeof(mode));
	if (ret == -ENOENT)
		check_set(result, check->lack, "not in this kernel");
	else if (ret < 0)
		check_unknown(result, THP_ENABLED, ret);
	else
		check_set(result, strcmp(mode, "never") == 0 ? check->lack : CHECK_OK, "%s", mode);
}

static void run_hugetlb(const struct host *host, const struct host_check *check,
			struct check_result *result)
{
	long long total = 0, available = 0;
	int ret = host_read_number(host, HUGETLB "nr_hugepages", &total);

	if (ret == 0)
		ret = host_read_number(host, HUGETLB "free_hugepages", &available);
	if (ret == -ENOENT)
		check_set(result, check->lack, "not in this kernel");
	else if (ret < 0)
		check_unknown(result, HUGETLB "nr_hugepages", ret);
	else
		check_set(result, total > 0 ? CHECK_OK : check->lack, "%lld free of %lld",
			  available, total);
}

static void run_ksm(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	long long run;
	int ret = host_read_number(host, "sys/kernel/mm/ksm/run", &run);

	if (ret == -ENOENT)
		check_set(result, CHECK_OK, "not in this kernel");
	else if (ret < 0)
		check_unknown(result, "sys/kernel/mm/ksm/run", ret);
	else
		check_set(result, run == 1 ? check->lack : CHECK_OK, "%s", run == 1 ? "on" : "off");
}

static void run_swap(const struct host *host, const struct host_check *check,
		     struct check_result *result)
{
	char text[4096];
	int ret = host_read(host, "proc/swaps", text, sizeof(text));
	int lines = 0;

	if (ret < 0) {
		check_unknown(result, "proc/swaps", ret);
		return;
	}
	for (const char *c = text; *c; c++)
		lines += *c == '\n';
	if (lines > 1) /* the first one is a heading */
		check_set(result, check->lack, "%d area%s", lines - 1, lines > 2 ? "s" : "");
	else
		check_set(result, CHECK_OK, "none");
}

static void run_max_map_count(const struct host *host, const struct host_check *check,
			      struct check_result *result)
{
	long long count;
	int ret = host_read_number(host, "proc/sys/vm/max_map_count", &count);

	if (ret < 0)
		check_unknown(result, "proc/sys/vm/max_map_count", ret);
	else
		check_set(result, count < MAPS_LEAST ? check->lack : CHECK_OK, "%lld", count);
}

static void run_memlock(const struct host *host, const struct host_check *check,
			struct check_result *result)
{
	struct rlimit limit;

	(void)host;
	if (getrlimit(RLIMIT_MEMLOCK, &limit))
		check_set(result, CHECK_UNKNOWN, "getrlimit: %s", strerror(errno));
	else if (limit.rlim_cur == RLIM_INFINITY)
		check_set(result, CHECK_OK, "no limit");
	else if (geteuid() == 0)
		check_set(result, CHECK_OK, "%llu KiB, but root is exempt",
			  (unsigned long long)limit.rlim_cur >> 10);
	else
		check_set(result, limit.rlim_cur < LOCKED_LEAST ? check->lack : CHECK_OK,
			  "%llu KiB", (unsigned long long)limit.rlim_cur >> 10);
}

static const struct host_check checks[] = {
	{ .id = "transparent_huge_pages",
	  .title = "huge pages, THP",
	  .run = run_thp,
	  .lack = CHECK_SLOW,
	  .cost = "guest memory is faulted in by 4 KiB: slower starts, more TLB misses",
	  .advice = "echo madvise > /" THP_ENABLED },
	{ .id = "hugetlb_2m",
	  .title = "huge pages, 2 MiB",
	  .run = run_hugetlb,
	  .lack = CHECK_MISSING,
	  .cost = "only guests that ask for 2 MiB pages (huge_pages: 2M) do not start",
	  .advice = "echo N > /" HUGETLB "nr_hugepages" },
	{ .id = "ksm",
	  .title = "page merging (KSM)",
	  .run = run_ksm,
	  .lack = CHECK_SLOW,
	  .cost = "scanning takes processor time, and merged pages leak what neighbours hold",
	  .advice = "echo 0 > /sys/kernel/mm/ksm/run" },
	{ .id = "swap",
	  .title = "swap",
	  .run = run_swap,
	  .lack = CHECK_SLOW,
	  .cost = "guest memory may stall on a disk, and stays there",
	  .advice = "swapoff -a, or memory.swap.max=0 in the guests' cgroup" },
	{ .id = "max_map_count",
	  .title = "mappings a process",
	  .run = run_max_map_count,
	  .lack = CHECK_MISSING,
	  .cost = "snapshots of many scattered layers may not map",
	  .advice = "sysctl vm.max_map_count=65530" },
	{ .id = "memlock",
	  .title = "locked memory",
	  .run = run_memlock,
	  .lack = CHECK_MISSING,
	  .cost = "rings with registered buffers are refused",
	  .advice = "raise it to 8 MiB (ulimit -l 8192, or LimitMEMLOCK= of the service)" },
};

const struct check_group check_memory = { "Memory", checks, ARRAY_SIZE(checks) };
