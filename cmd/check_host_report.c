/* The report: every check run, and what they come to. */
#include <string.h>

#include "cmd/check_host_priv.h"

const struct check_group *const check_groups[] = {
	&check_processor, &check_kvm,	    &check_kvm_settings, &check_capabilities,
	&check_kernel,	  &check_isolation, &check_memory,	 NULL,
};

static const char *const state_names[] = {
	[CHECK_OK] = "ok",	     [CHECK_SLOW] = "slow",
	[CHECK_MISSING] = "missing", [CHECK_CANNOT_RUN] = "cannot run",
	[CHECK_UNKNOWN] = "unknown",
};

const char *check_state_name(enum check_state state)
{
	return state_names[state];
}

static void run_check(struct check_row *row, const struct host *host)
{
	const struct host_check *check = row->check;
	struct check_result *result = &row->result;

	check->run(host, check, result);
	if (result->state == CHECK_OK || result->state == CHECK_UNKNOWN) {
		result->cost = NULL;
		result->advice = NULL;
		return;
	}
	if (!result->cost)
		result->cost = check->cost;
	if (!result->advice)
		result->advice = check->advice;
}

static size_t count_state(const struct report *report, enum check_state state)
{
	size_t count = 0;

	for (size_t i = 0; i < report->count; i++)
		count += report->rows[i].result.state == state;
	return count;
}

static const struct check_row *first_obstacle(const struct report *report)
{
	for (size_t i = 0; i < report->count; i++)
		if (report->rows[i].result.state == CHECK_CANNOT_RUN)
			return &report->rows[i];
	return NULL;
}

static void write_verdict(struct report *report)
{
	const struct check_row *obstacle = first_obstacle(report);
	size_t slow = count_state(report, CHECK_SLOW), missing = count_state(report, CHECK_MISSING);

	report->can_run = !obstacle && report->quality == KVM_QUALITY_HARDWARE;
	if (report->can_run)
		snprintf(report->verdict, sizeof(report->verdict),
			 "This host can run Linux guests; %zu slow, %zu missing.", slow, missing);
	else if (report->quality == KVM_QUALITY_SOFTWARE &&
		 count_state(report, CHECK_CANNOT_RUN) == 1)
		snprintf(report->verdict, sizeof(report->verdict),
			 "This host runs only payload guests (software KVM): Linux guests need the "
			 "lab (tests/lab/lab).");
	else
		snprintf(report->verdict, sizeof(report->verdict),
			 "This host cannot run guests: %s: %s.",
			 obstacle ? obstacle->check->title : "KVM",
			 obstacle ? obstacle->result.found : "unknown");
}

int report_make(struct report *report, const struct host *host)
{
	size_t count = 1; /* one more than there are: calloc(0) may be NULL */

	*report = (struct report){ .quality = host->quality };
	for (size_t g = 0; check_groups[g]; g++)
		count += check_groups[g]->count;
	report->rows = calloc(count, sizeof(*report->rows));
	if (!report->rows)
		return -ENOMEM;
	for (size_t g = 0; check_groups[g]; g++)
		for (size_t i = 0; i < check_groups[g]->count; i++) {
			struct check_row *row = &report->rows[report->count++];

			row->group = check_groups[g]->title;
			row->check = &check_groups[g]->checks[i];
			run_check(row, host);
		}
	write_verdict(report);
	return 0;
}

void report_fini(struct report *report)
{
	free(report->rows);
	report->rows = NULL;
	report->count = 0;
}
