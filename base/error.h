/*
 * Errors for people. A function that can say why it failed takes a `struct error *` as its last
 * argument, returns a negative errno, and fills in one sentence that names the object:
 * "drive vda: cannot open /x: No such file or directory". Success leaves it alone. The sentence is
 * what the user sees, on the command line and from the API, word for word; one that is too long loses
 * its middle.
 *
 * Any thread; a struct error belongs to its caller.
 */
#pragma once

#include <string.h>

#include "base/util.h"

struct error {
	int code;	/* negative errno, 0 while nothing failed */
	char text[512]; /* one line, no newline at the end; always terminated */
};

/* Fills *err (which may be NULL) and returns -|code|, so that `return error_set(...)` reads well. */
int error_set(struct error *err, int code, const char *fmt, ...) printf_like(3, 4);

/* The same, with ": <strerror(code)>" added. */
int error_set_errno(struct error *err, int code, const char *fmt, ...) printf_like(3, 4);

/* Puts "<fmt>: " before the text that is there; returns err->code. */
int error_prefix(struct error *err, const char *fmt, ...) printf_like(2, 3);
