/*
 * A snapshot's memory written three ways, in turn: one pwrite after the other, by a loop's ring (as a save does), and by
 * the ring past the page cache; and the first read of it afterwards, by a private mapping as a clone's. The time has the
 * fsync in it.
 *
 *   save [FOLDER [MIB [ROUNDS]]]    where the file is made (/tmp), how much is written (512), how often (9)
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/event_loop.h"
#include "benches/stats.h"
#include "snapshot/memory_image.h"
#include "snapshot/memory_write.h"

#define ROUNDS_MAX 64u

struct way {
	const char *name;
	bool by_ring, is_direct;
	double ms[ROUNDS_MAX], cpu_ms[ROUNDS_MAX], read_ms[ROUNDS_MAX];
};

static struct way ways[] = {
	{ .name = "pwrite" },
	{ .name = "ring", .by_ring = true },
	{ .name = "ring, direct", .by_ring = true, .is_direct = true },
};

static struct guest_memory memory;
static struct page_set set;
static struct event_loop *loop;

static double now_ms(clockid_t clock)
{
	return (double)clock_now_ns(clock) / 1e6;
}

/* Every other run of so many pages; 0: all of them. */
static void make_memory(uint64_t bytes, uint64_t run)
{
	const uint64_t pages = (run ? 2 : 1) * bytes / PAGE_SIZE;
	struct error error = { 0 };
	uint64_t random = 1;

	if (guest_memory_add(&memory, 0, pages * PAGE_SIZE, &error) < 0 ||
	    page_set_init(&set, pages, &error) < 0)
		errx(1, "%s", error.text);
	for (uint64_t page = 0; page < pages; page++) {
		if (run && page / run % 2)
			continue;
		page_set_add(&set, page, 1);
		for (uint64_t i = 0; i < PAGE_SIZE; i += sizeof(random)) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			memcpy(memory.regions[0].host + page * PAGE_SIZE + i, &random,
			       sizeof(random));
		}
	}
}

static void free_memory(void)
{
	guest_memory_fini(&memory);
	page_set_fini(&set);
	memory = (struct guest_memory){ 0 };
}

static int make_file(const char *folder, bool is_direct)
{
	char name[256];
	int fd;

	snprintf(name, sizeof(name), "%s/mayfly-bench-XXXXXX", folder);
	fd = mkostemp(name, O_CLOEXEC | (is_direct ? O_DIRECT : 0));
	if (fd < 0)
		err(1, "%s", name);
	unlink(name);
	return fd;
}

static double read_again(int fd)
{
	const uint64_t size = guest_memory_size(&memory);
	const double begin = now_ms(CLOCK_MONOTONIC);
	volatile const uint8_t *image = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
	uint64_t first = 0, count;

	if (image == MAP_FAILED)
		err(1, "mmap");
	for (; page_set_next(&set, &first, &count); first += count)
		for (uint64_t page = first; page < first + count; page++)
			(void)image[page * PAGE_SIZE];
	munmap((void *)(uintptr_t)image, size);
	return now_ms(CLOCK_MONOTONIC) - begin;
}

static void measure(struct way *way, const char *folder, unsigned int round)
{
	const struct memory_write job = { .fd = make_file(folder, way->is_direct),
					  .mem = &memory,
					  .set = &set,
					  .loop = way->by_ring ? loop : NULL };
	const double cpu = now_ms(CLOCK_PROCESS_CPUTIME_ID), begin = now_ms(CLOCK_MONOTONIC);
	struct memory_write_result result;
	int ret = memory_write(&job, &result);

	if (ret < 0 || fsync(job.fd) < 0)
		errx(1, "%s: cannot write in %s", way->name, folder);
	if (way->by_ring && result.ring < 0)
		errx(1, "%s: the ring could not do it", way->name);
	way->ms[round] = now_ms(CLOCK_MONOTONIC) - begin;
	way->cpu_ms[round] = now_ms(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	way->read_ms[round] = read_again(job.fd);
	close(job.fd);
}

static void print(struct way *way, uint64_t mib, unsigned int rounds)
{
	const struct stats took = stats_of(way->ms, rounds);

	printf("  %-14s %8.0f %8.0f %8.0f %8.0f %8.0f\n", way->name, took.p50, took.min,
	       (double)mib * 1e3 / took.p50, stats_of(way->cpu_ms, rounds).p50,
	       stats_of(way->read_ms, rounds).p50);
}

static void run(const char *folder, uint64_t mib, unsigned int rounds, uint64_t pages)
{
	make_memory(MIB(mib), pages);
	for (unsigned int round = 0; round < rounds; round++)
		for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
			measure(&ways[i], folder, round);
	if (pages)
		printf("every other run of %lu pages, %lu MiB of them\n", pages, mib);
	else
		printf("one run, %lu MiB\n", mib);
	printf("  %-14s %8s %8s %8s %8s %8s\n", "", "ms p50", "min", "MiB/s", "CPU ms", "1st read");
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		print(&ways[i], mib, rounds);
	fflush(stdout);
	free_memory();
}

int main(int argc, char **argv)
{
	const char *folder = argc > 1 ? argv[1] : "/tmp";
	const uint64_t mib = argc > 2 ? strtoul(argv[2], NULL, 10) : 512;
	const unsigned long rounds = argc > 3 ? strtoul(argv[3], NULL, 10) : 9;
	struct error error = { 0 };

	if (mib == 0 || rounds == 0 || rounds > ROUNDS_MAX)
		errx(2, "save [FOLDER [MIB [ROUNDS]]], at most %u rounds", ROUNDS_MAX);
	if (event_loop_start(&loop, EVENT_LOOP_URING, "io0", &error) < 0 ||
	    event_loop_wait_started(loop, &error) < 0)
		errx(1, "%s", error.text);
	for (size_t i = 0; i < 2; i++)
		run(folder, mib, (unsigned int)rounds, i * 16);
	event_loop_destroy(loop);
	return 0;
}
