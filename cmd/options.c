#include "cmd/options_priv.h"

#include <ctype.h>
#include <stdio.h>
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
	if (strcmp(suffix, "B") == 0)
		return 0;
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
		return error_set(
			err, EINVAL,
			"%s: '%s' is not a size: give MiB, or a number with B, K, M, G or T", name,
			text);
	*out = (uint64_t)value << shift;
	return 0;
}

char *split_path(char *text)
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

bool strip_suffix(char *text, const char *suffix)
{
	size_t len = strlen(text), end = strlen(suffix);

	if (len < end || strcmp(text + len - end, suffix) != 0)
		return false;
	text[len - end] = '\0';
	return true;
}

int parse_choice(const char *name, const char *key, const char *value, const char *yes,
		 const char *no, bool *out, struct error *err)
{
	*out = strcmp(value, yes) == 0;
	if (*out || strcmp(value, no) == 0)
		return 0;
	return error_set(err, EINVAL, "%s: %s=%s: it is %s or %s", name, key, value, yes, no);
}

int parse_count(const char *name, const char *key, const char *value, unsigned int min,
		unsigned int max, unsigned int *out, struct error *err)
{
	unsigned long number = 0;
	char label[64];
	int ret;

	snprintf(label, sizeof(label), "%s: %s", name, key);
	ret = parse_number(label, value, min, max, &number, err);
	*out = (unsigned int)number;
	return ret;
}

/* Of two values for one thing, who knows which was meant? */
struct keys_seen {
	const char *keys[8]; /* more than any object has */
	unsigned int count;
};

static int check_once(const char *name, const char *key, struct keys_seen *seen, struct error *err)
{
	for (unsigned int i = 0; i < seen->count; i++)
		if (strcmp(seen->keys[i], key) == 0)
			return error_set(err, EINVAL, "%s: %s is given twice", name, key);
	if (seen->count < ARRAY_SIZE(seen->keys))
		seen->keys[seen->count++] = key;
	return 0;
}

int parse_keys(const char *name, char *keys, parse_key_fn *parse_key, void *config,
	       struct error *err)
{
	struct keys_seen seen = { .count = 0 };

	for (char *key = keys, *next; key; key = next) {
		char *value = strchr(key, '=');
		int ret;

		next = strchr(key, ',');
		if (next)
			*next++ = '\0';
		if (!value || (next && value >= next))
			return error_set(err, EINVAL, "%s: '%s' is not KEY=VALUE", name, key);
		*value++ = '\0';
		ret = parse_key(name, key, value, config, err);
		if (ret == 0)
			ret = check_once(name, key, &seen, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}

int parse_file(const char *name, char *text, const char **path, int *fd, struct error *err)
{
	unsigned long number = 0;
	char label[64];
	int ret;

	*path = NULL;
	*fd = -1;
	if (!*text)
		return error_set(err, EINVAL, "%s: the path is empty", name);
	if (strncmp(text, "fd=", 3) != 0) {
		*path = text;
		return 0;
	}
	snprintf(label, sizeof(label), "%s: fd", name);
	ret = parse_number(label, text + 3, 0, 1u << 20, &number, err);
	if (ret < 0)
		return ret;
	if (number <= STDERR_FILENO)
		return error_set(err, EINVAL, "%s: descriptor %lu is the console's", name, number);
	*fd = (int)number;
	return 0;
}

/* Drives -----------------------------------------------------------------------------------------*/

static int parse_queue_size(const char *name, const char *value, struct drive_config *out,
			    struct error *err)
{
	int ret = parse_count(name, "queue-size", value, 2, VM_QUEUE_SIZE_MAX, &out->queue_size,
			      err);

	if (ret == 0 && (out->queue_size & (out->queue_size - 1)))
		return error_set(err, EINVAL, "%s: queue-size=%s: it must be a power of 2", name,
				 value);
	return ret;
}

static int parse_drive_key(const char *name, const char *key, const char *value, void *config,
			   struct error *err)
{
	struct drive_config *out = config;

	if (strcmp(key, "direct") == 0)
		return parse_choice(name, key, value, "on", "off", &out->direct, err);
	if (strcmp(key, "cache") == 0)
		return parse_choice(name, key, value, "unsafe", "writeback", &out->unsafe, err);
	if (strcmp(key, "num-queues") == 0)
		return parse_count(name, key, value, 1, VM_QUEUES_MAX, &out->num_queues, err);
	if (strcmp(key, "queue-size") == 0)
		return parse_queue_size(name, value, out, err);
	if (strcmp(key, "loop") == 0)
		return parse_count(name, key, value, 0, VM_IO_LOOPS_MAX - 1, &out->loop, err);
	return error_set(
		err, EINVAL,
		"%s: unknown setting '%s'; there are direct, cache, num-queues, queue-size "
		"and loop",
		name, key);
}

int parse_drive(const char *name, char *text, struct drive_config *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct drive_config){ .fd = -1 };
	out->read_only = strip_suffix(text, ":ro");
	if (parse_keys(name, keys, parse_drive_key, out, err) < 0)
		return -EINVAL;
	return parse_file(name, text, &out->path, &out->fd, err);
}

/* Vsock ------------------------------------------------------------------------------------------*/

static int parse_vsock_key(const char *name, const char *key, const char *value, void *config,
			   struct error *err)
{
	struct vsock_config *out = config;

	if (strcmp(key, "cid") == 0)
		return parse_count(name, key, value, VM_VSOCK_CID_MIN, VM_VSOCK_CID_MAX, &out->cid,
				   err);
	return error_set(err, EINVAL, "%s: unknown setting '%s'; there is cid", name, key);
}

int parse_vsock(const char *name, char *text, struct vsock_config *out, struct error *err)
{
	char *keys = split_path(text);

	*out = (struct vsock_config){ .path = text, .cid = VM_VSOCK_CID_MIN };
	if (!*text)
		return error_set(err, EINVAL, "%s: the path is empty", name);
	return parse_keys(name, keys, parse_vsock_key, out, err);
}
