/*
 * The attacker of the end-to-end tests: what code injected into a monitor would try. A thread of the kind that
 * is asked for arms itself as the monitor's do, then makes one attempt and says how it went:
 *
 *   prisoner [JAILER'S ARGUMENTS] KIND ATTEMPT [ARGUMENT]
 *
 * KIND: control, io, vcpu; with a "no-seccomp-" before it all of the guard but the filter, so that what is behind
 * shows; guarded: the guard as it is before a thread is armed; none: without any, so that the jail alone shows. It
 * writes "done" when the attempt succeeded, "refused: NAME" with the error's name when it did not. A forbidden system
 * call ends the process as it ends the monitor: status 148.
 */
#include <stdio.h>
#include <string.h>

#include "base/thread.h"
#include "cmd/crash.h"
#include "jailer/guard.h"
#include "tests/jail/attempts.h"

static attempt_function *attempt;
static int kind = -1;
static bool guarded, no_seccomp;

static void *attack(void *arg)
{
	struct error err = { 0 };

	(void)arg;
	if (kind >= 0 && thread_arm((enum thread_kind)kind, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return NULL;
	}
	attempt_make(attempt);
	return NULL;
}

static bool choose(const char *kind_name, const char *name)
{
	static const char *const kinds[] = { "control", "io", "vcpu" };
	static const char prefix[] = "no-seccomp-";

	guarded = strcmp(kind_name, "guarded") == 0;
	no_seccomp = strncmp(kind_name, prefix, strlen(prefix)) == 0;
	if (no_seccomp)
		kind_name += strlen(prefix);
	for (int i = 0; i < 3; i++)
		if (strcmp(kinds[i], kind_name) == 0)
			kind = i;
	attempt = attempt_find(name);
	return attempt;
}

int main(int argc, char **argv)
{
	struct guard_options guard = { 0 };
	struct event_loop *loop = NULL;
	struct error err = { 0 };
	pthread_t thread;
	int at = 1;

	while (at + 1 < argc && strncmp(argv[at], "--", 2) == 0)
		at += 2;
	if (at + 1 >= argc || !choose(argv[at], argv[at + 1]))
		return 2;
	crash_setup(NULL, NULL);
	guard.no_seccomp = no_seccomp;
	if ((guarded || kind >= 0) && guard_setup(&guard, &err) < 0)
		return 3;
	if (attempt == attempt_find("ring-operation") &&
	    (event_loop_start(&loop, EVENT_LOOP_URING, "io0", &err) < 0 ||
	     event_loop_wait_started(loop, &err) < 0 || !event_loop_has_ring(loop)))
		return 3;
	attempt_use(loop, at + 2 < argc ? argv[at + 2] : "");
	if (thread_start(&thread, "attacker", attack, NULL) < 0)
		return 3;
	pthread_join(thread, NULL);
	return 0;
}
