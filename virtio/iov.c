#include "virtio/iov.h"

#include <stdatomic.h>

static _Atomic bool memory_is_lost; /* for good, and for all: a process has one guest */

void iov_lose_memory(void)
{
	atomic_store(&memory_is_lost, true);
}

/* By hand and not memcpy(): the sanitizer looks inside that one whatever the attribute says. */
guest_races static void copy_once(volatile uint8_t *to, const volatile uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = from[i];
}

size_t iov_read(const struct iovec *iov, unsigned int count, void *to, size_t len)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < len; i++) {
		size_t part = MIN(iov[i].iov_len, len - done);

		copy_once((uint8_t *)to + done, iov[i].iov_base, part);
		done += part;
	}
	return atomic_load(&memory_is_lost) ? 0 : done;
}

size_t iov_write_at(const struct iovec *iov, unsigned int count, size_t offset, const void *from,
		    size_t len)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < len; i++) {
		const size_t skip = MIN(iov[i].iov_len, offset);
		const size_t part = MIN(iov[i].iov_len - skip, len - done);

		copy_once((uint8_t *)iov[i].iov_base + skip, (const uint8_t *)from + done, part);
		offset -= skip;
		done += part;
	}
	return done;
}

size_t iov_write(const struct iovec *iov, unsigned int count, const void *from, size_t len)
{
	return iov_write_at(iov, count, 0, from, len);
}

void iov_advance(struct iovec **iov, unsigned int *count, size_t len)
{
	while (*count > 0 && len >= (*iov)->iov_len) {
		len -= (*iov)->iov_len;
		(*iov)++;
		(*count)--;
	}
	if (*count > 0 && len > 0) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + len;
		(*iov)->iov_len -= len;
	}
}
