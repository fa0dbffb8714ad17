#include <ctype.h>
#include <string.h>

#include "cmd/check_host_priv.h"

static bool ends_word(char c)
{
	return c == '\0' || c == ',' || isspace((unsigned char)c);
}

bool check_parse_has_word(const char *line, const char *word)
{
	size_t len = strlen(word);

	for (const char *at = line; (at = strstr(at, word)); at++)
		if ((at == line || ends_word(at[-1])) && ends_word(at[len]))
			return true;
	return false;
}

int check_parse_number(const char *text, long long *value)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (end == text || errno)
		return -EINVAL;
	while (isspace((unsigned char)*end))
		end++;
	if (*end)
		return -EINVAL;
	*value = number;
	return 0;
}

int check_parse_bool(const char *text)
{
	if (text[0] && !ends_word(text[1]))
		return -EINVAL;
	switch (text[0]) {
	case 'Y':
	case 'y':
	case '1':
		return 1;
	case 'N':
	case 'n':
	case '0':
		return 0;
	default:
		return -EINVAL;
	}
}

unsigned int check_parse_kernel_version(const char *release)
{
	char *end;
	unsigned long major, minor;

	if (!isdigit((unsigned char)*release))
		return 0;
	major = strtoul(release, &end, 10);
	if (*end != '.' || !isdigit((unsigned char)end[1]))
		return 0;
	minor = strtoul(end + 1, NULL, 10);
	return major > UINT16_MAX || minor > UINT16_MAX ? 0 : KERNEL(major, minor);
}

/* Copies [from, end) if it is not empty and fits. */
static int copy_part(char *out, size_t size, const char *from, const char *end)
{
	size_t len = (size_t)(end - from);

	if (len == 0 || len >= size)
		return -EINVAL;
	memcpy(out, from, len);
	out[len] = '\0';
	return 0;
}

int check_parse_chosen(const char *text, char *out, size_t size)
{
	const char *open = strchr(text, '[');
	const char *close = open ? strchr(open, ']') : NULL;

	return close ? copy_part(out, size, open + 1, close) : -EINVAL;
}

static const char *next_line(const char *line)
{
	const char *end = strchr(line, '\n');

	return end ? end + 1 : line + strlen(line);
}

int check_parse_cpuinfo(const char *text, const char *name, char *out, size_t size)
{
	size_t len = strlen(name);

	for (const char *line = text; *line; line = next_line(line)) {
		const char *colon = line + len;

		if (strncmp(line, name, len) != 0)
			continue;
		colon += strspn(colon, " \t");
		if (*colon != ':')
			continue;
		colon += 1 + strspn(colon + 1, " \t");
		return copy_part(out, size, colon, colon + strcspn(colon, "\n"));
	}
	return -ENOENT;
}

bool check_parse_group_line(const char *line, unsigned int gid, char *name, size_t size)
{
	const char *password = strchr(line, ':');
	const char *number = password ? strchr(password + 1, ':') : NULL;
	char *end;

	if (!number || !isdigit((unsigned char)number[1]))
		return false;
	return strtoul(number + 1, &end, 10) == gid && *end == ':' &&
	       copy_part(name, size, line, password) == 0;
}

static const char *const v1_controllers[] = {
	"cpu",	"cpuacct", "cpuset",	 "memory",   "devices", "freezer", "blkio",
	"pids", "net_cls", "perf_event", "net_prio", "hugetlb", "rdma",	   "misc",
};

static void add_v1(struct cgroup_mounts *mounts, const char *options)
{
	bool fast = check_parse_has_word(options, "favordynmods");

	for (size_t i = 0; i < ARRAY_SIZE(v1_controllers); i++) {
		if (!check_parse_has_word(options, v1_controllers[i]))
			continue;
		mounts->favordynmods = fast && (mounts->favordynmods || mounts->v1 == 0);
		mounts->v1++;
		return;
	}
}

void cgroup_mounts_add(struct cgroup_mounts *mounts, const char *line)
{
	char where[128], type[32], options[512];

	if (sscanf(line, "%*s %127s %31s %511s", where, type, options) != 3)
		return;
	if (strcmp(type, "cgroup") == 0)
		add_v1(mounts, options);
	else if (strcmp(type, "cgroup2") == 0 && !mounts->v2[0])
		memcpy(mounts->v2, where, sizeof(mounts->v2));
}
