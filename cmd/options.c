#include "cmd/options.h"

#include <ctype.h>
#include <string.h>

int parse_number(const char *name, const char *text, unsigned long min, unsigned long max,
		 unsigned long *out, struct error *err)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || value < min || value > max)
		return error_set(err, EINVAL, "%s: '%s' is not a number from %lu to %lu", name,
				 text, min, max);
	*out = value;
	return 0;
}

/* Bits to shift for a suffix; -1: no such suffix. */
static int suffix_shift(const char *suffix)
{
	static const char letters[] = "KMGT";
	const char *letter;

	if (!*suffix)
		return 20;
	letter = strchr(letters, toupper((unsigned char)*suffix));
	if (!letter || (suffix[1] && strcmp(suffix + 1, "iB") != 0))
		return -1;
	return 10 * (int)(letter - letters + 1);
}

int parse_size(const char *name, const char *text, uint64_t *out, struct error *err)
{
	unsigned long value;
	char *end;
	int shift;

	errno = 0;
	value = strtoul(text, &end, 10);
	shift = suffix_shift(end);
	if (!isdigit((unsigned char)*text) || errno || shift < 0 || value > UINT64_MAX >> shift)
		return error_set(err, EINVAL,
				 "%s: '%s' is not a size: give MiB, or a number with K, M, G or T",
				 name, text);
	*out = (uint64_t)value << shift;
	return 0;
}

/* Ends the path at the first single comma, makes ",," one; returns what follows, or NULL. */
static char *split_path(char *text)
{
	char *to = text;

	for (char *from = text; *from; from++) {
		if (from[0] == ',' && from[1] != ',') {
			*to = '\0';
			return from + 1;
		}
		if (from[0] == ',')
			from++;
		*to++ = *from;
	}
	*to = '\0';
	return NULL;
}

static bool strip_suffix(char *text, const char *suffix)
{
	size_t len = strlen(text), end = strlen(suffix);

	if (len < end || strcmp(text + len - end, suffix) != 0)
		return false;
	text[len - end] = '\0';
	return true;
}

/* No key exists yet; each comes with the issue that gives it a meaning. */
static int parse_drive_key(const char *name, const char *key, struct error *err)
{
	return error_set(err, EINVAL, "%s: unknown drive setting '%s'; a drive is PATH|fd=N[:ro]",
			 name, key);
}

static int parse_drive_fd(const char *name, const char *text, struct drive_config *out,
			  struct error *err)
{
	unsigned long fd = 0;
	int ret = parse_number(name, text, 0, 1u << 20, &fd, err);

	if (ret < 0)
		return ret;
	if (fd <= STDERR_FILENO)
		return error_set(err, EINVAL, "%s: descriptor %lu is the console's", name, fd);
	out->fd = (int)fd;
	return 0;
}

int parse_drive(const char *name, char *text, struct drive_config *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct drive_config){ .fd = -1 };
	out->read_only = strip_suffix(text, ":ro");
	if (keys)
		return parse_drive_key(name, keys, err);
	if (!*text)
		return error_set(err, EINVAL, "%s: the path is empty", name);
	if (strncmp(text, "fd=", 3) == 0)
		return parse_drive_fd(name, text + 3, out, err);
	out->path = text;
	return 0;
}
