#include "base/guest_dirty.h"

uint64_t guest_dirty_words(const struct guest_memory *mem)
{
	return (guest_memory_size(mem) / PAGE_SIZE + 63) / 64;
}

int guest_dirty_start(struct guest_memory *mem, struct error *err)
{
	if (mem->dirty)
		return 0;
	mem->dirty = calloc(guest_dirty_words(mem), sizeof(*mem->dirty));
	return mem->dirty ? 0
			  : error_set(err, ENOMEM, "out of memory for the map of changed pages");
}

void guest_dirty_stop(struct guest_memory *mem)
{
	free(mem->dirty);
	mem->dirty = NULL;
}

void guest_dirty_clear(const struct guest_memory *mem)
{
	const uint64_t words = guest_dirty_words(mem);

	for (uint64_t i = 0; i < words; i++)
		atomic_store_explicit(&mem->dirty[i], 0, memory_order_relaxed);
}

/* Several loops note at once, in words that they share. Who reads the map has stopped them, which orders it. */
static void note_page(const struct guest_memory *mem, uint64_t page)
{
	_Atomic uint64_t *word = &mem->dirty[page / 64];
	const uint64_t bit = 1ull << page % 64;

	/* Rings are noted over and over: a look is cheaper than an exclusive cache line. */
	if (!(atomic_load_explicit(word, memory_order_relaxed) & bit))
		atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

void guest_dirty_note(const struct guest_memory *mem, const void *host, uint64_t len)
{
	uint64_t before = 0; /* pages of the regions that come first */

	for (unsigned int i = 0; i < mem->count; i++) {
		const struct guest_region *region = &mem->regions[i];
		const uint64_t offset = (uintptr_t)host - (uintptr_t)region->host;

		if ((uintptr_t)host >= (uintptr_t)region->host && offset < region->size &&
		    len > 0) {
			const uint64_t last = (offset + MIN(len, region->size - offset) - 1) /
					      PAGE_SIZE;

			for (uint64_t page = offset / PAGE_SIZE; page <= last; page++)
				note_page(mem, before + page);
			return;
		}
		before += region->size / PAGE_SIZE;
	}
}
