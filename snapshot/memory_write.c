#include "snapshot/memory_write.h"

#include <fcntl.h>
#include <liburing.h>
#include <stdatomic.h>
#include <string.h>

#include "base/event_loop.h"
#include "snapshot/memory_write_priv.h"

/* What is next --------------------------------------------------------------------------------------*/

static bool is_zero(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE_SIZE - 1) == 0;
}

static uint64_t region_end(const struct memory_cursor *cursor)
{
	return cursor->region_first + cursor->write->mem->regions[cursor->region].size / PAGE_SIZE;
}

/* The next pages that are in the set, as far as they are of one region. */
static bool find_run(struct memory_cursor *cursor)
{
	uint64_t first = cursor->page, count;

	if (!page_set_next(cursor->write->set, &first, &count))
		return false;
	while (first >= region_end(cursor)) {
		cursor->region_first = region_end(cursor);
		cursor->region++;
	}
	cursor->page = first;
	cursor->run_end = MIN(first + count, region_end(cursor));
	return true;
}

static const uint8_t *take_page(struct memory_cursor *cursor)
{
	const uint8_t *host = cursor->write->mem->regions[cursor->region].host;

	atomic_store_explicit(&cursor->looked_at,
			      atomic_load_explicit(&cursor->looked_at, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	return host + (cursor->page++ - cursor->region_first) * PAGE_SIZE;
}

bool memory_cursor_next(struct memory_cursor *cursor, struct memory_extent *extent)
{
	extent->len = 0;
	while (extent->len < MEMORY_EXTENT_MAX &&
	       (cursor->page < cursor->run_end || (extent->len == 0 && find_run(cursor)))) {
		const uint64_t at = cursor->page * PAGE_SIZE;
		const uint8_t *page = take_page(cursor);

		if (!cursor->write->with_zeroes && is_zero(page)) {
			if (extent->len > 0)
				break;
			continue;
		}
		if (extent->len == 0)
			*extent = (struct memory_extent){ page, at, 0 };
		extent->len += PAGE_SIZE;
		cursor->written++;
	}
	return extent->len > 0;
}

/* Without a ring ------------------------------------------------------------------------------------*/

static int write_extent(int fd, const struct memory_extent *extent)
{
	uint64_t done = 0;

	while (done < extent->len) {
		ssize_t count = retry_eintr(pwrite(fd, extent->from + done, extent->len - done,
						   (off_t)(extent->at + done)));

		if (count <= 0)
			return count < 0 ? -errno : -EIO;
		done += (uint64_t)count;
	}
	/* The disk works while we look for more; fsync finds little left. A hint: its failure shows there. */
	(void)sync_file_range(fd, (off_t)extent->at, (off_t)extent->len, SYNC_FILE_RANGE_WRITE);
	return 0;
}

static int write_by_hand(struct memory_cursor *cursor)
{
	struct memory_extent extent;
	uint64_t looked_at = 0;
	int ret = 0;

	while (ret == 0 && memory_cursor_next(cursor, &extent)) {
		ret = write_extent(cursor->write->fd, &extent);
		progress_add(cursor->write->progress, (cursor->looked_at - looked_at) * PAGE_SIZE);
		looked_at = cursor->looked_at;
	}
	return ret;
}

/* Either way ----------------------------------------------------------------------------------------*/

static int write_by_ring(struct memory_cursor *cursor)
{
	const struct event_loop *loop = cursor->write->loop;

	if (!loop || !event_loop_has_ring(loop) || !event_loop_ring_has(loop, IORING_OP_WRITE))
		return -EOPNOTSUPP;
	return memory_write_by_ring(cursor);
}

/* Not the file's: there is none, or the kernel may start no thread for it (a cgroup's pids.max), or has no memory. */
static bool is_rings_fault(int ret)
{
	return ret == -EOPNOTSUPP || ret == -ECANCELED || ret == -EAGAIN;
}

static void count(const struct memory_cursor *cursor, struct memory_write_result *result)
{
	result->looked_at = cursor->looked_at;
	result->written = cursor->written;
}

int memory_write(const struct memory_write *write, struct memory_write_result *result)
{
	struct memory_cursor cursor = { .write = write };
	int ret;

	*result = (struct memory_write_result){ 0 };
	if (ftruncate(write->fd, (off_t)guest_memory_size(write->mem)) < 0)
		return -errno;
	ret = write_by_ring(&cursor);
	if (is_rings_fault(ret)) {
		/* From the beginning: of several at once nobody knows which were written. */
		result->ring = ret;
		cursor = (struct memory_cursor){ .write = write };
		ret = write_by_hand(&cursor);
	}
	count(&cursor, result);
	return ret;
}
