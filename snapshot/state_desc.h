/*
 * What of a structure is saved: a table of its fields by name. The codec walks the table in both
 * directions; nobody writes bytes by hand. Tables are constant and describe plain data: a struct
 * that save() fills in for the codec, or that the codec has decoded and load() checks and takes.
 *
 * What is decoded is untrusted: the codec bounds every array by its table and nothing else; ranges
 * are load()'s to check.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum state_type {
	STATE_BOOL,
	STATE_U8,
	STATE_U16,
	STATE_U32,
	STATE_U64,
	STATE_I64,
	STATE_STRING, /* char[size], terminated */
	STATE_BYTES,  /* uint8_t[size]: all of it, or as much as count_offset says */
	STATE_STRUCT, /* described by `sub` */
};

struct state_desc;

struct state_field {
	const char *name;
	enum state_type type;
	uint32_t offset; /* in the structure */
	uint32_t size;	 /* bytes, of one element */
	uint32_t max;	 /* elements of an array; 0: not an array */
	/* For arrays and bytes of varying length: where the uint32_t is that says how many are
	 * used. 0: all of them (so the count cannot be the structure's first member). */
	uint32_t count_offset;
	uint16_t since; /* the version of the table that brought it; a missing field of a later
			   version than the file's keeps its default of zero (a structure inside
			   another has no version in the file: there all but version 1 may miss) */
	const struct state_desc *sub;
};

struct state_desc {
	const char *name; /* of the section, or of the kind of thing: "net" */
	uint16_t version; /* the newest `since` among the fields; at least 1 */
	uint32_t size;	  /* bytes of the structure */
	const struct state_field *fields;
	uint32_t field_count;
};

#define STATE_SIZEOF(owner, member) ((uint32_t)sizeof(((owner *)0)->member))

/* STATE_FIELD(struct net_state, mtu, STATE_U16, 1) */
#define STATE_FIELD(owner, member, kind, since_version)                                     \
	{                                                                                   \
		.name = #member, .type = kind, .offset = (uint32_t)offsetof(owner, member), \
		.size = STATE_SIZEOF(owner, member), .since = since_version,                \
	}

/* An array of numbers or bools, all used. */
#define STATE_ARRAY(owner, member, kind, since_version)                                     \
	{                                                                                   \
		.name = #member, .type = kind, .offset = (uint32_t)offsetof(owner, member), \
		.size = STATE_SIZEOF(owner, member[0]),                                     \
		.max = STATE_SIZEOF(owner, member) / STATE_SIZEOF(owner, member[0]),        \
		.since = since_version,                                                     \
	}

/* One structure inside another. */
#define STATE_NESTED(owner, member, table, since_version)                                         \
	{                                                                                         \
		.name = #member, .type = STATE_STRUCT,                                            \
		.offset = (uint32_t)offsetof(owner, member), .size = STATE_SIZEOF(owner, member), \
		.since = since_version, .sub = table,                                             \
	}

/* An array of structures of which `counter`, a uint32_t of the same struct, says how many there
 * are. */
#define STATE_TABLE(owner, member, counter, table, since_version)                           \
	{                                                                                   \
		.name = #member, .type = STATE_STRUCT,                                      \
		.offset = (uint32_t)offsetof(owner, member),                                \
		.size = STATE_SIZEOF(owner, member[0]),                                     \
		.max = STATE_SIZEOF(owner, member) / STATE_SIZEOF(owner, member[0]),        \
		.count_offset = (uint32_t)offsetof(owner, counter), .since = since_version, \
		.sub = table,                                                               \
	}

/* Bytes of which `counter`, a uint32_t of the same struct, says how many there are. */
#define STATE_BLOB(owner, member, counter, since_version)                                          \
	{                                                                                          \
		.name = #member, .type = STATE_BYTES, .offset = (uint32_t)offsetof(owner, member), \
		.size = STATE_SIZEOF(owner, member),                                               \
		.count_offset = (uint32_t)offsetof(owner, counter), .since = since_version,        \
	}

#define STATE_DESC(table_name, owner, table_version, table)                          \
	{                                                                            \
		.name = table_name, .version = table_version, .size = sizeof(owner), \
		.fields = table, .field_count = sizeof(table) / sizeof((table)[0]),  \
	}
