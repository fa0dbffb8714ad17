/* PUT /metrics, and GET /metrics/prometheus, which is ours. */
#include "api-socket/methods.h"

static const struct field fields[] = {
	FIELD(struct metrics_request, metrics_path, FIELD_FILE, FIELD_REQUIRED,
	      .expected = "path string", .help = "a file or named pipe"),
	FIELD(struct metrics_request, emit_id, FIELD_BOOL, FIELD_DEFAULTED,
	      .help = "say in each line whose it is"),
	FIELD(struct metrics_request, properties, FIELD_NAMES, FIELD_DEFAULTED,
	      .help = "texts by name, which are repeated in each line"),
};

static const struct field_set metrics_fields = FIELD_SET("MetricsConfig", struct metrics_request,
							 fields, .lenient = true);

#define METRICS_ERROR "Metrics error: Cannot initialize the metrics system due to bad user input: "

static int put_metrics(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	const struct metrics_request *metrics = request->data;
	struct error err;

	if (controller->metrics.fd >= 0)
		return reply_refuse(reply,
				    METRICS_ERROR "Reinitialization of metrics not allowed.");
	if (metrics_open(controller, &metrics->metrics_path, &err) < 0)
		return reply_refuse(reply, METRICS_ERROR "%s", err.text);
	controller->metrics.emit_id = metrics->emit_id.value;
	controller->metrics.properties = metrics->properties;
	return kept_take(&controller->metrics_request, &metrics_fields, request, &reply->err);
}

static int get_text(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	const bool is_classic = request->wants_plain_text;
	cleanup_free char *text = metrics_text(controller,
					       is_classic ? METRICS_CLASSIC : METRICS_OPEN);

	reply->text_type = is_classic
				   ? "text/plain; version=0.0.4; charset=utf-8"
				   : "application/openmetrics-text; version=1.0.0; charset=utf-8";
	return reply_with(reply, text ? json_string(text) : NULL);
}

static const struct method methods[] = {
	{
		.name = "metrics.put",
		.metric = "metrics",
		.verb = API_PUT,
		.path = "metrics",
		.phases = PHASES_BEFORE,
		.fields = &metrics_fields,
		.handle = put_metrics,
		.help = "Writes metrics to a file or pipe, a line of JSON each minute",
	},
	{
		.name = "metrics.prometheus",
		.verb = API_GET,
		.path = "metrics/prometheus",
		.phases = PHASES_ALL,
		.handle = get_text,
		.help = "Metrics as OpenMetrics text, for Prometheus",
	},
};

const struct method_group metrics_methods = METHOD_GROUP(methods);
