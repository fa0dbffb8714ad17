/*
 * Iovecs over guest memory. The bytes may change while we look, so each is read or written once;
 * that race is the guest's with itself, hence no thread sanitizer. Pure functions, any thread.
 */
#pragma once

#include <sys/uio.h>

#include "base/util.h"

#define guest_races __attribute__((no_sanitize("thread")))

/* Sum of the lengths, bytes. */
static inline uint64_t iov_bytes(const struct iovec *iov, unsigned int count)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < count; i++)
		sum += iov[i].iov_len;
	return sum;
}

/* Copies the first `len` bytes out; returns how many there were, at most `len`. None, when memory was lost meanwhile. */
size_t iov_read(const struct iovec *iov, unsigned int count, void *to, size_t len);

/*
 * From here on guest memory may be zeroes that nobody wrote, until the process has ended: what iov_read() copies from it
 * counts as not there, so that it gets to no disk and to no peer. Async-signal-safe.
 */
void iov_lose_memory(void);

/* Copies `len` bytes in from the start; returns how many fitted. */
size_t iov_write(const struct iovec *iov, unsigned int count, const void *from, size_t len);

/* The same from `offset` bytes on; returns how many fitted. */
size_t iov_write_at(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		    size_t len);

/* Moves *iov and *count past the first `len` bytes, changing the entry that is cut. */
void iov_advance(struct iovec **iov, unsigned int *count, size_t len);
