/*
 * Words that come from the command line, checked before anything is done with them: an id, a path or a
 * number that is not plainly one is refused, with a sentence that names the option. No state; any thread.
 */
#pragma once

#include <stdint.h>

#include "base/error.h"

#define JAIL_ID_MAX 64	  /* bytes, as in Firecracker */
#define JAIL_PATH_MAX 255 /* bytes of a path that an option gives */

/* 1 to 64 letters, digits and '-'. */
must_check int jail_check_id(const char *option, const char *text, struct error *err);

/* Not empty, at most JAIL_PATH_MAX bytes, no control byte, no component "..". */
must_check int jail_check_path(const char *option, const char *text, struct error *err);

/* The same, and an absolute path begins with '/', a relative one does not. */
must_check int jail_check_absolute(const char *option, const char *text, struct error *err);
must_check int jail_check_relative(const char *option, const char *text, struct error *err);

/* One component: no '/' at all, neither "." nor "..". */
must_check int jail_check_name(const char *option, const char *text, struct error *err);

/* A decimal number from 0 to max, with nothing around it. */
must_check int jail_parse_number(const char *option, const char *text, uint64_t max, uint64_t *out,
				 struct error *err);

/* "02:00:00:00:00:01". */
must_check int jail_parse_mac(const char *option, const char *text, uint8_t out[6],
			      struct error *err);
