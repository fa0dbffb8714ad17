#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

static char name[2000];

static void set_up(void)
{
	memset(name, 'a', sizeof(name) - 1);
}

TestSuite(error, .init = set_up);

static bool ends_with(const char *text, const char *end)
{
	return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

Test(error, a_long_name_hides_neither_the_object_nor_the_reason)
{
	struct error err = { 0 };

	cr_expect_eq(error_set_errno(&err, ENOENT, "drive vda: cannot open %s", name), -ENOENT);
	cr_expect_eq(strlen(err.text), sizeof(err.text) - 1);
	cr_expect(strncmp(err.text, "drive vda: cannot open aaa", 26) == 0, "%s", err.text);
	cr_expect(ends_with(err.text, "aaa: No such file or directory"), "%s", err.text);
	cr_expect(strstr(err.text, "aaa ... aaa"));
	error_set(&err, EINVAL, "--cpus: '%s' is not a number", name);
	cr_expect(ends_with(err.text, "aaa' is not a number"), "%s", err.text);
	error_prefix(&err, "kernel %s", name);
	cr_expect(strncmp(err.text, "kernel aaa", 10) == 0, "%s", err.text);
	cr_expect(ends_with(err.text, "aaa' is not a number"), "%s", err.text);
}

/* One byte less than there is room for, as much, and one more. */
Test(error, what_fits_is_whole)
{
	for (int len = 510; len <= 512; len++) {
		struct error err = { 0 };

		error_set(&err, EINVAL, "%.*s", len, name);
		cr_expect_eq(strlen(err.text), (size_t)(len > 511 ? 511 : len));
		cr_expect_eq(strstr(err.text, " ... ") != NULL, len > 511);
	}
}

Test(error, control_bytes_are_not_obeyed)
{
	struct error err = { 0 };

	error_set(&err, EINVAL, "kernel a\nb\x1b[2J\x7f");
	cr_expect_str_eq(err.text, "kernel a?b?[2J?");
}

Test(error, a_limit_on_files_can_be_raised)
{
	struct error err = { 0 };

	cr_expect_eq(error_set_errno(&err, -EMFILE, "cannot make an eventfd"), -EMFILE);
	cr_expect_str_eq(err.text,
			 "cannot make an eventfd: Too many open files; raise the limit on "
			 "them (ulimit -n)");
}

Test(error, nobody_wants_to_know)
{
	cr_expect_eq(error_set(NULL, EINVAL, "x"), -EINVAL);
	cr_expect_eq(error_set_errno(NULL, -EIO, "x"), -EIO);
	cr_expect_eq(error_prefix(NULL, "x"), 0);
}
