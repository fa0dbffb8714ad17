/*
 * Signals that end the process where it stands: one line that says which and why, the terminal put
 * back, a documented exit status.
 */
#pragma once

#include <stdbool.h>

/*
 * Installs the handlers. Of an address that could not be read (SIGBUS), repair() may make it readable: true, and the
 * access is tried again; name_file() names the file behind it. Both may be NULL and must be async-signal-safe.
 */
void crash_setup(const char *(*name_file)(const void *addr, const char **what),
		 bool (*repair)(const void *addr));

/* To be told of the signal before the end; async-signal-safe. NULL: nobody is. */
void crash_tell(void (*tell)(int signal));

/* From now on they all end with this status, for who promised it for every failure of ours. Once, before threads. */
void crash_exit_with(int status);
