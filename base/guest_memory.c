#include "base/guest_memory.h"

#include <linux/mman.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/guest_dirty.h"

static bool region_is_valid(const struct guest_memory *mem, uint64_t gpa, uint64_t size)
{
	const struct guest_region *last = mem->count ? &mem->regions[mem->count - 1] : NULL;

	if (size == 0 || !is_aligned(gpa | size, guest_memory_granule(mem)) || gpa + size < gpa)
		return false;
	return !last || gpa >= last->gpa + last->size;
}

/* Address space before and after a region that stays without access: a host bug that runs off its end
 * faults, and no other mapping of ours is taken for a part of it. */
#define GUARD MIB(2)

/*
 * Where the kernel, which goes down from the stack, puts no mapping by itself before a hundred TiB are full:
 * 5 TiB for each region, which has 4 at most, somewhere in them. The thread sanitizer has its own ideas of
 * the address space and gets no wish.
 */
static void *far_away(unsigned int region)
{
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define KNOWS_BETTER
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(KNOWS_BETTER)
	(void)region;
	return NULL;
#else
	uintptr_t somewhere = ((uintptr_t)&region >> 12 & 0x7ffff) *
			      GUARD; /* the stack's place varies */

	/* NOLINTNEXTLINE(performance-no-int-to-ptr) */
	return (void *)(0x200000000000 + region * (5ul << 40) + somewhere);
#endif
}

static uint8_t *reserve(uint64_t size, void *wish)
{
	void *start = mmap(wish, size + 2 * GUARD, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint8_t *host;

	if (start == MAP_FAILED)
		return NULL;
	/* Aligned up from the first byte after a page of the guard: at least a page is left behind. */
	host = (uint8_t *)align_up((uintptr_t)start + PAGE_SIZE, GUARD);
	/* What is beyond one guard page on either side goes back. */
	munmap(start, (size_t)(host - PAGE_SIZE - (uint8_t *)start));
	munmap(host + size + PAGE_SIZE,
	       (size_t)((uint8_t *)start + size + 2 * GUARD - (host + size + PAGE_SIZE)));
	return host;
}

/* The region with the guard page on either side. */
static void unmap_guarded(uint8_t *host, uint64_t size)
{
	munmap(host - PAGE_SIZE, size + 2 * PAGE_SIZE);
}

static int check_region(const struct guest_memory *mem, uint64_t gpa, uint64_t size,
			struct error *err)
{
	if (mem->count == GUEST_REGIONS_MAX)
		return error_set(err, ENOSPC, "guest memory: more than %u regions",
				 GUEST_REGIONS_MAX);
	if (!region_is_valid(mem, gpa, size))
		return error_set(err, EINVAL,
				 "guest memory: impossible region of %#lx bytes at %#lx", size,
				 gpa);
	return 0;
}

/* Nothing is touched yet: it is addresses that are missing. */
static int no_room(uint64_t size, struct error *err)
{
	return error_set_errno(err, errno,
			       "guest memory: no room for %lu MiB; ask for less, or raise the "
			       "limit on addresses (ulimit -v)",
			       size >> 20);
}

/* How many of 2 MiB are free, in words: a jail does not show it. */
static const char *free_huge_pages(char *text, size_t size)
{
	FILE *file = fopen("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "re");

	if (!file || !fgets(text, (int)size, file))
		snprintf(text, size, "fewer");
	if (file)
		fclose(file);
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static int refuse_huge(int code, uint64_t size, struct error *err)
{
	char has[24];

	/* Where there is no pool of that size it is another error. */
	if (code != ENOMEM)
		return error_set_errno(err, code,
				       "guest memory: this host gives no huge pages of 2 MiB");
	return error_set(err, ENOMEM,
			 "guest memory: %lu MiB in huge pages take %lu of 2 MiB, and this host has "
			 "%s free; raise /proc/sys/vm/nr_hugepages",
			 size >> 20, size / MIB(2), free_huge_pages(has, sizeof(has)));
}

/* Without NORESERVE: a huge page that is not there when the guest touches it would be its end. */
static int map_huge(void *host, uint64_t size, struct error *err)
{
	if (mmap(host, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_HUGETLB | MAP_HUGE_2MB, -1,
		 0) == MAP_FAILED)
		return refuse_huge(errno, size, err);
	return 0;
}

static int map_small(void *host, uint64_t size, bool transparent, struct error *err)
{
	/* NORESERVE: a host runs more guests than it has memory; what is not touched costs nothing. */
	if (mmap(host, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == MAP_FAILED)
		return error_set_errno(err, errno, "guest memory: cannot map %lu MiB", size >> 20);
	if (transparent && madvise(host, size, MADV_HUGEPAGE) < 0)
		return error_set_errno(err, errno,
				       "guest memory: this host has no transparent huge pages");
	return 0;
}

int guest_memory_add(struct guest_memory *mem, uint64_t gpa, uint64_t size, struct error *err)
{
	int ret = check_region(mem, gpa, size, err);
	uint8_t *host;

	if (ret < 0)
		return ret;
	host = reserve(size, NULL);
	if (!host)
		return no_room(size, err);
	ret = mem->pages == GUEST_PAGES_2M
		      ? map_huge(host, size, err)
		      : map_small(host, size, mem->pages == GUEST_PAGES_TRANSPARENT, err);
	if (ret < 0) {
		unmap_guarded(host, size);
		return ret;
	}
	mem->regions[mem->count++] = (struct guest_region){ gpa, size, host };
	return 0;
}

static bool overlaps(const struct guest_region *a, const struct guest_region *b)
{
	return a->gpa < b->gpa + b->size && b->gpa < a->gpa + a->size;
}

static bool window_is_valid(const struct guest_memory *mem, const struct guest_region *region)
{
	bool valid = region->size > 0 && is_aligned(region->gpa | region->size, PAGE_SIZE) &&
		     region->gpa + region->size > region->gpa;

	for (unsigned int i = 0; i < mem->count && valid; i++)
		valid = !overlaps(region, &mem->regions[i]);
	for (unsigned int i = 0; i < mem->window_count && valid; i++)
		valid = !overlaps(region, &mem->windows[i].region);
	return valid;
}

int guest_memory_add_window(struct guest_memory *mem, const struct guest_region *region,
			    bool read_only, struct error *err)
{
	if (mem->window_count == GUEST_WINDOWS_MAX)
		return error_set(err, ENOSPC, "guest memory: more than %u windows",
				 GUEST_WINDOWS_MAX);
	if (!window_is_valid(mem, region))
		return error_set(err, EINVAL,
				 "guest memory: impossible window of %#lx bytes at %#lx",
				 region->size, region->gpa);
	mem->windows[mem->window_count++] = (struct guest_window){ *region, read_only };
	return 0;
}

int guest_memory_reserve(struct guest_memory *mem, uint64_t gpa, uint64_t size, struct error *err)
{
	int ret = check_region(mem, gpa, size, err);
	uint8_t *host;

	if (ret < 0)
		return ret;
	host = reserve(size, far_away(mem->count));
	if (!host)
		return no_room(size, err);
	munmap(host, size);
	mem->regions[mem->count++] = (struct guest_region){ gpa, size, host };
	return 0;
}

static void unmap_first(struct guest_memory *mem, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		munmap(mem->regions[i].host, mem->regions[i].size);
}

static int map_all(struct guest_memory *mem, int flags, int fd)
{
	uint64_t offset = 0;

	for (unsigned int i = 0; i < mem->count; i++) {
		const struct guest_region *region = &mem->regions[i];
		void *at = mmap(region->host, region->size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_FIXED_NOREPLACE | flags, fd,
				fd < 0 ? 0 : (off_t)offset);

		if (at == MAP_FAILED) {
			int code = errno;

			unmap_first(mem, i);
			return -code;
		}
		offset += region->size;
	}
	return 0;
}

int guest_memory_map_image(struct guest_memory *mem, int fd)
{
	return map_all(mem, MAP_NORESERVE, fd);
}

int guest_memory_map_huge_image(struct guest_memory *mem, int fd, struct error *err)
{
	int ret;

	mem->pages = GUEST_PAGES_2M;
	ret = map_all(mem, 0, fd);
	return ret < 0 ? refuse_huge(-ret, guest_memory_size(mem), err) : 0;
}

int guest_memory_map_zeroes(struct guest_memory *mem, struct error *err)
{
	const bool huge = mem->pages == GUEST_PAGES_2M;
	int ret = map_all(mem,
			  huge ? MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_2MB
			       : MAP_ANONYMOUS | MAP_NORESERVE,
			  -1);

	if (ret < 0 && huge)
		return refuse_huge(-ret, guest_memory_size(mem), err);
	return ret < 0 ? error_set_errno(err, ret, "cannot map guest memory") : 0;
}

void guest_memory_unmap(struct guest_memory *mem)
{
	unmap_first(mem, mem->count);
}

void guest_memory_fini(struct guest_memory *mem)
{
	for (unsigned int i = 0; i < mem->count; i++)
		unmap_guarded(mem->regions[i].host, mem->regions[i].size);
	mem->count = mem->window_count = 0;
	guest_dirty_stop(mem);
}

uint64_t guest_memory_granule(const struct guest_memory *mem)
{
	return mem->pages == GUEST_PAGES_2M ? MIB(2) : PAGE_SIZE;
}

uint64_t guest_memory_size(const struct guest_memory *mem)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < mem->count; i++)
		sum += mem->regions[i].size;
	return sum;
}

static void *ptr_in(const struct guest_region *region, uint64_t gpa, uint64_t len)
{
	const uint64_t offset = gpa - region->gpa;

	/* Subtractions only: gpa + len could wrap around. */
	if (gpa >= region->gpa && offset < region->size && len <= region->size - offset)
		return region->host + offset;
	return NULL;
}

static void *find(const struct guest_memory *mem, uint64_t gpa, uint64_t len, bool write)
{
	void *ptr = NULL;

	for (unsigned int i = 0; i < mem->count && !ptr; i++)
		ptr = ptr_in(&mem->regions[i], gpa, len);
	for (unsigned int i = 0; i < mem->window_count && !ptr; i++)
		if (!write || !mem->windows[i].read_only)
			ptr = ptr_in(&mem->windows[i].region, gpa, len);
	return ptr;
}

void *guest_ptr(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	return find(mem, gpa, len, true);
}

void *guest_ptr_to_read(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
	return find(mem, gpa, len, false);
}

int guest_write(const struct guest_memory *mem, uint64_t gpa, const void *data, uint64_t len)
{
	void *to = guest_ptr(mem, gpa, len);

	if (!to)
		return -EFAULT;
	guest_dirty(mem, to, len);
	memcpy(to, data, len);
	return 0;
}

int guest_memory_map_file(struct guest_memory *mem, uint64_t gpa, int fd, uint64_t offset,
			  uint64_t len)
{
	void *at = guest_ptr(mem, gpa, len);

	if (!at || !is_aligned(gpa | offset | len, PAGE_SIZE))
		return -EFAULT;
	if (mem->pages == GUEST_PAGES_2M)
		return -ENODEV;
	if (mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
		 (off_t)offset) == MAP_FAILED)
		return -errno;
	return 0;
}
