#include "virtio/pmem_file.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/log.h"

/* Opening ----------------------------------------------------------------------------------------*/

static int open_file(struct pmem_file *file, const struct pmem_file_params *params,
		     struct error *err)
{
	const int mode = params->read_only ? O_RDONLY : O_RDWR;

	snprintf(file->name, sizeof(file->name), "%s", params->name);
	if (params->path)
		snprintf(file->label, sizeof(file->label), "%s", params->path);
	else
		snprintf(file->label, sizeof(file->label), "descriptor %d", params->fd);
	/* Non-blocking for the sake of a FIFO that was named by mistake. */
	file->fd = params->path ? open(params->path, mode | O_CLOEXEC | O_NONBLOCK) : params->fd;
	if (file->fd >= 0 && params->path && !(file->path = strdup(params->path)))
		return error_set(err, ENOMEM, "pmem %s: out of memory", file->name);
	if (file->fd < 0)
		return error_set_errno(err, errno, "pmem %s: cannot open %s", file->name,
				       file->label);
	return 0;
}

static int check_file(struct pmem_file *file, struct error *err)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return error_set_errno(err, errno, "pmem %s: %s", file->name, file->label);
	if (!S_ISREG(st.st_mode))
		return error_set(err, EINVAL, "pmem %s: %s is not a regular file", file->name,
				 file->label);
	if (st.st_size == 0)
		return error_set(err, EINVAL, "pmem %s: %s is empty", file->name, file->label);
	file->length = (uint64_t)st.st_size;
	file->file_end = align_up(file->length, PAGE_SIZE);
	file->size = align_up(file->length, PMEM_ALIGN);
	file->lost_from = file->file_end;
	return 0;
}

static int protection(const struct pmem_file *file)
{
	return file->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
}

/* At a multiple of 2 MiB in our address space too, so that huge pages of the file can be the guest's. */
static uint8_t *reserve(uint64_t size)
{
	const uint64_t room = size + PMEM_ALIGN;
	uint8_t *start = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			      -1, 0);
	uint8_t *host;

	if (start == MAP_FAILED)
		return NULL;
	host = (uint8_t *)align_up((uintptr_t)start, PMEM_ALIGN);
	if (host > start)
		munmap(start, (size_t)(host - start));
	if (host + size < start + room)
		munmap(host + size, (size_t)(start + room - (host + size)));
	return host;
}

static bool map_zeroes(const struct pmem_file *file, uint64_t from, uint64_t to)
{
	return from == to ||
	       mmap(file->host + from, to - from, protection(file),
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
}

/* What is not lost of it, where file->host says. The file first: its mapping is what may be refused. */
static int map_file(struct pmem_file *file, struct error *err)
{
	if (file->host &&
	    (file->lost_from == 0 || mmap(file->host, file->lost_from, protection(file),
					  MAP_SHARED | MAP_FIXED, file->fd, 0) != MAP_FAILED) &&
	    map_zeroes(file, file->lost_from, file->size))
		return 0;
	return error_set_errno(err, errno, "pmem %s: cannot map %s%s", file->name, file->label,
			       errno == EACCES ? " (is it open for writing?)" : "");
}

int pmem_file_open_unmapped(struct pmem_file *file, const struct pmem_file_params *params,
			    struct error *err)
{
	int ret;

	*file = (struct pmem_file){ .fd = -1, .read_only = params->read_only, .wake_fd = -1 };
	ret = open_file(file, params, err);
	if (ret == 0)
		ret = check_file(file, err);
	if (ret < 0)
		pmem_file_close(file);
	return ret;
}

int pmem_file_open(struct pmem_file *file, const struct pmem_file_params *params, struct error *err)
{
	int ret = pmem_file_open_unmapped(file, params, err);

	if (ret < 0)
		return ret;
	file->host = reserve(file->size);
	ret = map_file(file, err);
	if (ret < 0)
		pmem_file_close(file);
	return ret;
}

/* Nothing is lost of what the former had: nobody has written to it in a way that its file does not have. */
int pmem_file_swap(struct pmem_file *file, struct pmem_file *other, struct error *err)
{
	struct pmem_file former;
	struct error ignored;
	int ret;

	if (other->size != file->size)
		return error_set(err, EINVAL,
				 "pmem %s: %s takes %lu MiB of the guest's addresses, but there "
				 "are %lu for it",
				 file->name, other->label, other->size >> 20, file->size >> 20);
	other->host = file->host;
	ret = map_file(other, err);
	if (ret < 0) {
		other->host = NULL;
		if (map_file(file, &ignored) < 0)
			log_error("%s", ignored.text);
		return ret;
	}
	atomic_store(&other->wake_fd, atomic_load(&file->wake_fd));
	memcpy(&former, file, sizeof(former));
	memcpy(file, other, sizeof(*file));
	memcpy(other, &former, sizeof(*other));
	other->host = NULL;
	return 0;
}

void pmem_file_close(struct pmem_file *file)
{
	if (file->host)
		munmap(file->host, file->size);
	file->host = NULL;
	close_fd(&file->fd);
	free(file->path);
	file->path = NULL;
}

/* Losing pages: in signal handlers too, so system calls and atomics only --------------------------*/

/* Whoever holds it does not touch the mapping: so a handler never waits for the thread that it interrupted. */
static void lock(struct pmem_file *file)
{
	while (atomic_flag_test_and_set_explicit(&file->busy, memory_order_acquire))
		sched_yield();
}

static void unlock(struct pmem_file *file)
{
	atomic_flag_clear_explicit(&file->busy, memory_order_release);
}

/* Something else is in the place of pages of the file now. */
static void report(struct pmem_file *file)
{
	const uint64_t one = 1;
	const int fd = atomic_load(&file->wake_fd);
	ssize_t ret = 0;

	atomic_store(&file->failed, true);
	atomic_fetch_add(&file->repairs, 1);
	if (fd >= 0)
		ret = write(fd, &one, sizeof(one));
	(void)ret;
}

/* Only what was the file's still: what came in its place the guest may have written to since. */
static void lose_from(struct pmem_file *file, uint64_t offset)
{
	if (offset >= file->lost_from || !map_zeroes(file, offset, file->lost_from))
		return;
	file->lost_from = offset;
	report(file);
}

static void check(struct pmem_file *file)
{
	struct stat st;

	if (file->host && fstat(file->fd, &st) == 0)
		lose_from(file, align_up((uint64_t)st.st_size, PAGE_SIZE));
}

void pmem_file_check(struct pmem_file *file)
{
	lock(file);
	check(file);
	unlock(file);
}

/* A page that was not lost is there and cannot be read, or written. */
static bool replace(struct pmem_file *file, uint64_t offset)
{
	const uint64_t page = align_down(offset, PAGE_SIZE);

	if (offset >= file->lost_from)
		return true;
	if (!map_zeroes(file, page, page + PAGE_SIZE))
		return false;
	report(file);
	return true;
}

bool pmem_file_repair(struct pmem_file *file, const void *addr)
{
	const uint64_t offset = (uint64_t)((const uint8_t *)addr - file->host);
	bool repaired;

	if (!file->host || (const uint8_t *)addr < file->host || offset >= file->size)
		return false;
	lock(file);
	check(file);
	repaired = replace(file, offset);
	unlock(file);
	return repaired;
}

/* A disk without room -----------------------------------------------------------------------------*/

/* The first page from `from` on that the file has no place for on its disk; lost_from: none. */
static uint64_t next_hole(const struct pmem_file *file, uint64_t from)
{
	const off_t hole = lseek(file->fd, (off_t)from, SEEK_HOLE);

	return hole < 0 ? file->lost_from
			: MIN(align_up((uint64_t)hole, PAGE_SIZE), file->lost_from);
}

static uint64_t end_of_hole(const struct pmem_file *file, uint64_t from)
{
	const off_t data = lseek(file->fd, (off_t)from, SEEK_DATA);

	return data < 0 ? file->lost_from
			: MIN(align_down((uint64_t)data, PAGE_SIZE), file->lost_from);
}

/* Asks for a page of the first hole, or, where a write wants a new place for any page, for the first one. It
 * changes no byte. */
static bool has_no_room(const struct pmem_file *file)
{
	const uint64_t hole = next_hole(file, 0);
	uint8_t *page = file->host + (hole < file->lost_from ? hole : 0);

	return madvise(page, PAGE_SIZE,
		       file->read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE) < 0 &&
	       errno == EFAULT;
}

/* Holes are zeroes, in memory: some filesystems want room even to read them. */
static bool map_privately(const struct pmem_file *file)
{
	if (mmap(file->host, file->lost_from, protection(file), MAP_PRIVATE | MAP_FIXED, file->fd,
		 0) == MAP_FAILED)
		return false;
	for (uint64_t at = next_hole(file, 0); at < file->lost_from; at = next_hole(file, at)) {
		const uint64_t end = end_of_hole(file, at);

		if (end > at && !map_zeroes(file, at, end))
			return false;
		at = end + PAGE_SIZE;
	}
	return true;
}

void pmem_file_detach_if_stuck(struct pmem_file *file)
{
	lock(file);
	if (file->host && file->lost_from > 0 && !atomic_load(&file->detached) &&
	    has_no_room(file) && map_privately(file)) {
		atomic_store(&file->detached, true);
		report(file);
	}
	unlock(file);
}

void pmem_file_check_room(struct pmem_file *file)
{
	struct statfs fs;

	/* No blocks at all: a filesystem in memory that may grow. */
	if (fstatfs(file->fd, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail == 0)
		pmem_file_detach_if_stuck(file);
}

bool pmem_file_wants_room(const struct pmem_file *file)
{
	return !file->read_only && !atomic_load(&file->failed) &&
	       next_hole(file, 0) < file->file_end;
}

/* What the user is told ---------------------------------------------------------------------------*/

void pmem_file_tell(struct pmem_file *file)
{
	if (!atomic_load(&file->failed) || atomic_exchange(&file->told, true))
		return;
	if (atomic_load(&file->detached))
		log_error("pmem %s: there is no room for what the guest writes to %s: it goes on "
			  "with a copy of its own, and its flushes fail",
			  file->name, file->label);
	else
		log_error("pmem %s: %s was cut short or cannot be read: the guest has zeroes in "
			  "place of what is lost, and its flushes fail",
			  file->name, file->label);
}
