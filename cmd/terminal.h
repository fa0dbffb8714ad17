/*
 * The terminal in raw mode while a guest has it, and back as it was on every way out: the normal
 * ones, a signal, a stop (SIGTSTP), a crash. There is one terminal, so its state is this file's.
 * Main thread, but for terminal_restore().
 */
#pragma once

#include <stdbool.h>

/* Makes fd raw if it is a terminal and we are in its foreground; false when it is left alone. */
bool terminal_make_raw(int fd);

/*
 * For who has just read from fd, and so is in its foreground: a shell that had let us run in its background (`&`,
 * then fg) tells us by no signal that it gave us the terminal. True when it was not raw and is now.
 */
bool terminal_take(int fd);

/* Puts it back; nothing when it is not raw. Async-signal-safe. */
void terminal_restore(void);
