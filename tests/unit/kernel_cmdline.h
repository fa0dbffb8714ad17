/*
 * How Linux 6.12 takes a command line apart: next_arg() of lib/cmdline.c, parse_args() of
 * kernel/params.c, set_init_arg() and repair_env_string() of init/main.c. They cut the text up in
 * place; this copies. For tests and fuzzers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#define KERNEL_CMDLINE_SIZE 2048
#define KERNEL_MAX_INIT_ARGS 32

struct kernel_cmdline {
	char storage[2 *
		     KERNEL_CMDLINE_SIZE]; /* every word takes at most a byte more than it did */
	char *words[KERNEL_CMDLINE_SIZE];  /* before `--` */
	unsigned int word_count;
	char *init[KERNEL_MAX_INIT_ARGS]; /* after it */
	unsigned int init_count;
};

static inline bool kernel_isspace(char c)
{
	return c && strchr(" \t\n\v\f\r\xa0", c);
}

/*
 * One word, unquoted, to *out (terminated, and moved on). A quote before the word or right after
 * its '=' goes, and then one at its end. Returns what follows.
 */
static inline const char *kernel_next_arg(const char *text, char **out, bool *has_value)
{
	bool quoted = *text == '"', in_quotes = quoted;
	const char *start = text + quoted, *end = start, *value = NULL;

	for (; *end && (in_quotes || !kernel_isspace(*end)); end++) {
		if (*end == '=' && end > start && !value)
			value = end + 1;
		if (*end == '"')
			in_quotes = !in_quotes;
	}
	*has_value = value;
	text = end;
	if (value && *value == '"')
		quoted = true;
	if (quoted && end > start && end[-1] == '"')
		end--;
	for (const char *c = start; c < end; c++)
		if (c != value || *c != '"')
			*(*out)++ = *c;
	*(*out)++ = '\0';
	return text;
}

/* False when the kernel would panic for too many arguments of init. */
static inline bool kernel_cmdline_parse(const char *text, struct kernel_cmdline *seen)
{
	char *out = seen->storage;
	bool after_dashes = false;

	seen->word_count = seen->init_count = 0;
	for (;;) {
		char *word = out;
		bool has_value;

		while (kernel_isspace(*text))
			text++;
		if (!*text)
			return true;
		text = kernel_next_arg(text, &out, &has_value);
		if (!has_value && !strcmp(word, "--")) {
			if (after_dashes)
				return true; /* and drops the rest */
			after_dashes = true;
		} else if (!after_dashes) {
			seen->words[seen->word_count++] = word;
		} else if (seen->init_count == KERNEL_MAX_INIT_ARGS) {
			return false;
		} else {
			seen->init[seen->init_count++] = word;
		}
	}
}
