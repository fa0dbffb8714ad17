/* The job that the host left in the export. Strings end with NUL, because arguments and paths may hold
 * any other byte: directory, number of binds, their sources and targets, arguments. */
#include "machine.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct strings {
	char *next, *end;
};

static struct strings read_strings(const char *path)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		lab_fail("cannot open %s", path);
	size_t size = (size_t)st.st_size, have = 0;
	char *text = malloc(size + 1);
	while (text && have < size) {
		ssize_t n = read(fd, text + have, size - have);
		if (n <= 0)
			lab_fail("cannot read %s", path);
		have += (size_t)n;
	}
	close(fd);
	return (struct strings){ text, text + size };
}

static char *take(struct strings *s)
{
	if (s->next >= s->end)
		return NULL;
	char *string = s->next;
	s->next += strlen(string) + 1;
	return string;
}

static const char *take_one(struct strings *s)
{
	const char *string = take(s);
	if (!string)
		lab_fail("the job is cut short");
	return string;
}

static char **take_rest(struct strings *s)
{
	size_t n = 0;
	for (char *p = s->next; p < s->end; p += strlen(p) + 1)
		n++;
	char **list = calloc(n + 1, sizeof(*list));
	if (!list)
		lab_fail("the job is too large");
	for (size_t i = 0; i < n; i++)
		list[i] = take(s);
	return list;
}

struct job read_job(const char *job_path, const char *env_path)
{
	struct strings s = read_strings(job_path), env = read_strings(env_path);
	struct job job = { .cwd = take_one(&s) };

	job.nbinds = strtoul(take_one(&s), NULL, 10);
	job.binds = calloc(job.nbinds + 1, sizeof(*job.binds));
	if (!job.binds)
		lab_fail("the job is too large");
	for (size_t i = 0; i < job.nbinds; i++) {
		job.binds[i].source = take_one(&s);
		job.binds[i].target = take_one(&s);
	}
	job.argv = take_rest(&s);
	job.env = take_rest(&env);
	return job;
}
