/*
 * Metrics as Prometheus reads them: totals, the samples of a name together. In OpenMetrics a counter is called as its
 * samples are without their "_total"; in the older text form, as they are. Times are in seconds in both.
 */
#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"

struct sample {
	char family[100]; /* mayfly_block_read_bytes */
	char label[100];
	uint64_t value;
	bool is_level, is_time;
	unsigned int order; /* as walked: sorting keeps it */
};

struct samples {
	struct sample *at;
	unsigned int count, size;
	bool failed;
};

static bool ends_in(const char *text, const char *end)
{
	const size_t len = strlen(text), end_len = strlen(end);

	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* Firecracker's names of times say that they are in us, the group's or their own. */
static bool says_us(const struct metric *metric)
{
	return ends_in(metric->family, "_us") || ends_in(metric->name, "_us");
}

static int length_without_us(const char *name)
{
	return (int)strlen(name) - (ends_in(name, "_us") ? 3 : 0);
}

static void name_family(struct sample *sample, const struct metric *metric)
{
	snprintf(sample->family, sizeof(sample->family), "mayfly_%.*s_%s%s%.*s%s",
		 length_without_us(metric->family), metric->family,
		 metric->group ? metric->group : "", metric->group ? "_" : "",
		 length_without_us(metric->name), metric->name, sample->is_time ? "_seconds" : "");
}

static void visit(void *opaque, const struct metric *metric)
{
	struct samples *samples = opaque;
	struct sample *sample;

	if (samples->count == samples->size) {
		unsigned int size = samples->size ? samples->size * 2 : 256;
		struct sample *bigger = realloc(samples->at, size * sizeof(*bigger));

		samples->failed |= !bigger;
		if (!bigger)
			return;
		samples->at = bigger;
		samples->size = size;
	}
	sample = &samples->at[samples->count];
	*sample = (struct sample){ .value = metric->value,
				   .is_level = metric->kind != METRIC_COUNT,
				   .is_time = says_us(metric),
				   .order = samples->count++ };
	name_family(sample, metric);
	/* Names have letters, digits, underscores and hyphens: nothing to escape. */
	if (metric->instance)
		snprintf(sample->label, sizeof(sample->label), "{id=\"%.64s\"}", metric->instance);
}

static int compare(const void *a, const void *b)
{
	const struct sample *one = a, *other = b;
	int names = strcmp(one->family, other->family);

	return names ? names : one->order < other->order ? -1 : 1;
}

static void print_head(FILE *out, const struct sample *sample, enum metrics_form form)
{
	const char *suffix = form == METRICS_CLASSIC && !sample->is_level ? "_total" : "";
	const char *family = sample->family;

	fprintf(out, "# TYPE %s%s %s\n", family, suffix, sample->is_level ? "gauge" : "counter");
	if (form == METRICS_OPEN && sample->is_time)
		fprintf(out, "# UNIT %s seconds\n", family);
	else if (form == METRICS_OPEN && ends_in(family, "_bytes"))
		fprintf(out, "# UNIT %s bytes\n", family);
	fprintf(out, "# HELP %s%s %s.\n", family, suffix,
		sample->is_level ? "As it is now" : "Counted since the start");
}

static void print(FILE *out, const struct samples *samples, enum metrics_form form)
{
	for (unsigned int i = 0; i < samples->count; i++) {
		const struct sample *sample = &samples->at[i];

		if (i == 0 || strcmp(sample->family, sample[-1].family) != 0)
			print_head(out, sample, form);
		fprintf(out, "%s%s%s ", sample->family, sample->is_level ? "" : "_total",
			sample->label);
		if (sample->is_time)
			fprintf(out, "%lu.%06lu\n", sample->value / 1000000,
				sample->value % 1000000);
		else
			fprintf(out, "%lu\n", sample->value);
	}
	if (form == METRICS_OPEN)
		fprintf(out, "# EOF\n");
}

char *metrics_text(struct controller *controller, enum metrics_form form)
{
	struct samples samples = { 0 };
	char *text = NULL;
	size_t len;
	FILE *out;

	metrics_walk(controller, visit, &samples);
	if (samples.count)
		qsort(samples.at, samples.count, sizeof(*samples.at), compare);
	out = samples.failed ? NULL : open_memstream(&text, &len);
	if (out) {
		print(out, &samples, form);
		if (fclose(out) != 0) {
			free(text);
			text = NULL;
		}
	}
	free(samples.at);
	return text;
}
