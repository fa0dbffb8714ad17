#include "snapshot/progress.h"

#include "base/clock.h"
#include "base/util.h"

static void tell(struct progress *progress, uint64_t now)
{
	progress->told_ns = now;
	progress->tell(progress);
}

void progress_begin(struct progress *progress, const char *step, uint64_t total)
{
	if (!progress)
		return;
	progress->step = step;
	progress->done = 0;
	progress->total = total;
	tell(progress, clock_now_ns(CLOCK_MONOTONIC));
}

void progress_add(struct progress *progress, uint64_t bytes)
{
	uint64_t now;

	if (!progress)
		return;
	/* What is counted beforehand may have grown meanwhile. */
	progress->done = MIN(progress->done + bytes, progress->total);
	now = clock_now_ns(CLOCK_MONOTONIC);
	if (now - progress->told_ns >= PROGRESS_NS)
		tell(progress, now);
}

void progress_end(struct progress *progress)
{
	if (!progress)
		return;
	progress->done = progress->total;
	tell(progress, clock_now_ns(CLOCK_MONOTONIC));
}
