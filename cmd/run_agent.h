/*
 * `mayfly run --agent`: the host's half of a command in the guest. Listens where the guest's agent
 * connects, gives it the arguments, carries the standard streams and takes the status. All of it is
 * the main thread's and runs on the control loop; nothing waits but there.
 */
#pragma once

#include "base/loop_timer.h"
#include "cmd/run_priv.h"

/*
 * Bytes from one descriptor to another: a socket of the guest's on one side, a standard stream of
 * ours, which others may share and which is therefore never made non-blocking, on the other.
 */
struct agent_stream {
	struct run_agent *agent;
	struct event_loop *loop;
	struct loop_watch from, to;
	struct loop_timer again; /* others have their turn in a long transfer */
	bool to_guest;
	bool started;
	bool ended; /* nothing will be carried any more */
	size_t have, done;
	char *buffer;
};

/* A connection that has not said its channel. */
struct agent_unnamed {
	struct run_agent *agent;
	struct loop_watch watch;
};

struct run_agent {
	struct run *run;
	const char *const *args;
	unsigned int arg_count;
	char folder[96];   /* ours, with the socket of a vsock that nobody asked for; or "" */
	char vsock[108];   /* that socket */
	char address[108]; /* where the agent connects; "" when it is not there */
	struct loop_watch listener;
	struct agent_unnamed unnamed[4];
	struct loop_watch control;
	struct loop_timer patience; /* until the agent has connected */
	char *args_text;	    /* what the agent is told */
	size_t args_size, args_sent;
	char line[32]; /* what it said, not yet a whole line */
	size_t line_len;
	struct agent_stream in, out, err;
	int status; /* of the command; -1: not known */
};

/* Makes the socket for the agent, and a vsock if none is configured. Before the machine is built. */
must_check int run_agent_create(struct run *run, struct error *err);

/* Awaits the agent. When the machine runs. */
must_check int run_agent_start(struct run *run, struct error *err);

/* The exit status of a run that was not ended by a signal; says why, which is `text`, when it is not the command's. */
int run_agent_report(struct run *run, const char *text);

/* When the machine is gone. NULL is fine. */
void run_agent_destroy(struct run *run);

/* cmd/run_agent_stream.c -------------------------------------------------------------------------*/

/* Takes over `socket`; `stdio` stays the process's. agent_stream_ended() is called once, maybe at once. */
void agent_stream_start(struct agent_stream *stream, struct run_agent *agent, int socket, int stdio,
			bool to_guest);
void agent_stream_stop(struct agent_stream *stream);
void agent_stream_ended(struct run_agent *agent);
