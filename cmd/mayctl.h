/*
 * What mayctl's parts share: one microVM's API socket, or a folder of them, from the command line. What a
 * method is called, which fields it has and what they mean comes from the method table alone, for the calls as
 * for help and completion. One thread.
 */
#pragma once

#include <stdio.h>

#include "api-socket/client.h"
#include "api-socket/describe.h"
#include "cmd/exit_codes.h"

/* mayctl's exit statuses; `mayctl help` prints them. */
enum ctl_status {
	CTL_OK = EXIT_OK,
	CTL_REFUSED = EXIT_GENERIC, /* the microVM refused, for the reason printed */
	CTL_NO_CONNECTION = 2,	    /* nobody answers, or the connection was lost */
	CTL_TOO_LATE = 3,	    /* --timeout went by */
	CTL_BAD_ARGUMENTS = EXIT_BAD_ARGUMENTS,
};

struct ctl {
	const char *sock; /* --sock; NULL */
	bool json;	  /* --json */
	bool progress;	  /* --progress */
	int timeout_ms;	  /* --timeout; -1: as long as it takes */
	struct mayfly_client *client;
};

/* What mayctl does beside calling methods. */
struct ctl_command {
	const char *name, *usage, *help;
	bool needs_sock;				    /* ctl->client is open */
	int (*run)(struct ctl *ctl, int argc, char **argv); /* the words after its name */
};

/* Ends with one without a name. */
extern const struct ctl_command ctl_commands[];

/* "mayctl: error: ..." on standard error; returns status. */
int ctl_fail(int status, const char *fmt, ...) printf_like(2, 3);

/* What a call of the client library that failed means: prints why; the exit status. */
int ctl_fail_call(struct ctl *ctl, int code);

/* mayctl_methods.c -------------------------------------------------------------------------------*/

#define CTL_POSITIONALS_MAX 4

/* A command that is a method: its own name in words ("drive put"), or another that people expect. */
struct ctl_verb {
	const char *words;
	const char *method;
	const char *positionals[CTL_POSITIONALS_MAX]; /* fields that need no name */
	const char *help;			      /* NULL: the method's */
	const char *given;	    /* "field=value" that goes without saying; NULL */
	const char *unless;	    /* but not with a word that begins so; NULL */
	const char *switches[2][2]; /* { word, "field=value" that it stands for } */
};

extern const struct ctl_verb ctl_aliases[]; /* ends with one without words */

/* The verb that the longest run of words names; *count is its length. False: there is none. name keeps what
 * *out points to. */
#define CTL_NAME_MAX 64
bool ctl_find_verb(int argc, char **argv, struct ctl_verb *out, char name[CTL_NAME_MAX],
		   int *count);

/* Calls the method that the words name and prints what comes. */
int ctl_call_verb(struct ctl *ctl, int argc, char **argv);

/* mayctl_params.c --------------------------------------------------------------------------------*/

struct ctl_params {
	json_t *tree;
	int fds[MAYFLY_CLIENT_FDS_MAX]; /* ours to close */
	unsigned int fd_count;
};

/* "rate_limiter.ops.size=10", typed as the table says. -EINVAL and *err. */
must_check int ctl_params_add(struct ctl_params *params, const struct method *method,
			      const char *assignment, struct error *err);

/* The same in two. */
must_check int ctl_params_set(struct ctl_params *params, const struct method *method,
			      const char *path, const char *value, struct error *err);
void ctl_params_free(struct ctl_params *params);

/* The field at a dotted path; NULL. */
const struct field *ctl_field(const struct field_set *set, const char *path);

/* mayctl_progress.c ------------------------------------------------------------------------------*/

struct progress_line;

/* Shall it be shown how far the call is, and will the microVM tell? Before it is sent. */
bool ctl_progress_begin(struct ctl *ctl, const struct method *method, struct progress_line *line);

/* Shows it until the answer is there, or nothing more comes. */
void ctl_progress_follow(struct ctl *ctl, uint32_t id, struct progress_line *line);

/* mayctl_print.c ---------------------------------------------------------------------------------*/

/* A value for people: lists and maps aligned, numbers with the unit that their name tells. */
void ctl_print(const json_t *value, FILE *out);

/* For --json or for people. */
void ctl_print_result(const struct ctl *ctl, const json_t *value);

/* mayctl_help.c ----------------------------------------------------------------------------------*/

void ctl_help(FILE *out);
int ctl_help_command(struct ctl *ctl, int argc, char **argv);

/* mayctl_complete.c ------------------------------------------------------------------------------*/

int ctl_completion_command(struct ctl *ctl, int argc, char **argv);

/* The words that can follow the words given, one a line. */
int ctl_words_command(struct ctl *ctl, int argc, char **argv);

/* mayctl_events.c --------------------------------------------------------------------------------*/

int ctl_events_command(struct ctl *ctl, int argc, char **argv);
int ctl_wait_command(struct ctl *ctl, int argc, char **argv);

/* mayctl_ps.c, mayctl_trace.c --------------------------------------------------------------------*/

int ctl_ps_command(struct ctl *ctl, int argc, char **argv);
int ctl_top_command(struct ctl *ctl, int argc, char **argv);
int ctl_trace_command(struct ctl *ctl, int argc, char **argv);

/* mayctl_run.c -----------------------------------------------------------------------------------*/

int ctl_run_command(struct ctl *ctl, int argc, char **argv);

/* mayctl_attach.c --------------------------------------------------------------------------------*/

int ctl_console_command(struct ctl *ctl, int argc, char **argv);
