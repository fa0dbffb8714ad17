/* @pattern-write, @pattern-check: DEV SIZE SEED [OFFSET], the pattern of pattern.h from OFFSET on. */
#define _GNU_SOURCE
#include "pattern.h"
#include "init.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)

struct region {
	int fd;
	uint64_t size, seed, offset;
	uint64_t *buf; /* CHUNK bytes, page-aligned */
};

/* A number with K, M or G behind it. */
static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = strtoull(text, &end, 0);

	if (*end == 'K')
		n <<= 10;
	else if (*end == 'M')
		n <<= 20;
	else if (*end == 'G')
		n <<= 30;
	return n;
}

/* O_DIRECT, so that what is read is what the device has, not what the page cache remembers. */
static int region_open(struct region *r, int argc, char **argv, int flags)
{
	r->size = number(argv[2]);
	r->seed = number(argv[3]);
	r->offset = argc > 4 ? number(argv[4]) : 0;
	if (!r->size || r->size % 512 || r->offset % 512)
		return fail("%s: size and offset must be multiples of 512", argv[0]);
	r->buf = aligned_alloc(4096, CHUNK);
	r->fd = open(argv[1], flags | O_DIRECT | O_CLOEXEC);
	if (r->fd < 0 && errno == EINVAL)
		r->fd = open(argv[1], flags | O_CLOEXEC);
	if (!r->buf || r->fd < 0)
		return fail("cannot open %s: %s", argv[1], strerror(errno));
	return 0;
}

static void region_close(struct region *r)
{
	free(r->buf);
	if (r->fd >= 0)
		close(r->fd);
}

static size_t chunk_at(const struct region *r, uint64_t at)
{
	return r->size - at < CHUNK ? (size_t)(r->size - at) : CHUNK;
}

static int write_region(const struct region *r, const char *name)
{
	for (uint64_t at = 0; at < r->size; at += CHUNK) {
		size_t len = chunk_at(r, at);

		pattern_fill(r->buf, len / 8, r->seed, at);
		if (pwrite(r->fd, r->buf, len, (off_t)(r->offset + at)) != (ssize_t)len)
			return fail("%s: write at %llu failed: %s", name,
				    (unsigned long long)(r->offset + at), strerror(errno));
	}
	if (fsync(r->fd))
		return fail("%s: flush failed: %s", name, strerror(errno));
	printf("pattern: wrote %llu bytes\n", (unsigned long long)r->size);
	return 0;
}

static int check_region(const struct region *r, const char *name)
{
	for (uint64_t at = 0; at < r->size; at += CHUNK) {
		size_t len = chunk_at(r, at);

		if (pread(r->fd, r->buf, len, (off_t)(r->offset + at)) != (ssize_t)len)
			return fail("%s: read at %llu failed: %s", name,
				    (unsigned long long)(r->offset + at), strerror(errno));
		for (size_t i = 0; i < len / 8; i++) {
			uint64_t want = pattern_word(r->seed, at / 8 + i);

			if (r->buf[i] != want)
				return fail("%s: pattern differs at byte %llu: have %016llx, want %016llx",
					    name, (unsigned long long)(r->offset + at + i * 8),
					    (unsigned long long)r->buf[i], (unsigned long long)want);
		}
	}
	printf("pattern: checked %llu bytes\n", (unsigned long long)r->size);
	return 0;
}

int run_pattern(int argc, char **argv)
{
	_Bool writes = !strcmp(argv[0], "@pattern-write");
	struct region r = { .fd = -1 };
	int status = region_open(&r, argc, argv, writes ? O_WRONLY : O_RDONLY);

	if (!status)
		status = writes ? write_region(&r, argv[1]) : check_region(&r, argv[1]);
	region_close(&r);
	return status;
}
