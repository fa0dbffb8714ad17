/* Small files as a whole, and what is refused. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/read_file.h"

static char path[] = "/tmp/mayfly-read-XXXXXX";

static void setup(void)
{
	int fd = mkstemp(path);

	cr_assert_geq(fd, 0);
	close(fd);
}

static void teardown(void)
{
	unlink(path);
}

TestSuite(read_file, .init = setup, .fini = teardown);

static void refused(const char *name, const char *words)
{
	struct error err = { 0 };
	size_t len;

	cr_expect_null(read_file(name, 1, &len, &err));
	cr_expect(strstr(err.text, name) && strstr(err.text, words), "%s", err.text);
}

Test(read_file, all_of_it_and_a_zero)
{
	struct error err = { 0 };
	FILE *file = fopen(path, "we");
	char *text;
	size_t len;

	cr_assert(file);
	fputs("two\nlines", file);
	fclose(file);
	text = read_file(path, 1, &len, &err);
	cr_assert(text, "%s", err.text);
	cr_expect_eq(len, 9);
	cr_expect_str_eq(text, "two\nlines");
	free(text);
}

Test(read_file, what_is_no_small_file)
{
	refused("/nowhere/at/all", "cannot open");
	refused("/tmp", "is no file of at most 1 MiB");
	cr_assert_eq(truncate(path, (1 << 20) + 1), 0);
	refused(path, "is no file of at most 1 MiB");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(mkfifo(path, 0600), 0);
	refused(path, "is no file of at most 1 MiB"); /* and nobody waits for a writer */
}
