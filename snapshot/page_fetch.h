/*
 * Pages that a handler fills in (snapshot/memory_pager.h), had before somebody needs them who must not wait for ever: the
 * kernel reads guest memory for a file, and who waits for a page in there cannot be called off. So a thread of ours
 * touches them first, as long as it takes each, and who asked gives up when none has come for too long. The thread stays
 * where it is until its page comes or memory is taken away, and harms nobody.
 *
 * One caller, while nobody gives up pages; the thread and guest memory are its own to outlive.
 */
#pragma once

#include "base/guest_memory.h"
#include "snapshot/page_set.h"
#include "snapshot/progress.h"

struct page_fetch;

/* -errno. */
must_check int page_fetch_create(struct page_fetch **out);

/* Waits for a page that is on its way or until memory has been taken away. NULL is fine. */
void page_fetch_destroy(struct page_fetch *fetch);

struct page_fetch_job {
	const struct guest_memory *mem;
	const struct page_set *set;
	unsigned int patience_ms;
	struct progress *progress; /* of a step that has begun; or NULL */
};

/* All pages of the set are there: 0; -ETIMEDOUT: for as long as the patience none has come; -errno. What is there costs
 * nothing. */
must_check int page_fetch(struct page_fetch *fetch, const struct page_fetch_job *job);
