#include "vmm/boot/cmdline.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "vmm/boot/cmdline_word.h"

/* Appends as long as it fits and counts on when it no longer does. */
struct text {
	char *out;
	size_t len;
};

static void put(struct text *text, const char *bytes, size_t len)
{
	if (text->len < LAYOUT_CMDLINE_MAX && len < LAYOUT_CMDLINE_MAX - text->len) {
		memcpy(text->out + text->len, bytes, len);
		text->out[text->len + len] = '\0';
	}
	text->len += len;
}

static void put_word(struct text *text, const char *word)
{
	if (text->len)
		put(text, " ", 1);
	put(text, word, strlen(word));
}

/* The first `--`, and how many words follow it. */
struct split {
	size_t kernel_len; /* bytes of the text that are the kernel's */
	const char *init;  /* the rest, from `--`; NULL without one */
	unsigned int init_words;
};

static int split_text(const char *text, struct split *split, struct error *err)
{
	const char *at = text;
	struct cmdline_word word;

	*split = (struct split){ .kernel_len = strlen(text) };
	while (cmdline_next_word(&at, &word)) {
		bool dashes = cmdline_word_is_dashes(&word);

		if (dashes && split->init)
			return error_set(err, EINVAL,
					 "kernel command line: has a second --, and the kernel "
					 "drops what follows it; take one of them out");
		if (split->init) {
			split->init_words++;
		} else if (dashes) {
			split->kernel_len = (size_t)(word.start - text);
			split->init = word.start;
		}
	}
	while (split->kernel_len && cmdline_is_space(text[split->kernel_len - 1]))
		split->kernel_len--;
	return 0;
}

static int check_text(const char *text, struct error *err)
{
	bool in_quotes = false;

	if (strpbrk(text, "\n\r"))
		return error_set(err, EINVAL,
				 "kernel command line: has a newline, which it cannot carry");
	for (const char *c = text; *c; c++)
		if (*c == '"')
			in_quotes = !in_quotes;
	if (in_quotes)
		return error_set(err, EINVAL,
				 "kernel command line: has a double quote that is never closed");
	return 0;
}

static int check_init_arg(const char *arg, unsigned int index, struct error *err)
{
	const char *what = NULL;

	if (strchr(arg, '"'))
		what = "has a double quote";
	else if (strpbrk(arg, "\n\r"))
		what = "has a newline";
	else if (!strcmp(arg, "--"))
		what = "is --";
	if (!what)
		return 0;
	return error_set(err, EINVAL,
			 "argument %u of init (%.80s) %s, which a kernel command line cannot carry",
			 index + 1, arg, what);
}

static int check_init_args(const struct cmdline_config *config, unsigned int in_text,
			   struct error *err)
{
	/* Each count on its own first: their sum could wrap around. */
	if (config->init_arg_count > CMDLINE_INIT_ARGS_MAX || in_text > CMDLINE_INIT_ARGS_MAX ||
	    in_text + config->init_arg_count > CMDLINE_INIT_ARGS_MAX)
		return error_set(
			err, E2BIG, "%lu arguments for init; a kernel panics with more than %u",
			(unsigned long)in_text + config->init_arg_count, CMDLINE_INIT_ARGS_MAX);
	for (unsigned int i = 0; i < config->init_arg_count; i++) {
		int ret = check_init_arg(config->init_args[i], i, err);

		if (ret)
			return ret;
	}
	return 0;
}

static void put_devices(struct text *text, const struct cmdline_config *config)
{
	char word[80];

	for (unsigned int i = 0; i < config->device_count; i++) {
		const struct boot_device *device = &config->devices[i];

		snprintf(word, sizeof(word), "virtio_mmio.device=%uK@%#lx:%u", device->size >> 10,
			 device->gpa, device->gsi);
		put_word(text, word);
	}
}

static void put_root(struct text *text, const struct cmdline_config *config)
{
	const char *user = config->text;

	const char *root = config->root_partuuid ? config->root_partuuid : config->root;

	put_word(text, config->root_partuuid ? "root=PARTUUID=" : "root=");
	put(text, root, strlen(root));
	if (config->root_wins || (!cmdline_has_word(user, "ro") && !cmdline_has_word(user, "rw")))
		put_word(text, config->root_read_only ? "ro" : "rw");
}

/* Our words come after the user's: the last console= becomes /dev/console. */
static void put_additions(struct text *text, const struct cmdline_config *config)
{
	const char *user = config->text;

	if (config->console && !cmdline_has_param(user, "console"))
		put_word(text, "console=ttyS0");
	if (config->root && (config->root_wins || !cmdline_has_param(user, "root")))
		put_root(text, config);
	if (cmdline_has_word(user, "acpi=off"))
		put_devices(text, config);
}

/* Quotes around the whole word are taken off by the kernel, whatever white space is inside. */
static void put_init_arg(struct text *text, const char *arg)
{
	bool quote = !*arg;

	for (const char *c = arg; *c; c++)
		quote |= cmdline_is_space(*c);
	put(text, " \"", quote ? 2 : 1);
	put(text, arg, strlen(arg));
	put(text, "\"", quote);
}

int cmdline_build(char out[static LAYOUT_CMDLINE_MAX], const struct cmdline_config *config,
		  struct error *err)
{
	struct text text = { .out = out };
	struct split split;
	int ret;

	out[0] = '\0';
	ret = check_text(config->text, err);
	if (ret)
		return ret;
	ret = split_text(config->text, &split, err);
	if (ret)
		return ret;
	ret = check_init_args(config, split.init_words, err);
	if (ret)
		return ret;

	put(&text, config->text, split.kernel_len);
	put_additions(&text, config);
	if (split.init)
		put_word(&text, split.init);
	else if (config->init_arg_count)
		put_word(&text, "--");
	for (unsigned int i = 0; i < config->init_arg_count; i++)
		put_init_arg(&text, config->init_args[i]);

	if (text.len >= LAYOUT_CMDLINE_MAX)
		return error_set(err, E2BIG,
				 "kernel command line: is %zu bytes with all that is added to it, "
				 "at most %u are possible; shorten it",
				 text.len, LAYOUT_CMDLINE_MAX - 1);
	return 0;
}
