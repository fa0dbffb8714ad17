/*
 * The memory file of a snapshot: the guest's memory, its regions one after the other, raw. A page of zeroes
 * and a page that was never touched are holes. In a layer (a diff) a hole means "as in the layer below",
 * and all that is there is data, zeroes too.
 *
 * One thread, while nobody writes the guest's memory.
 */
#pragma once

#include "base/guest_memory.h"
#include "snapshot/page_set.h"

/* Pages of the image: of all regions together. */
uint64_t memory_image_pages(const struct guest_memory *mem);

/* Which page of the image a host address is; false when it is none of the guest's. */
bool memory_image_page_of(const struct guest_memory *mem, const void *host, uint64_t *page);

/*
 * Adds the pages that may hold something: those that the process has (mincore). What is not there was
 * never touched, or it was swapped out, and nothing tells the two apart without /proc: so while the host
 * uses swap all pages are added (looking at one that was never touched costs no memory, only time).
 * Private mappings of files: mincore tells of the page cache, so those are the caller's to add.
 */
must_check int memory_image_add_resident(const struct guest_memory *mem, struct page_set *set,
					 struct error *err);

/* Adds the pages that are data in `fd`, which guest memory is a private mapping of; all where the filesystem
 * does not tell. */
void memory_image_add_data(int fd, struct page_set *set);

/* Reads what is data in `fd` into memory that is all zeroes. -errno; -EIO when the file ends before memory does. */
must_check int memory_image_read(int fd, const struct guest_memory *mem);
