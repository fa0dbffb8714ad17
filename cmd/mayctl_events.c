/* What happens to a microVM, as it happens. */
#include <string.h>

#include "cmd/mayctl.h"

static json_t *kinds_of(int argc, char **argv)
{
	json_t *kinds = json_array();

	for (int i = 0; i < argc; i++)
		json_array_append_new(kinds, json_string(argv[i]));
	for (int i = 0; argc == 0 && event_names[i]; i++)
		json_array_append_new(kinds, json_string(event_names[i]));
	return json_pack("{s:o}", "events", kinds);
}

/* A line each: for people and for programs. */
static void print_event(const struct ctl *ctl, const char *name, json_t *details)
{
	char *text = json_dumps(details, JSON_COMPACT);

	if (ctl->json)
		printf("{\"event\":\"%s\",\"details\":%s}\n", name, text ? text : "null");
	else
		printf("%-18s  %s\n", name, text ? text : "");
	fflush(stdout);
	free(text);
}

/* Prints events until `count` have come; the process' end is not a failure where there is no such count. */
static int follow(struct ctl *ctl, unsigned int count)
{
	for (unsigned int i = 0; count == 0 || i < count; i++) {
		json_t *details = NULL;
		char *name = NULL;
		int ret = mayfly_client_event(ctl->client, ctl->timeout_ms, &name, &details);

		if (ret < 0 && count == 0 && ret == -ECONNRESET)
			return CTL_OK;
		if (ret < 0)
			return ctl_fail_call(ctl, ret);
		print_event(ctl, name, details);
		json_decref(details);
		free(name);
	}
	return CTL_OK;
}

static int subscribe(struct ctl *ctl, int argc, char **argv, unsigned int count)
{
	json_t *kinds = kinds_of(argc, argv);
	int ret = mayfly_client_call(ctl->client, "events.subscribe", kinds, NULL);

	json_decref(kinds);
	return ret < 0 ? ctl_fail_call(ctl, ret) : follow(ctl, count);
}

int ctl_events_command(struct ctl *ctl, int argc, char **argv)
{
	return subscribe(ctl, argc, argv, 0);
}

int ctl_wait_command(struct ctl *ctl, int argc, char **argv)
{
	if (argc == 0)
		return ctl_fail(CTL_BAD_ARGUMENTS, "wait for which event? See mayctl help wait");
	return subscribe(ctl, argc, argv, 1);
}
