/* How far a save is, while its answer is waited for. */
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "cmd/mayctl.h"
#include "cmd/progress_line.h"

static const struct {
	const char *step, *what;
} steps[] = {
	{ "fetch", "fetching memory" },
	{ "copy", "copying what is there" },
	{ "memory", "writing memory" },
	{ "sync", "waiting for the disk" },
};

static void show(struct progress_line *line, const char *name, const json_t *details)
{
	const char *step = json_string_value(json_object_get(details, "step"));

	if (strcmp(name, event_names[EVENT_SNAPSHOT_PROGRESS]) != 0 || !step)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		if (strcmp(step, steps[i].step) == 0)
			progress_line_show(line, steps[i].what,
					   (uint64_t)json_integer_value(
						   json_object_get(details, "done_bytes")),
					   (uint64_t)json_integer_value(
						   json_object_get(details, "total_bytes")));
}

/* Those that are there; -ETIMEDOUT: more may come. */
static int show_events(struct ctl *ctl, struct progress_line *line)
{
	json_t *details;
	char *name;
	int ret;

	while ((ret = mayfly_client_event(ctl->client, 0, &name, &details)) == 0) {
		show(line, name, details);
		json_decref(details);
		free(name);
	}
	return ret;
}

static uint64_t now_ms(void)
{
	return clock_now_ns(CLOCK_MONOTONIC) / 1000000;
}

static int left(uint64_t deadline)
{
	const uint64_t now = now_ms();

	return deadline == UINT64_MAX ? -1 : deadline > now ? (int)(deadline - now) : 0;
}

/* A microVM that is older than the event refuses; then there is no progress to show. */
bool ctl_progress_begin(struct ctl *ctl, const struct method *method, struct progress_line *line)
{
	json_t *kinds;
	int ret;

	progress_line_init(line, ctl->progress);
	if (ctl->json && !ctl->progress)
		line->wanted = false;
	if (!line->wanted || strcmp(method->name, "snapshot.create") != 0)
		return false;
	kinds = json_pack("{s:[s]}", "events", event_names[EVENT_SNAPSHOT_PROGRESS]);
	ret = mayfly_client_call(ctl->client, "events.subscribe", kinds, NULL);
	json_decref(kinds);
	return ret == 0;
}

void ctl_progress_follow(struct ctl *ctl, uint32_t id, struct progress_line *line)
{
	const uint64_t deadline = ctl->timeout_ms < 0 ? UINT64_MAX
						      : now_ms() + (uint64_t)ctl->timeout_ms;
	struct pollfd more = { .fd = mayfly_client_fd(ctl->client), .events = POLLIN };

	while (show_events(ctl, line) == -ETIMEDOUT && !mayfly_client_answered(ctl->client, id) &&
	       poll(&more, 1, left(deadline)) > 0)
		;
	progress_line_clear(line);
	/* Whatever else it was, mayfly_client_receive() tells: it has what is left of the time. */
	if (deadline != UINT64_MAX)
		(void)mayfly_client_set_timeout(ctl->client, (unsigned int)MAX(1, left(deadline)));
}
