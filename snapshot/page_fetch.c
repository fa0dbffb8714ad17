#include "snapshot/page_fetch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/thread.h"

/* Of pages that are asked for at once: between two such pieces it shows that memory was taken away. */
#define PIECE_MAX 1024u

struct page_fetch {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping;
	/* Written by the caller while there are none to do, taken by the thread. */
	const uint8_t *pages;
	unsigned int count;
	uint64_t touched; /* pages that were, since it was made */
};

/* The thread ------------------------------------------------------------------------------------*/

static bool take(struct page_fetch *fetch, const uint8_t **page)
{
	bool stopping;

	pthread_mutex_lock(&fetch->lock);
	while (!fetch->count && !fetch->stopping)
		pthread_cond_wait(&fetch->changed, &fetch->lock);
	*page = fetch->pages;
	stopping = fetch->stopping;
	pthread_mutex_unlock(&fetch->lock);
	return !stopping;
}

static void put_back(struct page_fetch *fetch)
{
	pthread_mutex_lock(&fetch->lock);
	fetch->pages += PAGE_SIZE;
	fetch->touched++;
	if (--fetch->count == 0)
		pthread_cond_broadcast(&fetch->changed);
	pthread_mutex_unlock(&fetch->lock);
}

static void *touch_pages(void *arg)
{
	struct page_fetch *fetch = arg;
	const uint8_t *page;

	while (take(fetch, &page)) {
		(void)*(const volatile uint8_t *)page;
		put_back(fetch);
	}
	return NULL;
}

int page_fetch_create(struct page_fetch **out)
{
	struct page_fetch *fetch = calloc(1, sizeof(*fetch));
	int ret;

	if (!fetch)
		return -ENOMEM;
	pthread_mutex_init(&fetch->lock, NULL);
	thread_cond_init(&fetch->changed);
	ret = thread_start(&fetch->thread, "page-fetch", touch_pages, fetch);
	if (ret < 0) {
		free(fetch);
		return ret;
	}
	*out = fetch;
	return 0;
}

void page_fetch_destroy(struct page_fetch *fetch)
{
	if (!fetch)
		return;
	pthread_mutex_lock(&fetch->lock);
	fetch->stopping = true;
	pthread_cond_broadcast(&fetch->changed);
	pthread_mutex_unlock(&fetch->lock);
	pthread_join(fetch->thread, NULL);
	pthread_cond_destroy(&fetch->changed);
	pthread_mutex_destroy(&fetch->lock);
	free(fetch);
}

/* The caller ------------------------------------------------------------------------------------*/

/* With the lock held: till nothing is left to do. */
static int wait_until_done(struct page_fetch *fetch, const struct page_fetch_job *job)
{
	unsigned int waited_ms = 0;

	while (fetch->count) {
		const unsigned int ms = MIN(job->patience_ms - waited_ms, PROGRESS_NS / 1000000);
		const struct timespec until = clock_after_ns(CLOCK_MONOTONIC,
							     UINT64_C(1000000) * ms);
		const uint64_t before = fetch->touched;

		if (pthread_cond_timedwait(&fetch->changed, &fetch->lock, &until) != ETIMEDOUT)
			continue;
		waited_ms = fetch->touched == before ? waited_ms + ms : 0;
		if (waited_ms >= job->patience_ms)
			return -ETIMEDOUT;
		progress_add(job->progress, 0);
	}
	return 0;
}

/* What an earlier caller gave up comes first. */
static int fetch_pages(struct page_fetch *fetch, const struct page_fetch_job *job,
		       const uint8_t *pages, unsigned int count)
{
	int ret;

	pthread_mutex_lock(&fetch->lock);
	ret = wait_until_done(fetch, job);
	if (ret == 0) {
		fetch->pages = pages;
		fetch->count = count;
		pthread_cond_broadcast(&fetch->changed);
		ret = wait_until_done(fetch, job);
	}
	pthread_mutex_unlock(&fetch->lock);
	return ret;
}

/* From the first that is not there to the last. */
static int fetch_missing(struct page_fetch *fetch, const struct page_fetch_job *job,
			 const uint8_t *pages, unsigned int count)
{
	unsigned char there[PIECE_MAX];
	unsigned int first = 0;

	if (mincore((void *)(uintptr_t)pages, count * PAGE_SIZE, there) < 0)
		return -errno;
	while (first < count && there[first] & 1)
		first++;
	while (count > first && there[count - 1] & 1)
		count--;
	return first == count ? 0
			      : fetch_pages(fetch, job, pages + first * PAGE_SIZE, count - first);
}

/* The page of the image is in one of the regions, and *left pages of that follow, with it. */
static const uint8_t *page_at(const struct guest_memory *mem, uint64_t page, uint64_t *left)
{
	unsigned int i = 0;

	for (; page >= mem->regions[i].size / PAGE_SIZE; i++)
		page -= mem->regions[i].size / PAGE_SIZE;
	*left = mem->regions[i].size / PAGE_SIZE - page;
	return mem->regions[i].host + page * PAGE_SIZE;
}

int page_fetch(struct page_fetch *fetch, const struct page_fetch_job *job)
{
	uint64_t first = 0, count, left;
	int ret = 0;

	while (ret == 0 && page_set_next(job->set, &first, &count)) {
		const uint8_t *pages = page_at(job->mem, first, &left);
		unsigned int piece;

		count = MIN(count, left);
		piece = (unsigned int)MIN(count, PIECE_MAX);
		ret = fetch_missing(fetch, job, pages, piece);
		progress_add(job->progress, (uint64_t)piece * PAGE_SIZE);
		first += piece;
	}
	return ret;
}
