/* A set of pages of a memory image, a bit each. One thread. */
#pragma once

#include "base/error.h"

struct page_set {
	uint64_t *words; /* NULL: not made */
	uint64_t pages;	 /* how many the image has */
};

/* Empty. */
must_check int page_set_init(struct page_set *set, uint64_t pages, struct error *err);
void page_set_fini(struct page_set *set);

/* What is beyond the end is left out. */
void page_set_add(struct page_set *set, uint64_t first, uint64_t count);

/* How many are in it. */
uint64_t page_set_count(const struct page_set *set);

/* The next run of pages in the set at or after *first: false when there is none. */
bool page_set_next(const struct page_set *set, uint64_t *first, uint64_t *count);
