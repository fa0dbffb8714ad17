/*
 * Signals that end the process where it stands: one line that says which and why, the terminal put
 * back, a documented exit status.
 */
#pragma once

/*
 * Installs the handlers. name_file, when not NULL, is asked for the file behind an address that
 * could not be read (SIGBUS); it must be async-signal-safe.
 */
void crash_setup(const char *(*name_file)(const void *addr));
