#include "virtio/pmem_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

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
	atomic_init(&file->lost_from, file->file_end);
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

static int map_file(struct pmem_file *file, struct error *err)
{
	file->host = reserve(file->size);
	if (file->host && map_zeroes(file, file->file_end, file->size) &&
	    mmap(file->host, file->file_end, protection(file), MAP_SHARED | MAP_FIXED, file->fd,
		 0) != MAP_FAILED)
		return 0;
	return error_set_errno(err, errno, "pmem %s: cannot map %s%s", file->name, file->label,
			       errno == EACCES ? " (is it open for writing?)" : "");
}

int pmem_file_open(struct pmem_file *file, const struct pmem_file_params *params, struct error *err)
{
	int ret;

	*file = (struct pmem_file){
		.fd = -1, .path = params->path, .read_only = params->read_only, .wake_fd = -1
	};
	ret = open_file(file, params, err);
	if (ret == 0)
		ret = check_file(file, err);
	if (ret == 0)
		ret = map_file(file, err);
	if (ret < 0)
		pmem_file_close(file);
	return ret;
}

void pmem_file_close(struct pmem_file *file)
{
	if (file->host)
		munmap(file->host, file->size);
	file->host = NULL;
	close_fd(&file->fd);
}

/* Losing pages: in signal handlers too, so system calls and atomics only --------------------------*/

static void report(struct pmem_file *file)
{
	const uint64_t one = 1;
	const int fd = atomic_load(&file->wake_fd);
	ssize_t ret = 0;

	atomic_store(&file->failed, true);
	if (fd >= 0)
		ret = write(fd, &one, sizeof(one));
	(void)ret;
}

/* Only what was the file's still: what came in its place the guest may have written to since. */
static bool lose_from(struct pmem_file *file, uint64_t offset)
{
	uint64_t before = atomic_load(&file->lost_from);

	while (offset < before)
		if (atomic_compare_exchange_weak(&file->lost_from, &before, offset))
			break;
	if (offset >= before)
		return false;
	if (!map_zeroes(file, offset, before)) {
		atomic_store(&file->lost_from, before);
		return false;
	}
	report(file);
	return true;
}

bool pmem_file_check(struct pmem_file *file)
{
	struct stat st;

	if (!file->host || fstat(file->fd, &st) < 0)
		return false;
	return lose_from(file, align_up((uint64_t)st.st_size, PAGE_SIZE));
}

bool pmem_file_repair(struct pmem_file *file, const void *addr)
{
	const uint64_t offset = (uint64_t)((const uint8_t *)addr - file->host);

	if (!file->host || (const uint8_t *)addr < file->host || offset >= file->size)
		return false;
	pmem_file_check(file);
	/* Lost now, or by another thread that is about to have put zeroes there: the access is tried again. */
	if (offset >= atomic_load(&file->lost_from))
		return true;
	/* It is there and cannot be read. */
	if (!map_zeroes(file, align_down(offset, PAGE_SIZE),
			align_down(offset, PAGE_SIZE) + PAGE_SIZE))
		return false;
	report(file);
	return true;
}

void pmem_file_tell(struct pmem_file *file)
{
	if (!atomic_load(&file->failed) || atomic_exchange(&file->told, true))
		return;
	log_error("pmem %s: %s was cut short or cannot be read: the guest has zeroes in place of "
		  "what is lost, and its flushes fail",
		  file->name, file->label);
}
