/* The commands of `live`: a line each, words separated by single spaces. */
#include "tests/live/live.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "virtio/virtio_balloon.h"

struct command {
	const char *name;
	int (*run)(struct machine *machine, char *const *words, char *text, size_t size,
		   struct error *err);
};

#define WORDS_MAX 8

/* A word that is not there is an empty one. */
static uint32_t number(const char *word)
{
	return (uint32_t)strtoul(word, NULL, 10);
}

/* balloon-target MIB */
static int balloon_target(struct machine *machine, char *const *words, char *text, size_t size,
			  struct error *err)
{
	(void)text, (void)size;
	return virtio_balloon_set_target(machine_balloon(machine), number(words[1]), err);
}

/* balloon-interval SECONDS */
static int balloon_interval(struct machine *machine, char *const *words, char *text, size_t size,
			    struct error *err)
{
	(void)text, (void)size;
	return virtio_balloon_set_stats_interval(machine_balloon(machine),
						 (uint16_t)number(words[1]), err);
}

/* balloon-stats: NAME=VALUE of all that the guest has said */
static int balloon_stats(struct machine *machine, char *const *words, char *text, size_t size,
			 struct error *err)
{
	struct virtio_balloon_stats stats;
	int ret = virtio_balloon_get_stats(machine_balloon(machine), &stats, err);
	size_t used;

	(void)words;
	if (ret < 0)
		return ret;
	used = (size_t)snprintf(text, size, "target=%u actual=%u", stats.target_pages,
				stats.actual_pages);
	for (unsigned int tag = 0; tag < VIRTIO_BALLOON_TAGS; tag++)
		if (stats.present & 1u << tag && used < size)
			used += (size_t)snprintf(text + used, size - used, " %s=%lu",
						 virtio_balloon_stat_name(tag), stats.values[tag]);
	return 0;
}

/* hinting-start on|off: acknowledge the end of the guest's list, or not */
static int hinting_start(struct machine *machine, char *const *words, char *text, size_t size,
			 struct error *err)
{
	(void)text, (void)size;
	return virtio_balloon_hinting_start(machine_balloon(machine), strcmp(words[1], "on") == 0,
					    err);
}

static int hinting_stop(struct machine *machine, char *const *words, char *text, size_t size,
			struct error *err)
{
	(void)words, (void)text, (void)size;
	return virtio_balloon_hinting_stop(machine_balloon(machine), err);
}

static int hinting_status(struct machine *machine, char *const *words, char *text, size_t size,
			  struct error *err)
{
	struct virtio_balloon_hinting hinting;
	int ret = virtio_balloon_hinting_status(machine_balloon(machine), &hinting, err);

	(void)words;
	if (ret == 0)
		snprintf(text, size, "host=%u guest=%d", hinting.host_cmd,
			 hinting.has_guest_cmd ? (int)hinting.guest_cmd : -1);
	return ret;
}

static const struct command commands[] = {
	{ "balloon-target", balloon_target }, { "balloon-interval", balloon_interval },
	{ "balloon-stats", balloon_stats },   { "hinting-start", hinting_start },
	{ "hinting-stop", hinting_stop },     { "hinting-status", hinting_status },
};

int live_command(struct machine *machine, char *line, char *text, size_t size, struct error *err)
{
	static char none[] = "";
	char *words[WORDS_MAX], *rest = line;

	for (size_t i = 0; i < WORDS_MAX; i++) {
		words[i] = strsep(&rest, " ");
		if (!words[i])
			words[i] = none;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(words[0], commands[i].name) == 0)
			return commands[i].run(machine, words, text, size, err);
	return error_set(err, EINVAL, "no such command: %s", words[0]);
}
