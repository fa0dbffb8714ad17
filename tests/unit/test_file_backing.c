#include <criterion/criterion.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/mman.h>

#include "vmm/file_backing.h"

static bool is_readable(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };

	return poll(&poll_fd, 1, 0) == 1;
}

Test(file_backing, a_file_cut_short_is_named)
{
	char path[] = "/tmp/mayfly-backing-XXXXXX";
	struct file_backings backings = { 0 };
	uint8_t *host;
	int fd = mkstemp(path), watch;

	cr_assert_eq(ftruncate(fd, 3 * PAGE_SIZE), 0);
	host = mmap(NULL, 2 * PAGE_SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
	cr_assert_eq(
		file_backings_add(&backings, host, 2 * PAGE_SIZE, 2 * PAGE_SIZE, fd, path, NULL),
		0);
	watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	cr_assert_geq(watch, 0);
	cr_assert_eq(file_backings_watch(&backings, watch), 0);

	cr_expect_str_eq(file_backings_at(&backings, host + PAGE_SIZE), path);
	cr_expect_null(file_backings_at(&backings, host + 2 * PAGE_SIZE));
	cr_expect_null(file_backings_lost(&backings));
	cr_expect_not(is_readable(watch));

	cr_assert_eq(ftruncate(fd, 2 * PAGE_SIZE), 0);
	cr_expect(is_readable(watch), "a change is told");
	cr_expect_null(file_backings_lost(&backings), "but what is mapped is all there");
	cr_assert_eq(ftruncate(fd, 2 * PAGE_SIZE - 1), 0);
	cr_expect_str_eq(file_backings_lost(&backings), path);

	close(watch);
	file_backings_fini(&backings);
	unlink(path);
}
