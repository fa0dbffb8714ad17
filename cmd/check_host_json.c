/* The report for scripts. */
#include <jansson.h>

#include "cmd/check_host_priv.h"

static const char *const quality_names[] = {
	[KVM_QUALITY_NONE] = "none",
	[KVM_QUALITY_SOFTWARE] = "software",
	[KVM_QUALITY_HARDWARE] = "hardware",
};

static json_t *row_json(const struct check_row *row)
{
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s?, s:s?}", "id", row->check->id, "title",
			 row->check->title, "group", row->group, "state",
			 check_state_name(row->result.state), "found", row->result.found, "cost",
			 row->result.cost, "advice", row->result.advice);
}

int report_print_json(const struct report *report, FILE *out)
{
	json_t *checks = json_array(), *root;
	int ret = checks ? 0 : -ENOMEM;

	for (size_t i = 0; ret == 0 && i < report->count; i++)
		if (json_array_append_new(checks, row_json(&report->rows[i])))
			ret = -ENOMEM;
	/* json_pack() takes `checks` over, whatever becomes of it. */
	root = json_pack("{s:b, s:s, s:s, s:o}", "can_run_guests", report->can_run, "kvm",
			 quality_names[report->quality], "verdict", report->verdict, "checks",
			 checks);
	if (!root)
		ret = -ENOMEM;
	if (ret == 0 && (json_dumpf(root, out, JSON_INDENT(2)) || fputc('\n', out) == EOF))
		ret = -EIO;
	json_decref(root);
	return ret;
}
