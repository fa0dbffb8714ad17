/*
 * Guest memory that another process fills in, page by page, as it is needed (userfaultfd): Firecracker's protocol.
 * We connect to the handler's socket and send one message, a JSON array with an object for each region,
 *
 *   {"base_host_virt_addr": where it is mapped in our process, "size": bytes, "offset": of it in the memory file,
 *    "page_size": bytes, "page_size_kib": the same bytes, under an older name}
 *
 * and with it the userfaultfd. From then on faults and removals (the balloon's) are between the kernel and the
 * handler, and the socket stays open. We keep the descriptor too: with the last one closed the kernel would answer
 * faults with zeroes. So when the handler has gone, a fault waits, until a thread of ours that waits for nothing
 * but that end has taken the memory away.
 *
 * A handler that lives and does not answer is waited for, as a slow one is, but not for ever by what must come to an end:
 * a load, a pause, the end of the process. Then that thread takes the memory away too, and ours get by without it.
 */
#pragma once

#include "base/guest_memory.h"

struct memory_pager;

enum memory_pager_end {
	MEMORY_PAGER_SERVES,
	MEMORY_PAGER_GONE,   /* the handler has ended the connection */
	MEMORY_PAGER_SILENT, /* what was expected has not come in time */
	MEMORY_PAGER_LEFT,   /* the process is to end and does not get there */
};

struct memory_pager_params {
	const char *socket; /* its path; NULL, and then: */
	int fd; /* a connection that is there already; taken over, whatever the result */
	uint64_t page_size;	  /* bytes, of what is mapped */
	unsigned int patience_ms; /* from memory_pager_expect() to memory_pager_got() */
	int ending_fd; /* readable while the process is to end and has not begun to; borrowed; 0: there is none */
	/* On the pager's thread, once, before memory goes: every access is a SIGBUS or an EFAULT afterwards. Not before the
	 * first memory_pager_got() has said that all is well: till then that one tells. */
	void (*lost)(void *opaque, enum memory_pager_end why);
	void *opaque;
};

/*
 * All of guest memory is mapped, without contents, and outlives the pager. The strings too. Pages are expected from
 * here on. -EPERM: userfaultfd is not allowed here; -ETIMEDOUT: the handler does not take the connection; else what keeps
 * us from the socket. Control thread.
 */
must_check int memory_pager_start(struct memory_pager **out, struct guest_memory *mem,
				  const struct memory_pager_params *params, struct error *err);

/* What comes now waits for pages, and may not for longer than the patience: then they are SILENT. Control thread. NULL is fine. */
void memory_pager_expect(struct memory_pager *pager);

/* It has come through, or memory was taken away: why. Control thread. NULL is fine. */
enum memory_pager_end memory_pager_got(struct memory_pager *pager);

/* The machine is at its end, and whoever still waits for a page does not for long. Control thread. NULL is fine. */
void memory_pager_leave(struct memory_pager *pager);

/*
 * Of memory that was taken away while nothing runs from it (`idle`), or because the handler does not answer, a page can be
 * read and written again: it is zeroes. For the signal handler of an access that failed, so that our threads get to their
 * end, and who reads to keep asks memory_pager_got(); the kernel's own accesses (a disk's data, the guest's) fail.
 * Async-signal-safe.
 */
bool memory_pager_repair(struct memory_pager *pager, const void *addr, bool idle);

/* Ends the connection. What was not filled in is zeroes from here on, so nothing runs any more. NULL is fine. */
void memory_pager_stop(struct memory_pager *pager);
