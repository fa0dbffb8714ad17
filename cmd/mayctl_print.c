/* Values for people. */
#include <string.h>

#include "cmd/mayctl.h"

#define CELL_MAX 200
#define COLUMNS_MAX 16

/* One value -------------------------------------------------------------------------------------*/

static bool ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), end_len = strlen(end);

	return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

static void format_bytes(double bytes, char *out, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t unit = 0;

	while (bytes >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		bytes /= 1024;
		unit++;
	}
	snprintf(out, size, bytes < 10 && unit > 0 ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static void format_time(double ns, char *out, size_t size)
{
	if (ns < 1e3)
		snprintf(out, size, "%.0f ns", ns);
	else if (ns < 1e6)
		snprintf(out, size, "%.1f us", ns / 1e3);
	else if (ns < 1e9)
		snprintf(out, size, "%.1f ms", ns / 1e6);
	else if (ns < 120e9)
		snprintf(out, size, "%.1f s", ns / 1e9);
	else if (ns < 7200e9)
		snprintf(out, size, "%.0f min %02.0f s", (double)(long)(ns / 60e9),
			 (double)((long)(ns / 1e9) % 60));
	else
		snprintf(out, size, "%.0f h %02.0f min", (double)(long)(ns / 3600e9),
			 (double)((long)(ns / 60e9) % 60));
}

static const struct {
	const char *ending;
	double factor;
	void (*format)(double value, char *out, size_t size);
} units[] = {
	{ "_ns", 1, format_time },	     { "_us", 1e3, format_time },
	{ "_ms", 1e6, format_time },	     { "refill_time", 1e6, format_time },
	{ "_interval_s", 1e9, format_time }, { "_mib", MIB(1), format_bytes },
	{ "_bytes", 1, format_bytes },	     { "_memory", 1, format_bytes },
	{ "disk_caches", 1, format_bytes },  { "swap_in", 1, format_bytes },
	{ "swap_out", 1, format_bytes },
};

/* "1.5 GiB", "12 ms" of a value by the name of its field; the number alone when that tells no unit. */
static void format_number(const char *name, const json_t *value, char *out, size_t size)
{
	double number = json_number_value(value);

	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (ends_with(name, units[i].ending)) {
			units[i].format(number * units[i].factor, out, size);
			return;
		}
	if (json_is_integer(value))
		snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else
		snprintf(out, size, "%.1f", number);
}

static void format_value(const char *name, const json_t *value, char *out, size_t size)
{
	char *text;

	switch (json_typeof(value)) {
	case JSON_NULL:
		snprintf(out, size, "-");
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(out, size, json_is_true(value) ? "yes" : "no");
		break;
	case JSON_STRING:
		snprintf(out, size, "%s", json_string_value(value));
		break;
	case JSON_INTEGER:
	case JSON_REAL:
		format_number(name, value, out, size);
		break;
	default:
		text = json_dumps(value, JSON_COMPACT);
		snprintf(out, size, "%s", text ? text : "");
		free(text);
	}
}

/* A list of maps is a table ---------------------------------------------------------------------*/

static bool is_table(const json_t *value)
{
	size_t i;
	json_t *row;

	if (!json_is_array(value) || json_array_size(value) == 0)
		return false;
	json_array_foreach(value, i, row) if (!json_is_object(row)) return false;
	return true;
}

struct column {
	const char *name;
	char title[40]; /* the name, without a unit that each value has */
	int width;
	bool is_number; /* in every row */
};

static void set_title(struct column *column)
{
	static const char *const endings[] = { "_ns", "_bytes" };

	snprintf(column->title, sizeof(column->title), "%s", column->name);
	for (size_t i = 0; i < ARRAY_SIZE(endings); i++)
		if (ends_with(column->title, endings[i]))
			column->title[strlen(column->title) - strlen(endings[i])] = '\0';
	column->width = (int)strlen(column->title);
}

/* The first row has the columns. */
static unsigned int find_columns(const json_t *rows, struct column *columns)
{
	json_t *first = json_array_get(rows, 0), *value, *row;
	unsigned int count = 0;
	char cell[CELL_MAX];
	const char *name;
	size_t i;

	json_object_foreach(first, name, value)
	{
		struct column *column = &columns[count];

		if (count++ == COLUMNS_MAX)
			return COLUMNS_MAX;
		*column = (struct column){ .name = name, .is_number = true };
		set_title(column);
		json_array_foreach(rows, i, row)
		{
			const json_t *item = json_object_get(row, name);

			format_value(name, item ? item : json_null(), cell, sizeof(cell));
			if ((int)strlen(cell) > column->width)
				column->width = (int)strlen(cell);
			column->is_number &= json_is_number(item) || json_is_null(item);
		}
	}
	return count;
}

/* What comes from a guest or another's process does not steer a terminal, nor break a line. */
static void make_plain(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
}

static void print_cell(const struct column *column, char *text, bool is_last, FILE *out)
{
	make_plain(text);
	if (column->is_number)
		fprintf(out, "%*s", column->width, text);
	else
		fprintf(out, "%-*s", is_last ? 0 : column->width, text);
	fputs(is_last ? "\n" : "  ", out);
}

static void print_table(const json_t *rows, int indent, FILE *out)
{
	struct column columns[COLUMNS_MAX];
	unsigned int count = find_columns(rows, columns);
	char cell[CELL_MAX];
	size_t i;
	json_t *row;

	fprintf(out, "%*s", indent, "");
	for (unsigned int c = 0; c < count; c++)
		print_cell(&columns[c], columns[c].title, c + 1 == count, out);
	json_array_foreach(rows, i, row)
	{
		fprintf(out, "%*s", indent, "");
		for (unsigned int c = 0; c < count; c++) {
			const json_t *item = json_object_get(row, columns[c].name);

			format_value(columns[c].name, item ? item : json_null(), cell,
				     sizeof(cell));
			print_cell(&columns[c], cell, c + 1 == count, out);
		}
	}
}

/* A map is lines --------------------------------------------------------------------------------*/

static void print_map(const json_t *map, int indent, FILE *out)
{
	int width = 0;
	char text[2048];
	const char *name;
	json_t *value, *members = json_incref((json_t *)(uintptr_t)map);

	json_object_foreach(members, name, value) if ((int)strlen(name) > width)
		width = (int)strlen(name);
	json_object_foreach(members, name, value)
	{
		if (is_table(value) || (json_is_object(value) && json_object_size(value) > 0)) {
			fprintf(out, "%*s%s\n", indent, "", name);
			if (json_is_object(value))
				print_map(value, indent + 2, out);
			else
				print_table(value, indent + 2, out);
			continue;
		}
		if (json_is_array(value) && json_array_size(value) == 0)
			snprintf(text, sizeof(text), "-");
		else
			format_value(name, value, text, sizeof(text));
		fprintf(out, "%*s%-*s  %s\n", indent, "", width, name, text);
	}
	json_decref(members);
}

void ctl_print(const json_t *value, FILE *out)
{
	char text[2048];

	if (json_is_null(value))
		return;
	if (json_is_string(value)) {
		const char *string = json_string_value(value);

		fprintf(out, "%s%s", string, ends_with(string, "\n") ? "" : "\n");
	} else if (json_is_object(value)) {
		print_map(value, 0, out);
	} else if (is_table(value)) {
		print_table(value, 0, out);
	} else {
		format_value("", value, text, sizeof(text));
		fprintf(out, "%s\n", text);
	}
}

void ctl_print_result(const struct ctl *ctl, const json_t *value)
{
	if (!ctl->json) {
		ctl_print(value, stdout);
	} else if (!json_is_null(value)) {
		json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
		putchar('\n');
	}
	fflush(stdout);
}
