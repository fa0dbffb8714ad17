#include "vmm/prefault.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/thread.h"

#define HUGE_PAGE MIB(2)
#define LINUX_START MIB(16)   /* where x86-64 kernels are linked to be */
#define LINUX_SMALLEST MIB(2) /* of a file; anything below is a payload */
#define LINUX_LARGEST MIB(16) /* of a file that is read: what is larger is mapped */
/* Below the initrd, by measurement with a small Linux: page structures, hash tables, first processes. */
#define FIRST_ALLOCATIONS MIB(10)
#define INITRD_LIMIT 0x38000000ul /* in larger guests the initrd is not at the end of RAM */

void prefault_plan(struct prefault_range ranges[2], uint64_t kernel, uint64_t initrd,
		   uint64_t ram_end)
{
	uint64_t end = align_down(MIN(ram_end, INITRD_LIMIT), HUGE_PAGE);
	uint64_t kernel_end = LINUX_START + align_up(kernel, HUGE_PAGE);
	uint64_t top = initrd <= INITRD_LIMIT ? align_up(initrd + FIRST_ALLOCATIONS, HUGE_PAGE) : 0;

	memset(ranges, 0, 2 * sizeof(*ranges));
	if (kernel < LINUX_SMALLEST)
		return;
	if (kernel <= LINUX_LARGEST && kernel_end <= end)
		ranges[0] = (struct prefault_range){ LINUX_START, kernel_end };
	if (ram_end <= INITRD_LIMIT && end > kernel_end && end - kernel_end >= top)
		ranges[1] = (struct prefault_range){ end - top, end };
}

static bool huge_pages_come_unasked(void)
{
	cleanup_fd int fd = open("/sys/kernel/mm/transparent_hugepage/enabled",
				 O_RDONLY | O_CLOEXEC);
	char text[64] = "";

	return fd >= 0 && read(fd, text, sizeof(text) - 1) > 0 && strstr(text, "[always]");
}

void prefault_touch(struct prefault *prefault)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(prefault->ranges); i++) {
		const struct prefault_range *range = &prefault->ranges[i];

		for (uint64_t at = range->start; at < range->end; at += HUGE_PAGE) {
			void *page = guest_ptr(prefault->mem, at, HUGE_PAGE);

			if (!page || atomic_load(&prefault->stop) ||
			    madvise(page, HUGE_PAGE, MADV_POPULATE_WRITE) < 0)
				return;
		}
	}
}

static void *prefault_thread(void *arg)
{
	struct prefault *prefault = arg;
	struct error unused = { 0 };

	if (huge_pages_come_unasked() && thread_arm(THREAD_IO, &unused) == 0)
		prefault_touch(prefault);
	return NULL;
}

void prefault_start(struct prefault *prefault, const struct guest_memory *mem, uint64_t kernel,
		    uint64_t initrd)
{
	const struct guest_region *low = &mem->regions[0];

	prefault->mem = mem;
	prefault_plan(prefault->ranges, kernel, initrd, low->gpa + low->size);
	if (prefault->ranges[0].end + prefault->ranges[1].end > 0)
		prefault->has_thread = thread_start(&prefault->thread, "prefault", prefault_thread,
						    prefault) == 0;
}

void prefault_stop(struct prefault *prefault)
{
	if (!prefault->has_thread)
		return;
	atomic_store(&prefault->stop, true);
	pthread_join(prefault->thread, NULL);
	prefault->has_thread = false;
}
