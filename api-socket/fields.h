/*
 * Requests as data: what fields a request has, of what type, is a table; one decoder walks it, from
 * a tree of values (jansson's, whether it was read from JSON or from MessagePack) into a plain struct,
 * and one encoder walks it back. Handlers see only the structs.
 *
 * How a member of a struct is declared, by its field's type:
 *
 *   FIELD_BOOL                       struct opt_bool
 *   FIELD_U8, _U16, _U32, _U64       struct opt_uint
 *   FIELD_CHOICE                     struct opt_uint: the index of the word in `choices`
 *   FIELD_STRING, FIELD_ID           const char *, NULL when not given; the tree's
 *   FIELD_FILE                       struct opt_file: a path, or a descriptor passed along
 *   FIELD_STRUCT                     the struct itself, whose first member is `bool given`
 *   FIELD_LIST                       struct opt_list of the structs that `sub` describes
 *   FIELD_STRINGS                    struct opt_list of const char *
 *   FIELD_ANY                        json_t *, the tree's
 *
 * Everything here is pure and may run on any thread. Refusals have the words of serde, the library
 * that Firecracker decodes with: people and programs match on them.
 */
#pragma once

#include <jansson.h>

#include "base/error.h"

struct opt_bool {
	bool given, value;
};

struct opt_uint {
	bool given;
	uint64_t value;
};

struct opt_file {
	const char *path; /* NULL when not given or when it is a descriptor */
	int fd;		  /* -1 when it is a path; else the front end's: dup() it to keep it */
};

struct opt_list {
	bool given;
	uint32_t count;
	void *items; /* ours: fields_free() */
};

enum field_type {
	FIELD_BOOL,
	FIELD_U8,
	FIELD_U16,
	FIELD_U32,
	FIELD_U64,
	FIELD_USIZE, /* as FIELD_U64; in messages its name is another */
	FIELD_CHOICE,
	FIELD_STRING,
	FIELD_ID, /* a string: the name of a resource, api_id_check() */
	FIELD_FILE,
	FIELD_STRUCT,
	FIELD_LIST,
	FIELD_STRINGS,
	FIELD_NAMES, /* an object whose members are strings: json_t *, the tree's */
	FIELD_ANY,
};

enum field_need {
	FIELD_OPTIONAL,	 /* null is the same as not given */
	FIELD_DEFAULTED, /* may be left out, but null is a mistake */
	FIELD_REQUIRED,
	FIELD_REQUIRED_OR_OURS, /* unless a field is there that is ours */
};

struct field {
	const char *name;
	enum field_type type;
	enum field_need need;
	uint32_t offset;
	const struct field_set *sub; /* FIELD_STRUCT, FIELD_LIST */
	const char *const *choices;  /* FIELD_CHOICE; ends with NULL */
	uint64_t fallback;	     /* a number's, choice's or bool's value when not given */
	bool deprecated;	     /* its use is answered with a Deprecation header */
	bool silent;		     /* left out of what is shown while it is not given */
	bool ours; /* Firecracker has no such field: refusals do not name it. Last in its table, and silent if shown */
	bool shown; /* shown with its fallback when not given, not as null */
	/* A string's form: 0, or -EINVAL with why it has another. Pure. May be NULL. */
	int (*check)(const char *text, char *why, size_t size);
	bool check_early;     /* its refusals are those of a value, not of a member of a struct */
	const char *expected; /* "a string", unless Firecracker says it in other words */
	const char *help;     /* a sentence for people, with unit and range */
};

struct field_set {
	const char *name; /* as Firecracker's messages call it: "BootSourceConfig" */
	uint32_t size;	  /* bytes of the struct */
	const struct field *fields;
	uint32_t count;
	bool whole; /* no object: its one field, a FIELD_ANY, is the tree itself */
	bool lenient; /* a field that it does not have is ignored, as Firecracker does here and there */
};

#define FIELD(owner, member, kind, how, ...)                                                   \
	{                                                                                      \
		.name = #member, .type = kind, .need = how, .offset = offsetof(owner, member), \
		__VA_ARGS__                                                                    \
	}

#define FIELD_SET(text, owner, table, ...)                                                        \
	{                                                                                         \
		.name = text, .size = sizeof(owner), .fields = table, .count = ARRAY_SIZE(table), \
		__VA_ARGS__                                                                       \
	}

/* Where in a tree: the way down from its root. */
#define FIELD_DEPTH_MAX 8

struct field_step {
	const char *key; /* NULL: an element of an array */
	size_t index;
};

enum field_place {
	PLACE_VALUE,  /* what is wrong is the value */
	PLACE_MEMBER, /* the same; told once its struct has gone on to what follows it */
	PLACE_KEY,    /* what is wrong is its name */
	PLACE_END,    /* something is missing from the object */
};

/* Why a tree was not what the table says. */
struct field_error {
	char text[480];
	struct field_step steps[FIELD_DEPTH_MAX];
	unsigned int step_count;
	enum field_place place;
};

/* Descriptors that came along with a request; a value {"fd": i} names one. Not taken over. */
struct field_fds {
	const int *fds;
	unsigned int count;
};

/*
 * Fills in `out` (set->size bytes). -EINVAL and *error, or -ENOMEM; then there is nothing to free.
 * Strings stay the tree's: out is good while the tree is. fds may be NULL.
 */
must_check int fields_decode(const struct field_set *set, json_t *tree, const struct field_fds *fds,
			     void *out, struct field_error *error);

/* Is it a name that no field of the set has, and not to be ignored? Then *error says so. */
bool fields_refuse_name(const struct field_set *set, const char *name, size_t len,
			struct field_error *error);

/* Frees lists; harmless on a zeroed struct. */
void fields_free(const struct field_set *set, void *data);

/* A tree of all fields, those that are not given as null. NULL when out of memory. */
json_t *fields_encode(const struct field_set *set, const void *data);

/* Did the request use a deprecated field? */
bool fields_use_deprecated(const struct field_set *set, const void *data);

/* The name of a resource: letters, digits, underscores and the characters of `more`, at least one. */
must_check int api_id_check(const char *id, const char *more, struct error *err);
