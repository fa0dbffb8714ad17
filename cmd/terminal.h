/*
 * The terminal in raw mode while a guest has it, and back as it was on every way out: the normal
 * ones, a signal, a stop (SIGTSTP), a crash. There is one terminal, so its state is this file's.
 * Main thread, but for terminal_restore().
 */
#pragma once

#include <stdbool.h>

/* Makes fd raw if it is a terminal and we are in its foreground; false when it is left alone. */
bool terminal_make_raw(int fd);

/* Puts it back; nothing when it is not raw. Async-signal-safe. */
void terminal_restore(void);
