/* Settings of KVM and the clock that slow starts or guests down. */
#include <string.h>

#include "cmd/check_host_priv.h"

#define KVM_PARAMETERS "sys/module/kvm/parameters/"
#define CLOCKSOURCE "sys/devices/system/clocksource/clocksource0/current_clocksource"
#define HALT_POLL_LONG_NS 1000000

/* "never" is Linux 6.4's: off, and no recovery thread either. */
static int nx_huge_pages(const struct host *host)
{
	char text[16];
	int ret = host_read(host, KVM_PARAMETERS "nx_huge_pages", text, sizeof(text));

	if (ret < 0)
		return ret;
	return strncmp(text, "never", strlen("never")) == 0 ? 0 : check_parse_bool(text);
}

static void run_nx_huge_pages(const struct host *host, const struct host_check *check,
			      struct check_result *result)
{
	int on = nx_huge_pages(host);

	if (on < 0)
		check_unknown(result, KVM_PARAMETERS "nx_huge_pages", on);
	else
		check_set(result, on ? check->lack : CHECK_OK, "%s", on ? "on" : "off");
}

static void run_nx_recovery(const struct host *host, const struct host_check *check,
			    struct check_result *result)
{
	long long ratio, period = 0;
	int ret = host_read_number(host, KVM_PARAMETERS "nx_huge_pages_recovery_ratio", &ratio);

	if (ret < 0) {
		check_unknown(result, KVM_PARAMETERS "nx_huge_pages_recovery_ratio", ret);
		return;
	}
	/* Not there before Linux 5.16; 0 means: an hour, divided by the ratio. */
	ret = host_read_number(host, KVM_PARAMETERS "nx_huge_pages_recovery_period_ms", &period);
	if (ratio == 0 || nx_huge_pages(host) == 0)
		check_set(result, CHECK_OK, "does nothing");
	else if (ret == 0 && period > 0)
		check_set(result, check->lack, "1/%lld of the split pages every %lld ms", ratio,
			  period);
	else
		check_set(result, check->lack, "1/%lld of the split pages every %lld s", ratio,
			  ratio > 0 ? 3600 / ratio : 0);
}

static void run_halt_poll(const struct host *host, const struct host_check *check,
			  struct check_result *result)
{
	long long ns;
	int ret = host_read_number(host, KVM_PARAMETERS "halt_poll_ns", &ns);

	if (ret < 0)
		check_unknown(result, KVM_PARAMETERS "halt_poll_ns", ret);
	else if (ns == 0)
		check_set(result, CHECK_OK, "off: an idle vCPU sleeps at once");
	else
		check_set(result, ns > HALT_POLL_LONG_NS ? check->lack : CHECK_OK, "%lld us",
			  ns / 1000);
}

static void run_ignore_msrs(const struct host *host, const struct host_check *check,
			    struct check_result *result)
{
	int ignored = host_read_bool(host, KVM_PARAMETERS "ignore_msrs");

	if (ignored < 0)
		check_unknown(result, KVM_PARAMETERS "ignore_msrs", ignored);
	else
		check_set(result, ignored ? check->lack : CHECK_OK, "%s",
			  ignored ? "no: ignore_msrs is on" : "yes");
}

static void run_clocksource(const struct host *host, const struct host_check *check,
			    struct check_result *result)
{
	char name[64];
	int ret = host_read(host, CLOCKSOURCE, name, sizeof(name));
	bool fast = check_parse_has_word(name, "tsc") ||
		    check_parse_has_word(name, "hyperv_clocksource_tsc_page");

	name[strcspn(name, "\n")] = '\0';
	if (ret < 0 || !name[0])
		check_unknown(result, CLOCKSOURCE, ret < 0 ? ret : -EINVAL);
	else
		check_set(result, fast ? CHECK_OK : check->lack, "%s", name);
}

static const struct host_check checks[] = {
	{ .id = "nx_huge_pages",
	  .title = "NX huge pages",
	  .run = run_nx_huge_pages,
	  .lack = CHECK_SLOW,
	  .cost = "guest code runs from 4 KiB pages, and each VM starts a recovery thread "
		  "(milliseconds)",
	  .advice = "if itlb_multihit does not affect this processor (see /"
		    "sys/devices/system/"
		    "cpu/vulnerabilities), boot with kvm.nx_huge_pages=never" },
	{ .id = "nx_recovery",
	  .title = "NX page recovery",
	  .run = run_nx_recovery,
	  .lack = CHECK_SLOW,
	  .cost = "guests fault their code in again after each round",
	  .advice = "as above, or kvm.nx_huge_pages_recovery_ratio=0" },
	{ .id = "halt_poll",
	  .title = "halt polling",
	  .run = run_halt_poll,
	  .lack = CHECK_SLOW,
	  .cost = "idle guests burn host processor time that others want",
	  .advice = "echo 200000 > /" KVM_PARAMETERS "halt_poll_ns" },
	{ .id = "ignore_msrs",
	  .title = "unknown MSRs fault",
	  .run = run_ignore_msrs,
	  .lack = CHECK_MISSING,
	  .cost = "guests that probe for a feature are told wrong",
	  .advice = "echo N > /" KVM_PARAMETERS "ignore_msrs" },
	{ .id = "clocksource",
	  .title = "clock source",
	  .run = run_clocksource,
	  .lack = CHECK_SLOW,
	  .cost = "guests cannot read kvmclock without leaving user mode: slow timestamps",
	  .advice = "find in dmesg why the TSC was refused; in a nested host, expose an "
		    "invariant TSC" },
};

const struct check_group check_kvm_settings = { "Settings", checks, ARRAY_SIZE(checks) };
