/*
 * What the control plane can be asked, once for all front ends: a table of methods, each with its
 * name, its place in Firecracker's HTTP API, the phases in which it is allowed, its fields and its
 * handler. HTTP and MessagePack-RPC find a method here, hand over a tree of values and show the reply
 * in their own way; neither knows a rule.
 *
 * Control thread.
 */
#pragma once

#include "api-socket/events.h"
#include "api-socket/fields.h"

struct controller;

enum api_phase {
	PHASE_NOT_STARTED = 1,
	PHASE_RUNNING = 2,
	PHASE_PAUSED = 4,
	PHASE_PREPARED = 8, /* ours: all is there but a snapshot's contents */
};

#define PHASES_BEFORE PHASE_NOT_STARTED
#define PHASES_AFTER (PHASE_RUNNING | PHASE_PAUSED)
#define PHASES_ALL (PHASES_BEFORE | PHASES_AFTER | PHASE_PREPARED)

enum api_verb {
	API_GET,
	API_PUT,
	API_PATCH,
	API_DELETE,
	API_VERBS,
};

/* A request as a handler sees it. */
struct api_request {
	void *data;   /* the method's struct, decoded and checked; NULL without fields */
	json_t *tree; /* what its strings are part of */
	bool taken;   /* by kept_take() */
	const struct field_fds *fds; /* what came along, for calls of other methods; or NULL */
	struct listener *listener;   /* the caller, where the method listens */
	bool wants_plain_text; /* of texts in several forms, the caller takes none newer than text/plain */
};

/* What came of it. A handler fills in one of the first two. */
struct api_reply {
	json_t *result;	  /* NULL: nothing to tell; else the front end's to release */
	struct error err; /* of a failure: the sentence */
	char warning
		[200]; /* "": none; what went well but should be known: printable, without '"' */
	const char
		*text_type; /* result is a string to be shown as it is: its media type; or NULL */
	bool deprecated;    /* something of the request is deprecated */
	bool misread; /* of a failure: the request names what it is about wrongly, or two things */
	bool too_large; /* the failure is a limit of size (HTTP: 413) */
	unsigned int
		awaits;	   /* 1 << enum api_event, or'ed: the answer is the next of these events */
	bool ends_process; /* after the answer: the state is too broken to go on */
};

struct method {
	const char *name;     /* in MessagePack-RPC: "drive.put" */
	enum api_verb verb;   /* API_VERBS: not in HTTP */
	const char *path;     /* in HTTP, without the first slash: "drives" */
	const char *id_field; /* the path goes on with an id, which is this field; NULL: no */
	const char *metric;   /* what its calls are counted as; NULL: they are not */
	unsigned int phases;  /* enum api_phase, or'ed */
	const struct field_set *fields; /* NULL: there are none */
	bool listens;			/* only for callers that can be told of events */
	bool may_be_empty;		/* HTTP: no body is the same as {} */
	bool calls_devices;		/* its handler waits for their loops */
	bool exact;	/* HTTP: its path goes no further, which is refused, not ignored */
	bool names_ids; /* HTTP: the refusal of two ids that differ shows both */
	/* What the table of fields cannot say. Pure. May be NULL. */
	int (*check)(const void *data, struct error *err);
	/* Is something deprecated but a field (field.deprecated)? Pure. May be NULL. */
	bool (*is_deprecated)(const void *data);
	/* 0, or -errno with reply->err. Strings of the request are good until it returns, or as
	 * long as it keeps them (kept_take()). */
	int (*handle)(struct controller *controller, struct api_request *request,
		      struct api_reply *reply);
	const char *help; /* a sentence for people */
};

/* A group of methods: a table in the file that implements them. */
struct method_group {
	const struct method *methods;
	unsigned int count;
};

#define METHOD_GROUP(table)              \
	{                                \
		table, ARRAY_SIZE(table) \
	}

/* All groups; ends with an empty one. */
extern const struct method_group *const method_groups[];

/* The number-th of all, counted from 0; NULL behind the last. */
const struct method *method_at(unsigned int number);

/* Is there one with a lower number that is counted as the same thing? */
bool method_counted_before(const struct method *method);

/* NULL when there is none. */
const struct method *method_by_name(const char *name);

/*
 * By verb and path (no slash at its ends). *id is what follows the method's own path, "" when
 * nothing does; further parts are ignored, as Firecracker does.
 */
const struct method *method_by_path(enum api_verb verb, char *path, char **id);

enum api_outcome {
	API_DONE,
	API_BAD_FIELDS, /* *why says what the table did not like */
	API_REFUSED,	/* reply->err says why */
};

/* A call as a front end hands it in. */
struct api_input {
	json_t *tree;		     /* borrowed; NULL is the same as an object without members */
	const struct field_fds *fds; /* what came along; NULL where the front end carries none */
	struct listener *listener;   /* NULL where the front end cannot tell of events */
	bool wants_plain_text; /* HTTP: what Accept names is text/plain, not what has followed it */
	const char
		*path_id; /* HTTP: the id in the path, which the field must agree with; or NULL */
};

/* Decodes, checks, looks at the phase, calls: in this order. reply->result is the caller's. */
enum api_outcome method_call(struct controller *controller, const struct method *method,
			     const struct api_input *input, struct field_error *why,
			     struct api_reply *reply);

/*
 * A call that a front end could not make of what came. As Firecracker counts, `fails` is of requests that cannot be
 * read: their JSON, fields or names. One that is understood and refused has not failed. method_call() counts itself.
 */
void method_count(struct controller *controller, const struct method *method, bool fails);

/* For handlers ----------------------------------------------------------------------------------*/

/* Whether what is done in `phases` (enum api_phase, or'ed) can be done now; the words are Firecracker's where it has that phase. */
must_check int method_check_phase(const struct controller *controller, unsigned int phases,
				  struct error *err);

/* reply->err from a sentence; returns -EINVAL. */
int reply_refuse(struct api_reply *reply, const char *fmt, ...) printf_like(2, 3);

/* The answer; NULL: there was no memory for it, which is the reply then. */
int reply_with(struct api_reply *reply, json_t *result);

/* "Drive config error: " before an error's sentence. */
int reply_prefix(struct api_reply *reply, const char *prefix);

/* A request that is remembered: its struct, and the tree with its strings. */
struct kept {
	const struct field_set *set; /* NULL: nothing is kept */
	void *data;
	json_t *tree;
};

/* Remembers this request instead of what was kept before; its descriptors are duplicated. Once in a
 * request. On failure nothing has changed. */
must_check int kept_take(struct kept *kept, const struct field_set *set,
			 struct api_request *request, struct error *err);
void kept_clear(struct kept *kept);

/* Keeps what `tree` (taken over, also on failure; may be NULL: out of memory) says, as if it had been asked
 * for. */
must_check int kept_make(struct kept *kept, const struct field_set *set, json_t *tree,
			 struct error *err);

/* As a tree; null when nothing is kept. NULL when out of memory. */
json_t *kept_encode(const struct kept *kept);
