#include "jailer/jail_text.h"

#include <ctype.h>
#include <string.h>

static int check_bytes(const char *option, const char *text, struct error *err)
{
	size_t len = strlen(text);

	if (len == 0)
		return error_set(err, EINVAL, "%s: it is empty", option);
	if (len > JAIL_PATH_MAX)
		return error_set(err, EINVAL, "%s: %zu bytes are too many; at most %u are taken",
				 option, len, JAIL_PATH_MAX);
	for (const char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c))
			return error_set(err, EINVAL, "%s: '%s' has a control character in it",
					 option, text);
	return 0;
}

static bool has_dot_dot(const char *path)
{
	while (*path) {
		size_t len = strcspn(path, "/");

		if (len == 2 && memcmp(path, "..", 2) == 0)
			return true;
		path += len + (path[len] == '/');
	}
	return false;
}

int jail_check_path(const char *option, const char *text, struct error *err)
{
	int ret = check_bytes(option, text, err);

	if (ret < 0)
		return ret;
	if (has_dot_dot(text))
		return error_set(err, EINVAL, "%s: '%s' has a '..' in it", option, text);
	return 0;
}

static int check_start(const char *option, const char *text, bool absolute, struct error *err)
{
	int ret = jail_check_path(option, text, err);

	if (ret == 0 && (*text == '/') != absolute)
		return error_set(err, EINVAL, "%s: '%s' must %sbegin with a '/'", option, text,
				 absolute ? "" : "not ");
	return ret;
}

int jail_check_absolute(const char *option, const char *text, struct error *err)
{
	return check_start(option, text, true, err);
}

int jail_check_relative(const char *option, const char *text, struct error *err)
{
	return check_start(option, text, false, err);
}

int jail_check_name(const char *option, const char *text, struct error *err)
{
	int ret = check_bytes(option, text, err);

	if (ret < 0)
		return ret;
	if (strchr(text, '/') || strcmp(text, ".") == 0 || strcmp(text, "..") == 0)
		return error_set(err, EINVAL, "%s: '%s' is not a plain name", option, text);
	return 0;
}

int jail_check_id(const char *option, const char *text, struct error *err)
{
	size_t len = strlen(text);

	if (len == 0 || len > JAIL_ID_MAX)
		return error_set(err, EINVAL, "%s: an id has 1 to %u characters, not %zu", option,
				 JAIL_ID_MAX, len);
	for (const char *c = text; *c; c++)
		if (!isalnum((unsigned char)*c) && *c != '-')
			return error_set(err, EINVAL,
					 "%s: '%s': an id has letters, digits and '-' alone",
					 option, text);
	return 0;
}

int jail_parse_number(const char *option, const char *text, uint64_t max, uint64_t *out,
		      struct error *err)
{
	uint64_t value = 0;

	for (const char *c = text; *c; c++) {
		if (!isdigit((unsigned char)*c) || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value) || value > max)
			return error_set(err, EINVAL, "%s: '%s' is not a number from 0 to %lu",
					 option, text, max);
	}
	if (!*text)
		return error_set(err, EINVAL, "%s: a number is missing", option);
	*out = value;
	return 0;
}

static int hex_digit(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int jail_parse_mac(const char *option, const char *text, uint8_t out[6], struct error *err)
{
	bool good = strlen(text) == 17;

	for (int i = 0; i < 6 && good; i++) {
		int high = hex_digit(text[3 * i]), low = hex_digit(text[3 * i + 1]);

		good = high >= 0 && low >= 0 && text[3 * i + 2] == (i < 5 ? ':' : '\0');
		out[i] = (uint8_t)((unsigned int)high << 4 | ((unsigned int)low & 0xf));
	}
	if (!good || out[0] & 1)
		return error_set(err, EINVAL,
				 "%s: '%s' is not a MAC address of one machine (02:00:00:00:00:01)",
				 option, text);
	return 0;
}
