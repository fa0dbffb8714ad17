/*
 * One line on standard error that says how far something is: rewritten in place on a terminal, elsewhere a line each
 * time. One thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress_line {
	bool wanted; /* else nothing is shown */
	bool is_terminal;
	bool is_shown; /* a line stands on the terminal */
};

/* Wanted where standard error is a terminal, or when it was asked for. */
void progress_line_init(struct progress_line *line, bool asked);

/* "writing memory: 45 %, 460 of 1024 MiB"; of 0 bytes the words alone. */
void progress_line_show(struct progress_line *line, const char *what, uint64_t done_bytes,
			uint64_t total_bytes);

/* Takes it from the terminal again. */
void progress_line_clear(struct progress_line *line);
