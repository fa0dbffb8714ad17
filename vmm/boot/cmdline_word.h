/* Private to the command line: its words, as the kernel's next_arg() (lib/cmdline.c) sees them. */
#pragma once

#include "base/util.h"

struct cmdline_word {
	const char *start; /* in the text, quotes and all */
	const char *name;  /* the word, or what is before its '='; without quotes around it */
	size_t name_len;
	const char *value; /* NULL when there is no '='; without quotes around it */
	size_t value_len;
};

/* The kernel's isspace(): ASCII white space and 0xa0, whatever the character set. */
bool cmdline_is_space(char c);

/* Takes the next word off *at; false at the end. */
bool cmdline_next_word(const char **at, struct cmdline_word *word);

/* True for the word that ends the kernel's part. */
bool cmdline_word_is_dashes(const struct cmdline_word *word);
