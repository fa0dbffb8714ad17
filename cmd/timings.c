#include "cmd/timings.h"

#include <string.h>

#include "base/util.h"

static const struct {
	enum moment moment;
	const char *text, *missing;
} rows[] = {
	{ MOMENT_PROCESS_START, "process start", NULL },
	{ MOMENT_CONFIGURED, "configuration read", NULL },
	{ MOMENT_ASKED, "start asked for", NULL },
	{ MOMENT_SNAPSHOT_READ, "snapshot read", NULL },
	{ MOMENT_VM_CREATED, "KVM VM and memory", NULL },
	{ MOMENT_DEVICES_READY, "vCPUs and devices", NULL },
	{ MOMENT_KERNEL_LOADED, "kernel load", NULL },
	{ MOMENT_ADOPTED, "snapshot taken up", NULL },
	{ MOMENT_FIRST_RUN, "first KVM_RUN", NULL },
	{ MOMENT_FIRST_OUTPUT, "first guest console byte", "the guest wrote nothing" },
	{ MOMENT_INIT, "init", "the guest's init does not use the boot timer" },
	{ MOMENT_END, "end", NULL },
};

int timings_moment(const char *text)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (strcmp(rows[i].text, text) == 0)
			return (int)rows[i].moment;
	return -1;
}

static double ms(uint64_t from, uint64_t to)
{
	return to > from ? (double)(to - from) / 1e6 : 0;
}

static uint64_t reached(const struct timeline *timeline, size_t row)
{
	uint64_t at = timeline->at[rows[row].moment];

	return at ? at : UINT64_MAX;
}

/* The first that is not printed yet, by time: a quiet guest's init starts before its first console
 * byte. What never was reached is last. */
static size_t next_row(const struct timeline *timeline, const bool *printed)
{
	size_t next = ARRAY_SIZE(rows);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (!printed[i] &&
		    (next == ARRAY_SIZE(rows) || reached(timeline, i) < reached(timeline, next)))
			next = i;
	return next;
}

void timings_print(const struct timeline *timeline, FILE *out)
{
	uint64_t start = timeline->at[MOMENT_PROCESS_START];
	bool printed[ARRAY_SIZE(rows)] = { false };
	uint64_t before = start;

	fprintf(out, "\n  %-26s %10s %10s\n", "what", "at ms", "took ms");
	for (size_t n = 0; n < ARRAY_SIZE(rows); n++) {
		size_t i = next_row(timeline, printed);
		uint64_t at = timeline->at[rows[i].moment];

		printed[i] = true;
		if (at) {
			fprintf(out, "  %-26s %10.3f %10.3f\n", rows[i].text, ms(start, at),
				ms(before, at));
			before = at;
		} else if (rows[i].missing) {
			fprintf(out, "  %-26s %10s %10s  %s\n", rows[i].text, "-", "-",
				rows[i].missing);
		}
	}
}
