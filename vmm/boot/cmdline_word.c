#include "vmm/boot/cmdline_word.h"

#include <string.h>

#include "vmm/boot/cmdline.h"

bool cmdline_is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (unsigned char)c == 0xa0;
}

/* Takes one closing quote off the end, if there is one. */
static size_t without_quote(const char *text, size_t len)
{
	return len && text[len - 1] == '"' ? len - 1 : len;
}

bool cmdline_next_word(const char **at, struct cmdline_word *word)
{
	const char *text = *at;
	size_t len = 0, equals = 0;
	bool quoted, in_quotes;

	while (cmdline_is_space(*text))
		text++;
	if (!*text)
		return false;
	*word = (struct cmdline_word){ .start = text };
	quoted = in_quotes = *text == '"';
	if (quoted)
		text++;
	for (; text[len] && (in_quotes || !cmdline_is_space(text[len])); len++) {
		if (text[len] == '=' && !equals) /* one at 0 is no separator, here as there */
			equals = len;
		if (text[len] == '"')
			in_quotes = !in_quotes;
	}
	*at = text + len;

	word->name = text;
	word->name_len = equals ? equals : quoted ? without_quote(text, len) : len;
	if (!equals)
		return true;
	word->value = text + equals + 1;
	word->value_len = len - equals - 1;
	if (word->value_len && *word->value == '"') {
		word->value++;
		word->value_len = without_quote(word->value, word->value_len - 1);
	} else if (quoted) {
		word->value_len = without_quote(word->value, word->value_len);
	}
	return true;
}

bool cmdline_word_is_dashes(const struct cmdline_word *word)
{
	return !word->value && word->name_len == 2 && !memcmp(word->name, "--", 2);
}

static bool equals(const char *text, size_t len, const char *other, size_t other_len)
{
	return len == other_len && !memcmp(text, other, len);
}

bool cmdline_has_word(const char *text, const char *wanted)
{
	const char *at = text;
	const char *sign = strchr(wanted, '=');
	size_t name_len = sign ? (size_t)(sign - wanted) : strlen(wanted);
	struct cmdline_word word;

	while (cmdline_next_word(&at, &word) && !cmdline_word_is_dashes(&word)) {
		if (!equals(word.name, word.name_len, wanted, name_len) || !word.value != !sign)
			continue;
		if (!sign || equals(word.value, word.value_len, sign + 1, strlen(sign + 1)))
			return true;
	}
	return false;
}

bool cmdline_has_param(const char *text, const char *name)
{
	const char *at = text;
	struct cmdline_word word;

	while (cmdline_next_word(&at, &word) && !cmdline_word_is_dashes(&word))
		if (word.value && equals(word.name, word.name_len, name, strlen(name)))
			return true;
	return false;
}
