/*
 * A page-fault handler, as small as one can be:
 *
 *   handler SOCKET MEMORY-FILE [PAGES [silent]]
 *
 * It listens at SOCKET for a monitor that loads a snapshot with
 *
 *   "mem_backend": {"backend_type": "Uffd", "backend_path": SOCKET}
 *
 * takes the descriptor and the list of regions from it (snapshot/memory_pager.h has the message), and fills in
 * each page that is missed from MEMORY-FILE. What the guest's balloon has given up is zeroes from then on. It
 * ends with the monitor, or after PAGES pages, as if it had crashed; or is silent from then on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REGIONS_MAX 16

struct region {
	uint64_t start, size, offset, page;
	uint8_t *removed; /* a byte a page: it is zeroes now */
};

static struct region regions[REGIONS_MAX];
static size_t region_count;
static const uint8_t *memory; /* the file */
static long pages_left = -1;
static bool goes_silent;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* The monitor ------------------------------------------------------------------------------------*/

static int accept_monitor(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    listen(listener, 1) < 0)
		fail(path);
	puts("ready");
	fflush(stdout);
	fd = accept(listener, NULL, NULL);
	if (fd < 0)
		fail("accept");
	close(listener);
	return fd;
}

static void read_regions(const char *text, size_t len)
{
	json_t *list = json_loadb(text, len, 0, NULL), *one;
	size_t i;

	if (!json_is_array(list) || json_array_size(list) > REGIONS_MAX)
		fail("the message");
	json_array_foreach(list, i, one)
	{
		struct region *region = &regions[region_count++];
		json_int_t start, size, offset, page;

		if (json_unpack(one, "{s:I, s:I, s:I, s:I}", "base_host_virt_addr", &start, "size",
				&size, "offset", &offset, "page_size", &page) < 0)
			fail("a region");
		*region = (struct region){ (uint64_t)start, (uint64_t)size, (uint64_t)offset,
					   (uint64_t)page, NULL };
		region->removed = calloc(region->size / region->page, 1);
		if (!region->removed)
			fail("memory");
	}
	json_decref(list);
}

/* Returns the userfaultfd. */
static int take_over(int monitor)
{
	char text[8192];
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { text, sizeof(text) };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	ssize_t len = recvmsg(monitor, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *rights = len > 0 ? CMSG_FIRSTHDR(&message) : NULL;
	int uffd;

	if (!rights || rights->cmsg_type != SCM_RIGHTS)
		fail("no descriptor came");
	memcpy(&uffd, CMSG_DATA(rights), sizeof(uffd));
	read_regions(text, (size_t)len);
	return uffd;
}

/* Faults -----------------------------------------------------------------------------------------*/

static struct region *region_at(uint64_t address)
{
	for (size_t i = 0; i < region_count; i++)
		if (address >= regions[i].start && address < regions[i].start + regions[i].size)
			return &regions[i];
	fprintf(stderr, "an address that is no guest's: %#lx\n", address);
	exit(1);
}

/* False: a removal is on its way (EAGAIN), which the kernel wants out of the way first. Nobody asks again for the page. */
static bool fill_in(int uffd, uint64_t address)
{
	const struct region *region = region_at(address);
	uint64_t at = (address - region->start) / region->page * region->page;
	struct uffdio_copy copy = { .dst = region->start + at,
				    .src = (uintptr_t)(memory + region->offset + at),
				    .len = region->page };
	struct uffdio_zeropage zero = { .range = { region->start + at, region->page } };
	int ret;

	if (pages_left >= 0 && pages_left-- == 0) {
		puts("enough");
		fflush(stdout);
		while (goes_silent)
			pause();
		exit(3);
	}
	ret = region->removed[at / region->page] ? ioctl(uffd, UFFDIO_ZEROPAGE, &zero)
						 : ioctl(uffd, UFFDIO_COPY, &copy);
	if (ret < 0 && errno == EAGAIN) {
		pages_left += pages_left >= 0;
		return false;
	}
	if (ret < 0 && errno != EEXIST) /* somebody else has asked for the same */
		fail("a page");
	return true;
}

/* Faults that are still to be answered: at most one of each thread of the monitor. */
static uint64_t waiting[512];
static size_t waiting_count;

static void fill_in_waiting(int uffd)
{
	size_t left = 0;

	for (size_t i = 0; i < waiting_count; i++)
		if (!fill_in(uffd, waiting[i]))
			waiting[left++] = waiting[i];
	waiting_count = left;
}

static void fault(int uffd, uint64_t address)
{
	if (fill_in(uffd, address))
		return;
	if (waiting_count == sizeof(waiting) / sizeof(waiting[0]))
		fail("more threads than there are");
	waiting[waiting_count++] = address;
}

static void remove_pages(uint64_t start, uint64_t end)
{
	struct region *region = region_at(start);

	for (uint64_t at = start; at < end; at += region->page)
		region->removed[(at - region->start) / region->page] = 1;
	printf("removed %lu\n", end - start);
	fflush(stdout);
}

static void serve(int uffd)
{
	struct uffd_msg event;

	while (read(uffd, &event, sizeof(event)) == sizeof(event)) {
		if (event.event == UFFD_EVENT_PAGEFAULT)
			fault(uffd, event.arg.pagefault.address);
		else if (event.event == UFFD_EVENT_REMOVE)
			remove_pages(event.arg.remove.start, event.arg.remove.end);
	}
}

int main(int argc, char **argv)
{
	int file = argc > 2 ? open(argv[2], O_RDONLY | O_CLOEXEC) : -1;
	struct pollfd fds[2] = { { .events = POLLIN }, { .events = POLLIN } };
	struct stat st;

	if (file < 0 || fstat(file, &st) < 0)
		fail("handler SOCKET MEMORY-FILE [PAGES [silent]]");
	memory = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, file, 0);
	if (memory == MAP_FAILED)
		fail(argv[2]);
	if (argc > 3)
		pages_left = strtol(argv[3], NULL, 0);
	goes_silent = argc > 4;
	fds[0].fd = accept_monitor(argv[1]);
	fds[1].fd = take_over(fds[0].fd);
	/* Its events are looked at one after the other, and the monitor's end only when there are none. The end of a
	 * removal is no event: what waits for it is tried again. */
	while (poll(fds, 2, waiting_count > 0 ? 1 : -1) >= 0 || errno == EINTR) {
		if (fds[1].revents)
			serve(fds[1].fd);
		else if (fds[0].revents)
			return 0;
		fill_in_waiting(fds[1].fd);
	}
	return 1;
}
