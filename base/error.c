#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A name that came from outside may hold control bytes; a terminal must not obey them. */
static void make_printable(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

#define LONGEST \
	4608 /* a path and a sentence; on the stack, as not every thread may ask for memory */

/* What is too long loses its middle: what the object is stands first, and why it failed last. */
static void set_text(struct error *err, const char *text)
{
	static const char cut[] = " ... ";
	const size_t size = sizeof(err->text), len = strlen(text);
	const size_t head = (size - sizeof(cut)) / 2, tail = size - sizeof(cut) - head;

	if (len < size)
		memcpy(err->text, text, len + 1);
	else
		snprintf(err->text, size, "%.*s%s%s", (int)head, text, cut, text + len - tail);
	make_printable(err->text);
}

/* `after`, if there is any, follows a colon; it is shorter than an error's text. */
__attribute__((format(printf, 4, 0))) static void format_text(struct error *err, int code,
							      const char *after, const char *fmt,
							      va_list args)
{
	char text[LONGEST + sizeof(err->text)];
	size_t used;

	err->code = -abs(code);
	vsnprintf(text, LONGEST, fmt, args);
	used = strlen(text);
	snprintf(text + used, sizeof(text) - used, "%s%s", *after ? ": " : "", after);
	set_text(err, text);
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return -abs(code);
	va_start(args, fmt);
	format_text(err, code, "", fmt, args);
	va_end(args);
	return err->code;
}

/* What the kernel says, and what one may do about it where that does not depend on the object. */
static const char *describe(int code)
{
	if (abs(code) == EMFILE)
		return "Too many open files; raise the limit on them (ulimit -n)";
	return strerrordesc_np(abs(code));
}

int error_set_errno(struct error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return -abs(code);
	va_start(args, fmt);
	format_text(err, code, describe(code), fmt, args);
	va_end(args);
	return err->code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof(err->text)];
	va_list args;

	if (!err)
		return 0;
	memcpy(old, err->text, sizeof(old));
	va_start(args, fmt);
	format_text(err, err->code, old, fmt, args);
	va_end(args);
	return err->code;
}
