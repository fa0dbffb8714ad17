#include "snapshot/memory_pager.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

struct memory_pager {
	struct guest_memory *mem;
	struct memory_pager_params params;
	int uffd;
	int socket;
	int nothing; /* an empty file: what takes the place of memory that is lost */
	int wake;    /* an eventfd: what is under the lock has changed */
	pthread_t thread;
	bool has_thread;
	/* Written under the lock. */
	_Atomic enum memory_pager_end end;
	_Atomic bool loaded; /* a memory_pager_got() has said that all is well */

	pthread_mutex_t lock;
	bool stopping;
	uint64_t deadline;	       /* ns; 0: none */
	enum memory_pager_end overdue; /* what it means when that has passed */
};

#define PATIENCE_AT_END_NS UINT64_C(1000000000)

/* The descriptor ---------------------------------------------------------------------------------*/

/* The device is there for users who may open it; the system call for those with CAP_SYS_PTRACE, or for all. */
static int open_uffd(void)
{
	cleanup_fd int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd = -1;

	if (device >= 0)
		fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

static int make_uffd(struct memory_pager *pager, struct error *err)
{
	/* A page that the balloon gave up is zeroes when it comes back, so the handler must hear of it. */
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE };

	pager->uffd = open_uffd();
	if (pager->uffd == -EPERM || pager->uffd == -EACCES)
		return error_set(err, EPERM,
				 "userfaultfd is not allowed here: it takes /dev/userfaultfd, "
				 "CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd = 1");
	if (pager->uffd < 0)
		return error_set_errno(err, pager->uffd, "userfaultfd");
	if (ioctl(pager->uffd, UFFDIO_API, &api) < 0)
		return error_set_errno(err, errno, "userfaultfd: UFFDIO_API with removals");
	return 0;
}

static int watch_regions(struct memory_pager *pager, struct error *err)
{
	for (unsigned int i = 0; i < pager->mem->count; i++) {
		const struct guest_region *region = &pager->mem->regions[i];
		struct uffdio_register range = {
			.range = { (uintptr_t)region->host, region->size },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};

		if (ioctl(pager->uffd, UFFDIO_REGISTER, &range) < 0)
			return error_set_errno(err, errno, "userfaultfd: cannot watch memory");
	}
	return 0;
}

/* The handler ------------------------------------------------------------------------------------*/

static const char *name_of(const struct memory_pager *pager)
{
	return pager->params.socket ? pager->params.socket : "the passed connection";
}

static bool is_to_end(const struct memory_pager *pager, int wait_ms)
{
	struct pollfd fd = { .fd = pager->params.ending_fd > 0 ? pager->params.ending_fd : -1,
			     .events = POLLIN };

	return poll(&fd, 1, wait_ms) > 0;
}

/* EAGAIN: the handler has not accepted those that came before. */
static int connect_in_time(const struct memory_pager *pager, const struct sockaddr_un *addr)
{
	while (connect(pager->socket, (const struct sockaddr *)addr, sizeof(*addr)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (is_to_end(pager, 10))
			return -EINTR;
		if (clock_now_ns(CLOCK_MONOTONIC) >= pager->deadline)
			return -ETIMEDOUT;
	}
	return 0;
}

static int connect_to(struct memory_pager *pager, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = pager->params.socket;
	int ret;

	if (!path)
		return 0;
	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, EINVAL, "the page-fault handler's socket: '%s' is too long",
				 path);
	memcpy(addr.sun_path, path, strlen(path));
	pager->socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ret = pager->socket < 0 ? -errno : connect_in_time(pager, &addr);
	return ret < 0 ? error_set_errno(err, ret, "cannot connect to the page-fault handler at %s",
					 path)
		       : 0;
}

/* Of GUEST_REGIONS_MAX regions, with numbers of 20 digits. */
#define MESSAGE_MAX (GUEST_REGIONS_MAX * 220u)

static size_t write_message(const struct memory_pager *pager, char text[static MESSAGE_MAX])
{
	const uint64_t page = pager->params.page_size;
	uint64_t offset = 0;
	size_t len = 0;

	for (unsigned int i = 0; i < pager->mem->count; i++) {
		const struct guest_region *region = &pager->mem->regions[i];

		len += (size_t)snprintf(
			text + len, MESSAGE_MAX - len,
			"%c{\"base_host_virt_addr\":%lu,\"size\":%lu,\"offset\":%lu,"
			"\"page_size\":%lu,\"page_size_kib\":%lu}",
			i ? ',' : '[', (uintptr_t)region->host, region->size, offset, page, page);
		offset += region->size;
	}
	text[len++] = ']';
	return len;
}

/* In one piece: a message this short fits into an empty socket, and no other is of use. */
static int hand_over(const struct memory_pager *pager, struct error *err)
{
	char text[MESSAGE_MAX];
	struct iovec iov = { text, write_message(pager, text) };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);

	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &pager->uffd, sizeof(int));
	if (retry_eintr(sendmsg(pager->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT)) ==
	    (ssize_t)iov.iov_len)
		return 0;
	return error_set_errno(err, errno,
			       "cannot hand memory over to the page-fault handler at %s",
			       name_of(pager));
}

/* Its end ----------------------------------------------------------------------------------------*/

/*
 * Beyond the end of an empty file nothing can be read: whoever waits for a page, and whoever comes for one later,
 * gets a SIGBUS or EFAULT, never a zero. Only then are those who wait woken. The last descriptor's end would do that too,
 * but somebody may have one still: a child of the handler's, or who started it.
 */
static void take_memory_away(struct memory_pager *pager)
{
	for (unsigned int i = 0; i < pager->mem->count; i++) {
		const struct guest_region *region = &pager->mem->regions[i];

		if (mmap(region->host, region->size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_NORESERVE, pager->nothing, 0) == MAP_FAILED)
			munmap(region->host, region->size);
	}
	for (unsigned int i = 0; i < pager->mem->count; i++) {
		struct uffdio_range range = { (uintptr_t)pager->mem->regions[i].host,
					      pager->mem->regions[i].size };

		if (ioctl(pager->uffd, UFFDIO_WAKE, &range) < 0)
			log_error("userfaultfd: cannot wake who waits for memory: %s",
				  strerrordesc_np(errno));
	}
	close_fd(&pager->uffd);
}

/* A handler has nothing to say to us; what it says is not looked at. */
static bool has_gone(int socket)
{
	char bytes[256];
	ssize_t len = recv(socket, bytes, sizeof(bytes), MSG_DONTWAIT);

	return len == 0 || (len < 0 && errno != EAGAIN && errno != EINTR);
}

/* How long nothing needs to be looked at. */
static int time_left_ms(struct memory_pager *pager)
{
	const uint64_t now = clock_now_ns(CLOCK_MONOTONIC);
	int ms = -1;

	pthread_mutex_lock(&pager->lock);
	if (pager->deadline > 0)
		ms = pager->deadline > now ? (int)MIN((pager->deadline - now) / 1000000, 60000u) + 1
					   : 0;
	pthread_mutex_unlock(&pager->lock);
	return ms;
}

/* Whoever has asked by memory_pager_got() has an answer that stays true. Returns whether there is an end. */
static bool set_end(struct memory_pager *pager, enum memory_pager_end end)
{
	pthread_mutex_lock(&pager->lock);
	if (end == MEMORY_PAGER_SERVES && pager->deadline > 0 &&
	    clock_now_ns(CLOCK_MONOTONIC) >= pager->deadline)
		end = pager->overdue;
	atomic_store(&pager->end, end);
	pthread_mutex_unlock(&pager->lock);
	return end != MEMORY_PAGER_SERVES;
}

static bool is_stopping(struct memory_pager *pager)
{
	uint64_t count;
	bool stopping;

	if (read(pager->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return true;
	pthread_mutex_lock(&pager->lock);
	stopping = pager->stopping;
	pthread_mutex_unlock(&pager->lock);
	return stopping;
}

enum { WAKE, HANDLER, ENDING, WATCHED };

/* Who takes the signal, the control thread, may be waiting for a page: it has a second. Returns whether that was not enough. */
static bool is_stuck(const struct memory_pager *pager, struct pollfd fds[static WATCHED])
{
	return fds[ENDING].revents && poll(fds, ENDING, PATIENCE_AT_END_NS / 1000000) == 0 &&
	       is_to_end(pager, 0);
}

static enum memory_pager_end look(const struct memory_pager *pager,
				  struct pollfd fds[static WATCHED])
{
	if (fds[HANDLER].revents && has_gone(pager->socket))
		return MEMORY_PAGER_GONE;
	return is_stuck(pager, fds) ? MEMORY_PAGER_LEFT : MEMORY_PAGER_SERVES;
}

/* It never touches guest memory, so it does not wait for the handler that it watches. */
static void *watch_handler(void *arg)
{
	struct memory_pager *pager = arg;
	struct pollfd fds[WATCHED] = {
		[WAKE] = { .fd = pager->wake, .events = POLLIN },
		[HANDLER] = { .fd = pager->socket, .events = POLLIN },
		[ENDING] = { .fd = pager->params.ending_fd > 0 ? pager->params.ending_fd : -1,
			     .events = POLLIN },
	};

	do {
		while (poll(fds, WATCHED, time_left_ms(pager)) < 0)
			;
		if (is_stopping(pager))
			return NULL;
	} while (!set_end(pager, look(pager, fds)));
	if (atomic_load(&pager->loaded))
		pager->params.lost(pager->params.opaque, atomic_load(&pager->end));
	take_memory_away(pager);
	return NULL;
}

/* Who waits for it -------------------------------------------------------------------------------*/

static void set_deadline(struct memory_pager *pager, uint64_t ns, enum memory_pager_end overdue)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&pager->lock);
	pager->deadline = clock_now_ns(CLOCK_MONOTONIC) + ns;
	pager->overdue = overdue;
	pthread_mutex_unlock(&pager->lock);
	if (write(pager->wake, &one, sizeof(one)) < 0)
		log_error("page-fault handler: cannot wake who watches it");
}

void memory_pager_expect(struct memory_pager *pager)
{
	if (pager)
		set_deadline(pager, UINT64_C(1000000) * pager->params.patience_ms,
			     MEMORY_PAGER_SILENT);
}

enum memory_pager_end memory_pager_got(struct memory_pager *pager)
{
	enum memory_pager_end end;

	if (!pager)
		return MEMORY_PAGER_SERVES;
	pthread_mutex_lock(&pager->lock);
	pager->deadline = 0;
	end = atomic_load(&pager->end);
	if (end == MEMORY_PAGER_SERVES)
		atomic_store(&pager->loaded, true);
	pthread_mutex_unlock(&pager->lock);
	return end;
}

void memory_pager_leave(struct memory_pager *pager)
{
	if (pager)
		set_deadline(pager, PATIENCE_AT_END_NS, MEMORY_PAGER_LEFT);
}

bool memory_pager_repair(struct memory_pager *pager, const void *addr, bool idle)
{
	const enum memory_pager_end end = atomic_load(&pager->end);
	void *page = (void *)((uintptr_t)addr / PAGE_SIZE * PAGE_SIZE);

	if (end == MEMORY_PAGER_SERVES || (end == MEMORY_PAGER_GONE && !idle))
		return false;
	for (unsigned int i = 0; i < pager->mem->count; i++) {
		const struct guest_region *region = &pager->mem->regions[i];

		if ((uintptr_t)addr - (uintptr_t)region->host < region->size)
			return mmap(page, PAGE_SIZE, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
	}
	return false;
}

/* Life -------------------------------------------------------------------------------------------*/

static int start(struct memory_pager *pager, struct error *err)
{
	int ret;

	pager->nothing = memfd_create("lost-memory", MFD_CLOEXEC);
	pager->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pager->nothing < 0 || pager->wake < 0)
		return error_set_errno(err, errno, "memory handler");
	memory_pager_expect(pager);
	if ((ret = make_uffd(pager, err)) < 0 || (ret = connect_to(pager, err)) < 0 ||
	    (ret = watch_regions(pager, err)) < 0 || (ret = hand_over(pager, err)) < 0)
		return ret;
	ret = thread_start(&pager->thread, "pager", watch_handler, pager);
	pager->has_thread = ret == 0;
	return ret < 0 ? error_set_errno(err, ret,
					 "cannot start a thread for the page-fault handler")
		       : 0;
}

int memory_pager_start(struct memory_pager **out, struct guest_memory *mem,
		       const struct memory_pager_params *params, struct error *err)
{
	struct memory_pager *pager = calloc(1, sizeof(*pager));
	cleanup_fd int fd = params->socket ? -1 : params->fd;
	int ret;

	if (!pager)
		return error_set(err, ENOMEM, "memory handler: out of memory");
	pager->mem = mem;
	pager->params = *params;
	pager->uffd = pager->nothing = pager->wake = -1;
	pager->socket = steal_fd(&fd);
	pthread_mutex_init(&pager->lock, NULL);
	ret = start(pager, err);
	if (ret < 0)
		memory_pager_stop(pager);
	else
		*out = pager;
	return ret;
}

void memory_pager_stop(struct memory_pager *pager)
{
	const uint64_t one = 1;

	if (!pager)
		return;
	pthread_mutex_lock(&pager->lock);
	pager->stopping = true;
	pthread_mutex_unlock(&pager->lock);
	if (pager->has_thread && write(pager->wake, &one, sizeof(one)) == sizeof(one))
		pthread_join(pager->thread, NULL);
	pthread_mutex_destroy(&pager->lock);
	close_fd(&pager->uffd);
	close_fd(&pager->socket);
	close_fd(&pager->nothing);
	close_fd(&pager->wake);
	free(pager);
}
