#include "snapshot/page_set.h"

static uint64_t word_count(uint64_t pages)
{
	return (pages + 63) / 64;
}

int page_set_init(struct page_set *set, uint64_t pages, struct error *err)
{
	set->pages = pages;
	set->words = calloc(word_count(pages) + 1, sizeof(*set->words));
	return set->words ? 0 : error_set(err, ENOMEM, "out of memory for %lu pages", pages);
}

void page_set_fini(struct page_set *set)
{
	free(set->words);
	*set = (struct page_set){ 0 };
}

/* The bits from `from` up to but not including `to` of a word. */
static uint64_t mask(uint64_t from, uint64_t to)
{
	return (to == 64 ? UINT64_MAX : (1ull << to) - 1) & ~((1ull << from) - 1);
}

void page_set_add(struct page_set *set, uint64_t first, uint64_t count)
{
	uint64_t end = count > set->pages - MIN(first, set->pages) ? set->pages : first + count;

	while (first < end) {
		uint64_t word = first / 64;

		set->words[word] |= mask(first % 64, MIN(end - word * 64, (uint64_t)64));
		first = (word + 1) * 64;
	}
}

uint64_t page_set_count(const struct page_set *set)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < word_count(set->pages); i++)
		count += (uint64_t)__builtin_popcountll(set->words[i]);
	return count;
}

/* The first page at or after `from` whose bit is `wanted`; set->pages when there is none. */
static uint64_t find(const struct page_set *set, uint64_t from, bool wanted)
{
	while (from < set->pages) {
		uint64_t word = set->words[from / 64];
		uint64_t rest = (wanted ? word : ~word) >> from % 64;

		if (rest)
			return MIN(from + (uint64_t)__builtin_ctzll(rest), set->pages);
		from = (from / 64 + 1) * 64;
	}
	return set->pages;
}

bool page_set_next(const struct page_set *set, uint64_t *first, uint64_t *count)
{
	*first = find(set, *first, true);
	*count = find(set, *first, false) - *first;
	return *first < set->pages;
}
