/* The process of a microVM that mayctl run drives: one that is there, or its own. */
#pragma once

#include <sys/types.h>

#include "cmd/mayctl.h"
#include "cmd/run_options.h"

struct ctl_monitor {
	pid_t pid;	  /* 0: not ours */
	char folder[32];  /* ours, or "" */
	char own[48];	  /* the socket in it */
	const char *sock; /* the process' */
};

/* ctl->client is open afterwards: to whoever serves --sock, or to a mayfly that is started, there or at a socket of its
 * own. A status. */
must_check int ctl_monitor_open(struct ctl_monitor *monitor, struct ctl *ctl,
				const struct run_options *options);

/* False when it is not ours. */
bool ctl_monitor_signal(const struct ctl_monitor *monitor, int number);

/* Waits for its end; its exit status as a shell says it, -1 when it is not ours or has been waited for. */
int ctl_monitor_wait(struct ctl_monitor *monitor);
