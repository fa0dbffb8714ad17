/*
 * The last line of a process that dies of a signal where it stands: what Firecracker's last line says of that, and no more,
 * for whatever was being counted may be half done. Async-signal-safe: no allocation, no stream, no lock.
 */
#include <signal.h>
#include <string.h>

#include "api-socket/controller_priv.h"
#include "base/clock.h"

struct text {
	char bytes[512];
	size_t len;
};

static void add(struct text *text, const char *more)
{
	while (*more && text->len < sizeof(text->bytes))
		text->bytes[text->len++] = *more++;
}

static void add_number(struct text *text, uint64_t number)
{
	char digits[24], *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do
		*--at = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	add(text, at);
}

static void add_flag(struct text *text, const char *before, const char *name, bool value)
{
	add(text, before);
	add(text, "\"");
	add(text, name);
	add(text, value ? "\":1" : "\":0");
}

void controller_tell_crash(const struct controller *controller, int signal)
{
	const struct metrics_sink *sink = &controller->metrics;
	struct text text = { .len = 0 };

	if (sink->fd < 0)
		return;
	add(&text, sink->rest_len ? "\n{\"utc_timestamp_ms\":" : "{\"utc_timestamp_ms\":");
	add_number(&text, clock_now_ns(CLOCK_REALTIME) / 1000000);
	if (sink->emit_id) {
		add(&text, ",\"id\":\"");
		add(&text, controller->id);
		add(&text, "\"");
	}
	add_flag(&text, ",\"seccomp\":{", "num_faults", signal == SIGSYS);
	for (size_t i = 0; metrics_signals[i].name; i++)
		add_flag(&text, i ? "," : "},\"signals\":{", metrics_signals[i].name,
			 signal == metrics_signals[i].number);
	add_flag(&text, "},\"vmm\":{", "panic_count", signal == SIGABRT);
	add(&text, "}}\n");
	if (write(sink->fd, text.bytes, text.len) < 0)
		return;
}
