/* Metrics as Prometheus reads them: totals, the samples of a name together. */
#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"

struct sample {
	char name[100]; /* mayfly_block_read_bytes_total */
	char label[100];
	uint64_t value;
	bool is_level;
	unsigned int order; /* as walked: sorting keeps it */
};

struct samples {
	struct sample *at;
	unsigned int count, size;
	bool failed;
};

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
				   .is_level = metric->is_level,
				   .order = samples->count++ };
	snprintf(sample->name, sizeof(sample->name), "mayfly_%s_%s%s", metric->family, metric->name,
		 metric->is_level ? "" : "_total");
	/* Names have letters, digits and underscores: nothing to escape. */
	if (metric->instance)
		snprintf(sample->label, sizeof(sample->label), "{id=\"%.64s\"}", metric->instance);
}

static int compare(const void *a, const void *b)
{
	const struct sample *one = a, *other = b;
	int names = strcmp(one->name, other->name);

	return names ? names : one->order < other->order ? -1 : 1;
}

static void print(FILE *out, const struct samples *samples)
{
	for (unsigned int i = 0; i < samples->count; i++) {
		const struct sample *sample = &samples->at[i];

		if (i == 0 || strcmp(sample->name, sample[-1].name) != 0)
			fprintf(out, "# HELP %s %s.\n# TYPE %s %s\n", sample->name,
				sample->is_level ? "As it is now" : "Counted since the start",
				sample->name, sample->is_level ? "gauge" : "counter");
		fprintf(out, "%s%s %lu\n", sample->name, sample->label, sample->value);
	}
}

char *metrics_text(struct controller *controller)
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
		print(out, &samples);
		if (fclose(out) != 0) {
			free(text);
			text = NULL;
		}
	}
	free(samples.at);
	return text;
}
