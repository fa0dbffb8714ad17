#include "cmd/mayctl_fleet.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api-socket/client.h"
#include "base/clock.h"

#define PATIENCE_MS 1000u

/* Finding ---------------------------------------------------------------------------------------*/

static bool is_named_so(const char *path)
{
	static const char *const endings[] = { ".sock", ".socket" };
	size_t len = strlen(path);

	for (size_t i = 0; i < ARRAY_SIZE(endings); i++) {
		size_t end = strlen(endings[i]);

		if (len > end && strcmp(path + len - end, endings[i]) == 0)
			return true;
	}
	return false;
}

static int add(struct fleet *fleet, const char *path)
{
	char **more;

	if (fleet->count == FLEET_MAX)
		return 0;
	more = reallocarray(fleet->paths, fleet->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	fleet->paths = more;
	more[fleet->count] = strdup(path);
	if (!more[fleet->count])
		return -ENOMEM;
	fleet->count++;
	return 0;
}

static int look_at(struct fleet *fleet, const char *path, unsigned int depth);

/* A folder that cannot be read has no sockets that we could use. */
static int look_into(struct fleet *fleet, const char *dir, unsigned int depth)
{
	DIR *folder = opendir(dir);
	struct dirent *entry;
	char path[PATH_MAX];
	int ret = 0;

	while (folder && ret == 0 && (entry = readdir(folder))) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name) < (int)sizeof(path))
			ret = look_at(fleet, path, depth);
	}
	if (folder)
		closedir(folder);
	return ret;
}

static int look_at(struct fleet *fleet, const char *path, unsigned int depth)
{
	struct stat info;

	if (lstat(path, &info) < 0)
		return 0;
	if (S_ISDIR(info.st_mode))
		return depth < FLEET_DEPTH_MAX ? look_into(fleet, path, depth + 1) : 0;
	return S_ISSOCK(info.st_mode) && is_named_so(path) ? add(fleet, path) : 0;
}

static int compare_paths(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int fleet_find(struct fleet *fleet, const char *dir, struct error *err)
{
	struct stat info;
	int ret;

	*fleet = (struct fleet){ 0 };
	if (stat(dir, &info) < 0)
		return error_set_errno(err, errno, "%s", dir);
	ret = S_ISDIR(info.st_mode) ? look_into(fleet, dir, 0) : add(fleet, dir);
	if (ret < 0) {
		fleet_free(fleet);
		return error_set(err, ENOMEM, "out of memory");
	}
	if (fleet->count > 0)
		qsort(fleet->paths, fleet->count, sizeof(*fleet->paths), compare_paths);
	return 0;
}

void fleet_free(struct fleet *fleet)
{
	for (unsigned int i = 0; i < fleet->count; i++)
		free(fleet->paths[i]);
	free(fleet->paths);
	*fleet = (struct fleet){ 0 };
}

/* Asking ----------------------------------------------------------------------------------------*/

struct asked {
	struct mayfly_client *client;
	uint32_t id;
	int code; /* of what went wrong so far */
};

/* At least 1: no time at all would be all the time that it takes. deadline: CLOCK_MONOTONIC ns. */
static unsigned int left_ms(uint64_t deadline)
{
	uint64_t now = clock_now_ns(CLOCK_MONOTONIC);

	return now + 1000000 < deadline ? (unsigned int)((deadline - now) / 1000000) : 1;
}

/* A full queue of connections takes no longer than an answer that does not come. */
static void ask(struct asked *asked, const char *path, uint64_t deadline)
{
	asked->code = mayfly_client_open_within(&asked->client, path, left_ms(deadline));
	if (asked->code == 0)
		asked->code = mayfly_client_send(asked->client, "vm.stats", NULL, NULL, 0,
						 &asked->id);
}

static const char *trouble(int code)
{
	switch (code) {
	case -ETIMEDOUT:
	case -EAGAIN:
		return "no answer";
	case -ECONNREFUSED:
	case -ENOENT:
		return "dead";
	case -EACCES:
	case -EPERM:
		return "no access";
	default:
		return "no API";
	}
}

/* A path is any bytes, a text of JSON is not. */
static json_t *label(const char *path)
{
	json_t *text = json_string(path);
	cleanup_free char *readable = text ? NULL : strdup(path);

	for (char *at = readable; at && *at; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	return text ? text : json_string(readable ? readable : "?");
}

static json_t *hear(struct asked *asked, const char *path, uint64_t deadline)
{
	json_t *stats = NULL;

	if (asked->code == 0)
		asked->code = mayfly_client_set_timeout(asked->client, left_ms(deadline));
	if (asked->code == 0)
		asked->code = mayfly_client_receive(asked->client, asked->id, &stats);
	mayfly_client_close(asked->client);
	if (asked->code == 0 && json_is_object(stats)) {
		json_object_set_new(stats, "socket", label(path));
		return stats;
	}
	json_decref(stats);
	return json_pack("{s:s, s:o}", "state", trouble(asked->code), "socket", label(path));
}

json_t *fleet_sample(const struct fleet *fleet)
{
	uint64_t deadline = clock_now_ns(CLOCK_MONOTONIC) + PATIENCE_MS * UINT64_C(1000000);
	struct asked *asked = calloc(fleet->count + 1, sizeof(*asked));
	json_t *list = asked ? json_array() : NULL;

	for (unsigned int i = 0; list && i < fleet->count; i++)
		ask(&asked[i], fleet->paths[i], deadline);
	for (unsigned int i = 0; list && i < fleet->count; i++)
		json_array_append_new(list, hear(&asked[i], fleet->paths[i], deadline));
	free(asked);
	return list;
}

/* Comparing -------------------------------------------------------------------------------------*/

static json_int_t number(const json_t *stats, const char *name)
{
	return json_integer_value(json_object_get(stats, name));
}

static const json_t *same_vm(const json_t *list, const json_t *stats)
{
	const char *path = json_string_value(json_object_get(stats, "socket"));
	json_t *other;
	size_t i;

	json_array_foreach(list, i, other)
	{
		const char *its = json_string_value(json_object_get(other, "socket"));

		if (its && path && strcmp(its, path) == 0)
			return number(other, "uptime_ns") <= number(stats, "uptime_ns") ? other
											: NULL;
	}
	return NULL;
}

/* A second; nothing where there is nothing to compare with. */
static json_t *rate(const json_t *before, const json_t *now, const char *name, double between_s)
{
	if (!before || !json_object_get(before, name) || between_s <= 0)
		return json_null();
	return json_integer(
		(json_int_t)((double)(number(now, name) - number(before, name)) / between_s));
}

static json_t *copy_of(const json_t *stats, const char *name)
{
	json_t *value = json_object_get(stats, name);

	return value ? json_incref(value) : json_null();
}

static json_t *row(const json_t *before, const json_t *now, double between_s)
{
	json_t *busy = rate(before, now, "vcpu_ns", between_s);

	if (json_is_integer(busy)) /* a second has 1e9 of them, and 100 percent */
		json_integer_set(busy, json_integer_value(busy) / 10000000);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id",
			 copy_of(now, "id"), "state", copy_of(now, "state"), "uptime_ns",
			 copy_of(now, "uptime_ns"), "vcpus", copy_of(now, "vcpus"), "vcpu_percent",
			 busy, "vcpu_ns", copy_of(now, "vcpu_ns"), "memory_bytes",
			 copy_of(now, "memory_bytes"), "resident_bytes",
			 copy_of(now, "resident_bytes"), "exits_per_s",
			 rate(before, now, "exits", between_s), "socket", copy_of(now, "socket"));
}

json_t *fleet_rows(const json_t *before, const json_t *now, uint64_t between_ns)
{
	json_t *rows = json_array(), *stats;
	size_t i;

	json_array_foreach(now, i, stats) json_array_append_new(
		rows, row(before ? same_vm(before, stats) : NULL, stats, (double)between_ns / 1e9));
	return rows;
}
