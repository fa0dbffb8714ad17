/* mayctl trace: how a microVM came to run, drawn. */
#include <stdlib.h>
#include <string.h>

#include "cmd/mayctl.h"

#define BAR_WIDTH 50
#define SVG_LEFT 220
#define SVG_WIDTH 600
#define SVG_ROW 26

/* From one moment to the next. */
struct stretch {
	const char *name; /* of the moment that it leads to */
	double from_ms, to_ms;
};

#define STRETCHES_MAX 32u

/* Where a client asked for it, what was before is that client's time. */
static size_t first_moment(const json_t *moments)
{
	json_t *item;
	size_t i;

	json_array_foreach(moments, i, item)
	{
		const char *name = json_string_value(json_object_get(item, "moment"));

		if (name && strcmp(name, "start asked for") == 0)
			return i;
	}
	return 0;
}

static double at_ms(const json_t *moments, size_t index)
{
	return json_number_value(json_object_get(json_array_get(moments, index), "at_ns")) / 1e6;
}

static unsigned int stretches_of(const json_t *moments, struct stretch *out)
{
	size_t first = first_moment(moments);
	double begin = at_ms(moments, first);
	unsigned int count = 0;

	for (size_t i = first + 1; i < json_array_size(moments) && count < STRETCHES_MAX; i++) {
		const char *name =
			json_string_value(json_object_get(json_array_get(moments, i), "moment"));

		if (name)
			out[count++] = (struct stretch){ name, at_ms(moments, i - 1) - begin,
							 at_ms(moments, i) - begin };
	}
	return count;
}

static void draw_bar(const struct stretch *stretch, double all_ms)
{
	int from = (int)(stretch->from_ms / all_ms * BAR_WIDTH);
	int to = (int)(stretch->to_ms / all_ms * BAR_WIDTH);

	for (int i = 0; i < BAR_WIDTH; i++)
		fputs(i == from || (i > from && i < to) ? "\u2588" : "\u00b7", stdout);
}

static void draw_text(const struct stretch *stretches, unsigned int count)
{
	double all_ms = stretches[count - 1].to_ms > 0 ? stretches[count - 1].to_ms : 1;

	for (unsigned int i = 0; i < count; i++) {
		printf("%-26s %10.3f ms  ", stretches[i].name,
		       stretches[i].to_ms - stretches[i].from_ms);
		draw_bar(&stretches[i], all_ms);
		printf(" %.3f\n", stretches[i].to_ms);
	}
}

/* Its names are the peer's. */
static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++)
		if (*text == '<')
			fputs("&lt;", out);
		else if (*text == '>')
			fputs("&gt;", out);
		else if (*text == '&')
			fputs("&amp;", out);
		else
			fputc((unsigned char)*text < 0x20 ? '?' : *text, out);
}

static void draw_svg(FILE *out, const char *id, const struct stretch *stretches, unsigned int count)
{
	double all_ms = stretches[count - 1].to_ms > 0 ? stretches[count - 1].to_ms : 1;

	fprintf(out,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%u\" "
		"font-family=\"sans-serif\" font-size=\"13\">\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		"<text x=\"12\" y=\"22\" font-weight=\"bold\">",
		SVG_LEFT + SVG_WIDTH + 120, (count + 2) * SVG_ROW);
	put_escaped(out, id ? id : "?");
	fprintf(out, ": %.3f ms</text>\n", all_ms);
	for (unsigned int i = 0; i < count; i++) {
		double from = SVG_LEFT + stretches[i].from_ms / all_ms * SVG_WIDTH;
		double width = (stretches[i].to_ms - stretches[i].from_ms) / all_ms * SVG_WIDTH;
		unsigned int y = (i + 1) * SVG_ROW + 8;

		fprintf(out, "<text x=\"12\" y=\"%u\">", y + 14);
		put_escaped(out, stretches[i].name);
		fprintf(out,
			"</text><rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%d\" fill=\"#3a7ca5\"/>"
			"<text x=\"%.2f\" y=\"%u\" fill=\"#555\">%.3f ms</text>\n",
			from, y, width > 1 ? width : 1, SVG_ROW - 8, from + width + 6, y + 14,
			stretches[i].to_ms - stretches[i].from_ms);
	}
	fprintf(out, "</svg>\n");
}

static int write_svg(const char *path, const char *id, const struct stretch *stretches,
		     unsigned int count)
{
	FILE *out = fopen(path, "we");
	bool is_bad;

	if (!out)
		return ctl_fail(CTL_BAD_ARGUMENTS, "%s: %s", path, strerrordesc_np(errno));
	draw_svg(out, id, stretches, count);
	is_bad = ferror(out) != 0;
	return fclose(out) != 0 || is_bad ? ctl_fail(CTL_REFUSED, "%s: cannot be written", path)
					  : CTL_OK;
}

int ctl_trace_command(struct ctl *ctl, int argc, char **argv)
{
	struct stretch stretches[STRETCHES_MAX];
	const char *svg = argc == 2 && strcmp(argv[0], "--svg") == 0 ? argv[1] : NULL;
	json_t *trace = NULL;
	int ret, status = CTL_OK;
	unsigned int count;

	if (argc > 0 && !svg)
		return ctl_fail(CTL_BAD_ARGUMENTS, "trace [VM] [--svg FILE]");
	ret = mayfly_client_call(ctl->client, "vm.trace", NULL, &trace);
	if (ret < 0)
		return ctl_fail_call(ctl, ret);
	count = stretches_of(json_object_get(trace, "moments"), stretches);
	if (count == 0 && (!ctl->json || svg))
		status = ctl_fail(CTL_REFUSED, "it has not started");
	if (ctl->json)
		ctl_print_result(ctl, trace);
	else if (count > 0 && !svg)
		draw_text(stretches, count);
	if (count > 0 && svg)
		status = write_svg(svg, json_string_value(json_object_get(trace, "id")), stretches,
				   count);
	json_decref(trace);
	return status;
}
