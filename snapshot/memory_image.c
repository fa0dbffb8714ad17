#include "snapshot/memory_image.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

uint64_t memory_image_pages(const struct guest_memory *mem)
{
	return guest_memory_size(mem) / PAGE_SIZE;
}

bool memory_image_page_of(const struct guest_memory *mem, const void *host, uint64_t *page)
{
	uint64_t before = 0;

	for (unsigned int i = 0; i < mem->count; i++) {
		const struct guest_region *region = &mem->regions[i];
		uint64_t offset = (uintptr_t)host - (uintptr_t)region->host;

		if ((uintptr_t)host >= (uintptr_t)region->host && offset < region->size) {
			*page = (before + offset) / PAGE_SIZE;
			return true;
		}
		before += region->size;
	}
	return false;
}

/* Which pages -------------------------------------------------------------------------------------*/

static bool host_swaps(void)
{
	struct sysinfo info;

	return sysinfo(&info) < 0 || info.totalswap != info.freeswap;
}

#define MINCORE_PAGES 65536u

static int add_resident_pages(const uint8_t *host, uint64_t first, uint64_t count,
			      uint8_t *resident, struct page_set *set)
{
	if (mincore((void *)(uintptr_t)host, count * PAGE_SIZE, resident) < 0)
		return -errno;
	for (uint64_t i = 0; i < count; i++)
		if (resident[i] & 1)
			page_set_add(set, first + i, 1);
	return 0;
}

static int add_resident_region(const struct guest_region *region, uint64_t first,
			       struct page_set *set)
{
	uint8_t *resident = malloc(MINCORE_PAGES);
	uint64_t pages = region->size / PAGE_SIZE;
	int ret = resident ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < pages && ret == 0; at += MINCORE_PAGES)
		ret = add_resident_pages(region->host + at * PAGE_SIZE, first + at,
					 MIN((uint64_t)MINCORE_PAGES, pages - at), resident, set);
	free(resident);
	return ret;
}

int memory_image_add_resident(const struct guest_memory *mem, struct page_set *set,
			      struct error *err)
{
	uint64_t first = 0;
	bool swaps = host_swaps();

	for (unsigned int i = 0; i < mem->count && !swaps; i++) {
		int ret = add_resident_region(&mem->regions[i], first, set);

		if (ret < 0)
			return error_set_errno(err, ret, "cannot tell which memory is in use");
		first += mem->regions[i].size / PAGE_SIZE;
	}
	/* Asked again: a page that went out before it was looked at is still there. */
	if (swaps || host_swaps())
		page_set_add(set, 0, set->pages);
	return 0;
}

void memory_image_add_data(int fd, struct page_set *set)
{
	const off_t end = (off_t)(set->pages * PAGE_SIZE);
	off_t data = lseek(fd, 0, SEEK_DATA);

	while (data >= 0 && data < end) {
		off_t hole = lseek(fd, data, SEEK_HOLE);

		if (hole < 0)
			break;
		page_set_add(set, (uint64_t)data / PAGE_SIZE,
			     align_up((uint64_t)hole, PAGE_SIZE) / PAGE_SIZE -
				     (uint64_t)data / PAGE_SIZE);
		data = lseek(fd, hole, SEEK_DATA);
	}
	if (data < 0 && errno != ENXIO) /* ENXIO: no data from there on */
		page_set_add(set, 0, set->pages);
}

/* Reading -----------------------------------------------------------------------------------------*/

static int read_extent(int fd, uint8_t *to, uint64_t at, uint64_t len)
{
	while (len > 0) {
		ssize_t done = retry_eintr(pread(fd, to, len, (off_t)at));

		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		to += done;
		at += (uint64_t)done;
		len -= (uint64_t)done;
	}
	return 0;
}

int memory_image_read(int fd, const struct guest_memory *mem)
{
	struct page_set data;
	uint64_t before = 0;
	int ret = page_set_init(&data, memory_image_pages(mem), NULL);

	if (ret < 0)
		return ret;
	memory_image_add_data(fd, &data);
	for (unsigned int i = 0; i < mem->count && ret == 0; i++) {
		const struct guest_region *region = &mem->regions[i];
		const uint64_t end = before + region->size / PAGE_SIZE;
		uint64_t first = before, count;

		for (; page_set_next(&data, &first, &count) && first < end && ret == 0;
		     first += count) {
			count = MIN(count, end - first);
			ret = read_extent(fd, region->host + (first - before) * PAGE_SIZE,
					  first * PAGE_SIZE, count * PAGE_SIZE);
		}
		before = end;
	}
	page_set_fini(&data);
	return ret;
}
