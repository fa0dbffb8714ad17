#include "cmd/progress_line.h"

#include <stdio.h>

#include "base/util.h"

void progress_line_init(struct progress_line *line, bool asked)
{
	*line = (struct progress_line){ .is_terminal = isatty(STDERR_FILENO) };
	line->wanted = asked || line->is_terminal;
}

void progress_line_show(struct progress_line *line, const char *what, uint64_t done_bytes,
			uint64_t total_bytes)
{
	const uint64_t done = MIN(done_bytes, total_bytes);

	if (!line->wanted)
		return;
	fprintf(stderr, "%s%s", line->is_terminal ? "\r" : "", what);
	if (total_bytes > 0)
		fprintf(stderr, ": %u %%, %lu of %lu MiB",
			(unsigned int)((double)done / (double)total_bytes * 100), done >> 20,
			total_bytes >> 20);
	fputs(line->is_terminal ? "\033[K" : "\n", stderr);
	fflush(stderr);
	line->is_shown = line->is_terminal;
}

void progress_line_clear(struct progress_line *line)
{
	if (line->is_shown)
		fputs("\r\033[K", stderr);
	line->is_shown = false;
}
