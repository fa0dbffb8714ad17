/* Guest memory into a file, by a loop's ring and without one: what lands where, and what failures leave. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/event_loop.h"
#include "snapshot/memory_image.h"
#include "snapshot/memory_write.h"

#define LOW MIB(12)
#define HIGH MIB(4)
#define PAGES ((LOW + HIGH) / PAGE_SIZE)

/* Two tests and not a parameterized one: Criterion's parameters do not work under TSan. */
#define BOTH(name)                                         \
	static void name(void);                            \
	Test(memory_write_by_hand, name, .fini = teardown) \
	{                                                  \
		setup(false);                              \
		name();                                    \
	}                                                  \
	Test(memory_write_by_ring, name, .fini = teardown) \
	{                                                  \
		setup(true);                               \
		name();                                    \
	}                                                  \
	static void name(void)

static struct guest_memory memory;
static struct page_set set;
static struct event_loop *loop;
static uint8_t *wanted; /* what the file is to have */
static int fd = -1;

static int temporary_file(void)
{
	char path[] = "/tmp/mayfly-write-XXXXXX";
	int file = mkostemp(path, O_CLOEXEC);

	cr_assert_geq(file, 0);
	unlink(path);
	return file;
}

static void setup(bool with_ring)
{
	struct error err = { 0 };

	cr_assert_eq(guest_memory_add(&memory, 0, LOW, &err), 0, "%s", err.text);
	cr_assert_eq(guest_memory_add(&memory, GIB(4), HIGH, &err), 0, "%s", err.text);
	cr_assert_eq(page_set_init(&set, PAGES, &err), 0);
	wanted = calloc(PAGES, PAGE_SIZE);
	cr_assert_not_null(wanted);
	fd = temporary_file();
	if (!with_ring)
		return;
	cr_assert_eq(event_loop_start(&loop, EVENT_LOOP_URING, "test", &err), 0, "%s", err.text);
	cr_assert_eq(event_loop_wait_started(loop, &err), 0, "%s", err.text);
	if (!event_loop_has_ring(loop))
		cr_skip_test("no io_uring here");
}

static void teardown(void)
{
	event_loop_destroy(loop);
	guest_memory_fini(&memory);
	page_set_fini(&set);
	free(wanted);
	close_fd(&fd);
}

static uint8_t *page_at(uint64_t page)
{
	return page < LOW / PAGE_SIZE
		       ? memory.regions[0].host + page * PAGE_SIZE
		       : memory.regions[1].host + (page - LOW / PAGE_SIZE) * PAGE_SIZE;
}

/* Pages that are unlike each other. */
static void fill(uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++)
		for (unsigned int i = 0; i < PAGE_SIZE; i += sizeof(page))
			memcpy(page_at(page) + i, &(uint64_t){ page * PAGE_SIZE + i + 1 },
			       sizeof(uint64_t));
}

static void want(uint64_t first, uint64_t count)
{
	page_set_add(&set, first, count);
	for (uint64_t page = first; page < first + count; page++)
		memcpy(wanted + page * PAGE_SIZE, page_at(page), PAGE_SIZE);
}

static int write_all(struct memory_write job, struct memory_write_result *result)
{
	job.fd = fd;
	job.mem = &memory;
	job.set = &set;
	job.loop = loop;
	return memory_write(&job, result);
}

static void check_file(void)
{
	uint8_t *has = mmap(NULL, PAGES * PAGE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	cr_expect_eq(st.st_size, (off_t)(PAGES * PAGE_SIZE));
	cr_assert_neq(has, MAP_FAILED);
	for (uint64_t page = 0; page < PAGES; page++)
		cr_assert_eq(memcmp(has + page * PAGE_SIZE, wanted + page * PAGE_SIZE, PAGE_SIZE),
			     0, "page %lu", page);
	munmap(has, PAGES * PAGE_SIZE);
}

static bool is_hole(uint64_t page)
{
	return lseek(fd, (off_t)(page * PAGE_SIZE), SEEK_DATA) != (off_t)(page * PAGE_SIZE);
}

/* Runs over the end of a region, longer than a write is, of one page; and what is in memory but not in the set. */
BOTH(what_is_in_the_set_lands_at_its_place)
{
	struct memory_write_result result;

	fill(0, PAGES);
	want(3, 1);
	want(5, 1);
	want(8, 1100);
	want(LOW / PAGE_SIZE - 2, 4);
	want(PAGES - 1, 1);
	cr_assert_eq(page_set_count(&set), 1107);
	cr_assert_eq(write_all((struct memory_write){ 0 }, &result), 0);
	cr_expect_eq(result.ring, loop ? 0 : -EOPNOTSUPP);
	cr_expect_eq(result.looked_at, 1107);
	cr_expect_eq(result.written, 1107);
	check_file();
	cr_expect(is_hole(4) && is_hole(2000));
}

BOTH(pages_of_zeroes_are_holes)
{
	struct memory_write_result result;

	fill(300, 2);
	fill(303, 1);
	want(0, PAGES);
	cr_assert_eq(write_all((struct memory_write){ 0 }, &result), 0);
	cr_expect_eq(result.looked_at, PAGES);
	cr_expect_eq(result.written, 3);
	check_file();
	cr_expect(is_hole(0) && is_hole(302) && !is_hole(303) && is_hole(PAGES - 1));
}

BOTH(nothing_to_write)
{
	struct memory_write_result result;

	cr_assert_eq(write_all((struct memory_write){ 0 }, &result), 0);
	cr_expect_eq(result.written, 0);
	check_file();
}

/* In a diff a page that has become zeroes is data. What the file has beside them stays. */
BOTH(with_zeroes_over_what_is_there)
{
	struct memory_write_result result;

	fill(0, PAGES);
	want(0, PAGES);
	cr_assert_eq(write_all((struct memory_write){ 0 }, &result), 0);
	page_set_fini(&set);
	cr_assert_eq(page_set_init(&set, PAGES, NULL), 0);
	memset(page_at(7), 0, PAGE_SIZE);
	memset(page_at(10), 'x', PAGE_SIZE);
	want(7, 1);
	want(10, 1);
	cr_assert_eq(write_all((struct memory_write){ .with_zeroes = true }, &result), 0);
	cr_expect_eq(result.written, 2);
	check_file();
	cr_expect(!is_hole(7));
}

/* What is past the limit fails; what lies across it is written in part first. */
BOTH(a_write_that_comes_short_goes_on)
{
	const rlim_t limit = MIB(5) + 3 * PAGE_SIZE;
	struct memory_write_result result;
	struct rlimit old;

	fill(0, PAGES);
	want(0, PAGES);
	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(ftruncate(fd, (off_t)(PAGES * PAGE_SIZE)), 0);
	cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &(struct rlimit){ limit, old.rlim_max }), 0);
	cr_expect_eq(write_all((struct memory_write){ 0 }, &result), -EFBIG);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
	cr_expect(!is_hole(limit / PAGE_SIZE - 1));
	cr_assert_eq(write_all((struct memory_write){ 0 }, &result), 0);
	check_file();
}

/* When it returns nothing of the memory is in use any more: what comes next may be the machine's end. */
BOTH(a_failure_is_the_writes_own)
{
	struct memory_write_result result;

	close_fd(&fd);
	fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	cr_assert_eq(ftruncate(fd, (off_t)(PAGES * PAGE_SIZE)), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
	fill(0, PAGES);
	want(0, PAGES);
	cr_expect_eq(write_all((struct memory_write){ 0 }, &result), -EPERM);
	guest_memory_fini(&memory);
}

BOTH(memory_that_is_gone_is_an_error)
{
	struct memory_write_result result;

	fill(0, PAGES);
	want(0, PAGES);
	cr_assert_eq(mprotect(page_at(500), PAGE_SIZE, PROT_NONE), 0);
	cr_expect_eq(write_all((struct memory_write){ .with_zeroes = true }, &result), -EFAULT);
	cr_assert_eq(mprotect(page_at(500), PAGE_SIZE, PROT_READ), 0);
	cr_assert_eq(write_all((struct memory_write){ .with_zeroes = true }, &result), 0);
	check_file();
}

/* Progress ----------------------------------------------------------------------------------------*/

struct told {
	struct progress progress;
	unsigned int times;
	uint64_t last;
};

static void note(struct progress *progress)
{
	struct told *told = container_of(progress, struct told, progress);

	cr_expect_leq(told->last, progress->done);
	cr_expect_leq(progress->done, progress->total);
	told->last = progress->done;
	told->times++;
}

Test(progress, a_step_is_told_of_at_both_ends)
{
	struct told told = { .progress.tell = note };

	progress_begin(&told.progress, "word", 100);
	cr_expect_eq(told.times, 1);
	progress_add(&told.progress, 40);
	progress_end(&told.progress);
	cr_expect_geq(told.times, 2);
	cr_expect_eq(told.last, 100);
	progress_begin(NULL, "word", 100);
	progress_add(NULL, 40);
	progress_end(NULL);
}

Test(progress, now_and_then_in_between)
{
	struct told told = { .progress.tell = note };

	progress_begin(&told.progress, "word", 100);
	for (int i = 0; i < 10; i++) {
		told.progress.told_ns -= PROGRESS_NS;
		progress_add(&told.progress, 20);
	}
	cr_expect_eq(told.times, 11);
	cr_expect_eq(told.last, 100, "more than all is all");
}

/* By whoever waits, too. */
BOTH(progress_comes_up_to_all)
{
	struct told told = { .progress.tell = note };
	struct memory_write_result result;

	fill(0, PAGES);
	want(0, PAGES);
	progress_begin(&told.progress, "memory", PAGES * PAGE_SIZE);
	cr_assert_eq(write_all((struct memory_write){ .progress = &told.progress }, &result), 0);
	if (!loop)
		cr_expect_eq(told.progress.done, PAGES * PAGE_SIZE);
	progress_end(&told.progress);
	cr_expect_eq(told.last, PAGES * PAGE_SIZE);
}
