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

__attribute__((format(printf, 3, 0))) static void format_text(struct error *err, int code,
							      const char *fmt, va_list args)
{
	err->code = -abs(code);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	make_printable(err->text);
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err)
		return -abs(code);
	va_start(args, fmt);
	format_text(err, code, fmt, args);
	va_end(args);
	return err->code;
}

int error_set_errno(struct error *err, int code, const char *fmt, ...)
{
	va_list args;
	size_t used;

	if (!err)
		return -abs(code);
	va_start(args, fmt);
	format_text(err, code, fmt, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s", strerrordesc_np(abs(code)));
	return err->code;
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char old[sizeof(err->text)];
	va_list args;
	size_t used;

	if (!err)
		return 0;
	memcpy(old, err->text, sizeof(old));
	va_start(args, fmt);
	format_text(err, err->code, fmt, args);
	va_end(args);
	used = strlen(err->text);
	snprintf(err->text + used, sizeof(err->text) - used, ": %s", old);
	return err->code;
}
