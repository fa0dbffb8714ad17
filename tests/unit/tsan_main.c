/*
 * The thread sanitizer's test runner: Criterion's own wants to map an arena where TSan keeps its
 * shadow, and gives up. Runs the same tests, each in a child of its own, one after the other;
 * understands --tap=FILE and --filter=SUITE (a prefix of "suite/name"), ignores the rest.
 */
#include <criterion/criterion.h>

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define WITH_TSAN
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define WITH_TSAN
#endif

#ifdef WITH_TSAN
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

/* The linker's: all that Test() and TestSuite() put into their sections. */
extern struct criterion_test *__start_cr_tst[], *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[], *__stop_cr_sts[];

#define TIMEOUT_SECONDS 120
#define SKIPPED 77 /* the status of a child whose test cannot run here; it has said why */

enum result { FAILED, PASSED, NOT_RUN };

static bool failed;

/* These two take the place of the library's, which would report to a parent that is not there. */
void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	failed = true;
	fprintf(stderr, "%s:%u: %s\n", stats->file, stats->line,
		stats->message ? stats->message : "assertion failed");
}

void criterion_abort_test(void)
{
	fflush(NULL);
	_exit(1);
}

__attribute__((format(printf, 1, 2))) void criterion_skip_test(const char *format, ...)
{
	va_list args;

	fprintf(stderr, "skipped: ");
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	fflush(NULL);
	_exit(SKIPPED);
}

void criterion_continue_test(void)
{
}

void cri_asserts_passed_incr(void)
{
}

void criterion_internal_test_setup(void)
{
}

void criterion_internal_test_teardown(void)
{
}

void criterion_internal_test_main(void (*fn)(void))
{
	fn();
}

static void no_fixture(void)
{
}

struct fixture {
	void (*init)(void);
	void (*fini)(void);
};

static struct fixture fixture_of(const struct criterion_test *test)
{
	const struct criterion_test_extra_data *data = test->data;

	for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++)
		if (!data->init && !data->fini && !strcmp((*suite)->name, test->category))
			data = (*suite)->data;
	return (struct fixture){ data->init ? data->init : no_fixture,
				 data->fini ? data->fini : no_fixture };
}

static enum result run_one(const struct criterion_test *test)
{
	const struct fixture fixture = fixture_of(test);
	int status = -1;
	pid_t child;

	fflush(NULL); /* what is buffered now must not be written by the child too */
	child = fork();

	if (child == 0) {
		alarm(TIMEOUT_SECONDS);
		fixture.init();
		test->test();
		fixture.fini();
		fflush(NULL);
		exit(failed); /* not _exit(): TSan reports at exit that it has found something */
	}
	while (waitpid(child, &status, 0) < 0)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED)
		return NOT_RUN;
	if (test->data->signal)
		return WIFSIGNALED(status) && WTERMSIG(status) == test->data->signal ? PASSED
										     : FAILED;
	return WIFEXITED(status) && WEXITSTATUS(status) == test->data->exit_code ? PASSED : FAILED;
}

int main(int argc, char *argv[])
{
	FILE *tap = NULL;
	const char *filter = "";
	int bad = 0, all = 0;

	for (int i = 1; i < argc; i++) {
		if (strncmp(argv[i], "--tap=", 6) == 0)
			tap = fopen(argv[i] + 6, "we");
		if (strncmp(argv[i], "--filter=", 9) == 0)
			filter = argv[i] + 9;
	}
	for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
		char name[256];
		enum result result;

		snprintf(name, sizeof(name), "%s/%s", (*test)->category, (*test)->name);
		if (strncmp(name, filter, strlen(filter)) != 0 || (*test)->data->disabled)
			continue;
		result = run_one(*test);
		all++;
		bad += result == FAILED;
		if (tap)
			fprintf(tap, "%sok - %s%s\n", result == FAILED ? "not " : "", name,
				result == NOT_RUN ? " # SKIP it says why above" : "");
		if (result == FAILED)
			fprintf(stderr, "FAILED %s\n", name);
	}
	if (tap)
		fclose(tap);
	printf("tsan: %d tests, %d failed\n", all, bad);
	return bad > 0;
}
#endif
