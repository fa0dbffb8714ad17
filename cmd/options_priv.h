/* Private to cmd/options*.c: the pieces of a device's option, VALUE[:SUFFIX][,KEY=VALUE]... */
#pragma once

#include "cmd/options.h"

/* Ends the path at the first single comma, makes ",," one; returns what follows, or NULL. */
char *split_path(char *text);

/* Takes the suffix off; false when there is none. */
bool strip_suffix(char *text, const char *suffix);

/* One of two words for a setting that is one or the other. */
must_check int parse_choice(const char *name, const char *key, const char *value, const char *yes,
			    const char *no, bool *out, struct error *err);
must_check int parse_count(const char *name, const char *key, const char *value, unsigned int min,
			   unsigned int max, unsigned int *out, struct error *err);

/* Each KEY=VALUE of the list (NULL: none) to parse_key(), which fills in `config`. */
typedef int parse_key_fn(const char *name, const char *key, const char *value, void *config,
			 struct error *err);
must_check int parse_keys(const char *name, char *keys, parse_key_fn *parse_key, void *config,
			  struct error *err);

/* PATH or fd=N: one of *path and *fd, the other NULL or -1. */
must_check int parse_file(const char *name, char *text, const char **path, int *fd,
			  struct error *err);
