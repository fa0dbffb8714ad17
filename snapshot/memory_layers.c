#include "snapshot/memory_layers.h"

#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"

/* For filesystems that cannot do it by themselves, or not from one to the other. */
static int copy_by_hand(int from, int to, off_t at, off_t end)
{
	uint8_t bytes[64 * 1024];

	while (at < end) {
		ssize_t got =
			retry_eintr(pread(from, bytes, MIN(sizeof(bytes), (size_t)(end - at)), at));

		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		for (ssize_t done = 0; done < got;) {
			ssize_t put = retry_eintr(
				pwrite(to, bytes + done, (size_t)(got - done), at + done));

			if (put <= 0)
				return put < 0 ? -errno : -EIO;
			done += put;
		}
		at += got;
	}
	return 0;
}

static bool cannot_copy(int code)
{
	return code == EXDEV || code == EINVAL || code == EOPNOTSUPP || code == ENOSYS ||
	       code == EPERM;
}

/* In one call, so that whoever waits hears of it. */
#define COPY_MAX MIB(64)

static int copy_extent(int from, int to, off_t at, off_t end, struct progress *progress)
{
	while (at < end) {
		const off_t step_end = MIN(end, at + (off_t)COPY_MAX);
		off_t in = at, out = at;
		ssize_t done = retry_eintr(
			copy_file_range(from, &in, to, &out, (size_t)(step_end - at), 0));

		if (done < 0 && cannot_copy(errno)) {
			int ret = copy_by_hand(from, to, at, step_end);

			if (ret < 0)
				return ret;
			done = step_end - at;
		}
		if (done <= 0)
			return done < 0 ? -errno : -EIO;
		progress_add(progress, (uint64_t)done);
		at += done;
	}
	return 0;
}

/* The next run of data at or after *at: 1, 0 when there is none, -errno. */
static int next_data(int fd, off_t *at, off_t *end, off_t size)
{
	off_t data = *at < size ? lseek(fd, *at, SEEK_DATA) : size;
	off_t hole;

	if (data < 0)
		return errno == ENXIO ? 0 : -errno;
	if (data >= size)
		return 0;
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole < 0)
		return -errno;
	*at = data;
	*end = MIN(hole, size);
	return 1;
}

int memory_layers_lay(int from, int to, uint64_t size, struct progress *progress)
{
	off_t at = 0, end = 0;
	int ret = ftruncate(to, (off_t)size) < 0 ? -errno : 0;

	while (ret == 0 && (ret = next_data(from, &at, &end, (off_t)size)) > 0) {
		ret = copy_extent(from, to, at, end, progress);
		at = end;
	}
	return ret;
}

int64_t memory_layers_data_pages(int fd, uint64_t size)
{
	off_t at = 0, end = 0;
	int64_t pages = 0;
	int ret;

	while ((ret = next_data(fd, &at, &end, (off_t)size)) > 0) {
		pages += (end - at + PAGE_SIZE - 1) / PAGE_SIZE;
		at = end;
	}
	return ret < 0 ? ret : pages;
}

uint64_t memory_layers_bytes(int from)
{
	struct stat st;

	return fstat(from, &st) < 0 ? 0 : (uint64_t)MIN(st.st_blocks * 512, st.st_size);
}
