/* The report for people: a table that lines up, with what a lack costs and what to do below it. */
#include <string.h>

#include "cmd/check_host_priv.h"

#define TITLE_COLUMN 2
#define STATE_COLUMN 24
#define FOUND_COLUMN 36
#define NOTE_COLUMN 32 /* of a cost or an advice, under STATE_COLUMN's "costs:" and "to do:" */
#define LEAST_TEXT 20  /* columns: a narrower terminal wraps by itself */

/* Writes words up to `width`, further lines indented to `column`; starts in that column. */
static void print_wrapped(FILE *out, const char *text, unsigned int column, unsigned int width)
{
	unsigned int room = width > column + LEAST_TEXT ? width - column : LEAST_TEXT;
	unsigned int used = 0;

	while (*(text += strspn(text, " "))) {
		unsigned int len = (unsigned int)strcspn(text, " ");

		if (used && used + 1 + len > room) {
			fprintf(out, "\n%*s", (int)column, "");
			used = 0;
		}
		used += (unsigned int)fprintf(out, "%s%.*s", used ? " " : "", (int)len, text);
		text += len;
	}
	fputc('\n', out);
}

static const char *state_colour(enum check_state state)
{
	switch (state) {
	case CHECK_OK:
		return "\033[32m"; /* green */
	case CHECK_SLOW:
	case CHECK_MISSING:
		return "\033[33m"; /* yellow */
	case CHECK_CANNOT_RUN:
		return "\033[31m"; /* red */
	default:
		return "\033[2m"; /* faint */
	}
}

static void print_note(FILE *out, const char *name, const char *text, unsigned int width)
{
	if (!text)
		return;
	fprintf(out, "%*s%-*s", STATE_COLUMN, "", NOTE_COLUMN - STATE_COLUMN, name);
	print_wrapped(out, text, NOTE_COLUMN, width);
}

static void print_row(const struct check_row *row, FILE *out, unsigned int width, bool colour)
{
	const struct check_result *result = &row->result;

	fprintf(out, "%*s%-*s", TITLE_COLUMN, "", STATE_COLUMN - TITLE_COLUMN, row->check->title);
	fprintf(out, "%s%-*s%s", colour ? state_colour(result->state) : "",
		FOUND_COLUMN - STATE_COLUMN, check_state_name(result->state),
		colour ? "\033[0m" : "");
	print_wrapped(out, result->found, FOUND_COLUMN, width);
	print_note(out, "costs:", result->cost, width);
	print_note(out, "to do:", result->advice, width);
}

void report_print(const struct report *report, FILE *out, unsigned int width, bool colour)
{
	const char *group = "";

	for (size_t i = 0; i < report->count; i++) {
		const struct check_row *row = &report->rows[i];

		if (strcmp(row->group, group) != 0)
			fprintf(out, "%s%s%s%s\n", i ? "\n" : "", colour ? "\033[1m" : "",
				row->group, colour ? "\033[0m" : "");
		group = row->group;
		print_row(row, out, width, colour);
	}
	fprintf(out, "\n%s%s%s\n", colour ? "\033[1m" : "", report->verdict,
		colour ? "\033[0m" : "");
}
