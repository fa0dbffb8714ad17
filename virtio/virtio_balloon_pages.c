/* Pages that go back to the host: named one by one by the inflate queue, in ranges by the others. */
#include <sys/mman.h>

#include "base/guest_dirty.h"
#include "virtio/iov.h"
#include "virtio/virtio_balloon_priv.h"

/* What a step may take, so that a turn of the loop lasts about a millisecond whatever the guest names. Linux
 * names 256 pages in a chain. */
#define STEP_PFNS 256u
#define STEP_BYTES MIB(4)

/* Neighbours, to go in one call. */
struct range {
	uint8_t *start, *end;
};

/*
 * Guest memory is private: what is dropped is free at once, and reads as zeroes (or as the file that is mapped
 * there) when it is touched again. The bytes that went, of huge pages those of whole ones; negative on failure.
 */
static int64_t give_back(struct virtio_balloon *balloon, const struct range *named)
{
	const uint64_t granule = guest_memory_granule(balloon->dev.mem);
	const struct range whole = { (uint8_t *)align_up((uintptr_t)named->start, granule),
				     (uint8_t *)align_down((uintptr_t)named->end, granule) };
	const size_t len = whole.end > whole.start ? (size_t)(whole.end - whole.start) : 0;

	guest_dirty(balloon->dev.mem, whole.start, len);
	if (len == 0 || madvise(whole.start, len, MADV_DONTNEED) == 0)
		return (int64_t)len;
	log_limited(&balloon->dev.warnings, LOG_WARN, "%s: cannot give back %zu KiB: %s",
		    balloon->dev.name, len >> 10, strerrordesc_np(errno));
	return -errno;
}

/* By number ---------------------------------------------------------------*/

/* Nearly sorted as a rule, and short: no better sort pays. */
static void sort(uint32_t *pfns, unsigned int count)
{
	for (unsigned int i = 1; i < count; i++) {
		const uint32_t pfn = pfns[i];
		unsigned int at = i;

		for (; at > 0 && pfns[at - 1] > pfn; at--)
			pfns[at] = pfns[at - 1];
		pfns[at] = pfn;
	}
}

static void inflate_range(struct virtio_balloon *balloon, const struct range *range)
{
	if (give_back(balloon, range) < 0)
		virtio_count(&balloon->dev, BALLOON_EVENT_FAILS, 1);
}

static uint8_t *page_at(struct virtio_balloon *balloon, uint32_t pfn)
{
	uint8_t *host = guest_ptr(balloon->dev.mem, (uint64_t)pfn << VIRTIO_BALLOON_PFN_SHIFT,
				  PAGE_SIZE);

	if (host)
		return host;
	virtio_count(&balloon->dev, BALLOON_EVENT_FAILS, 1);
	log_limited(&balloon->dev.warnings, LOG_WARN, "%s: page %#x is not in the guest's memory",
		    balloon->dev.name, pfn);
	return NULL;
}

/* Regions of guest memory never touch in our address space, so neighbours there are the guest's too. */
static void inflate(struct virtio_balloon *balloon, uint32_t *pfns, unsigned int count)
{
	struct range range = { 0 };

	sort(pfns, count);
	for (unsigned int i = 0; i < count; i++) {
		uint8_t *host = page_at(balloon, pfns[i]);

		if (!host)
			continue;
		if (host != range.end) {
			inflate_range(balloon, &range);
			range.start = host;
		}
		range.end = host + PAGE_SIZE;
	}
	inflate_range(balloon, &range);
}

int balloon_serve_inflate(struct virtio_queue *queue)
{
	struct virtio_balloon *balloon = balloon_of(queue->dev);
	struct balloon_work *work = &balloon->work[BALLOON_INFLATE];
	uint32_t pfns[STEP_PFNS];
	size_t bytes;
	int ret = balloon_take(queue, work);

	if (ret <= 0)
		return ret;
	bytes = iov_read(work->at, work->left, pfns, sizeof(pfns));
	iov_advance(&work->at, &work->left, bytes);
	inflate(balloon, pfns, (unsigned int)(bytes / sizeof(pfns[0])));
	if (work->left == 0) {
		virtio_count(&balloon->dev, BALLOON_INFLATE_COUNT, 1);
		balloon_finish(queue, work);
	}
	return 1;
}

/* By range ---------------------------------------------------------------------------------------*/

void balloon_give_back(struct virtio_balloon *balloon, struct balloon_work *work,
		       enum balloon_counter freed, enum balloon_counter fails)
{
	/* The host's alignment is the guest's: regions are mapped at multiples of 2 MiB. */
	uint8_t *start = work->at->iov_base;
	const size_t len = MIN(work->at->iov_len, STEP_BYTES);
	const struct range named = { start, start + len };
	const int64_t ret = give_back(balloon, &named);

	if (ret < 0)
		virtio_count(&balloon->dev, fails, 1);
	else
		virtio_count(&balloon->dev, freed, (uint64_t)ret);
	iov_advance(&work->at, &work->left, len);
}

/* 5.5.6.7: every buffer is free pages. */
int balloon_serve_report(struct virtio_queue *queue)
{
	struct virtio_balloon *balloon = balloon_of(queue->dev);
	struct balloon_work *work = &balloon->work[BALLOON_REPORT];
	int ret = balloon_take(queue, work);

	if (ret <= 0)
		return ret;
	balloon_give_back(balloon, work, BALLOON_REPORT_FREED, BALLOON_REPORT_FAILS);
	if (work->left == 0) {
		virtio_count(&balloon->dev, BALLOON_REPORT_COUNT, 1);
		balloon_finish(queue, work);
	}
	return 1;
}
