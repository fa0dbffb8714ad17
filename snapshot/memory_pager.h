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
 */
#pragma once

#include "base/guest_memory.h"

struct memory_pager;

struct memory_pager_params {
	const char *socket; /* its path; NULL, and then: */
	int fd; /* a connection that is there already; taken over, whatever the result */
	uint64_t page_size; /* bytes, of what is mapped */
	/* On the pager's thread, once, before memory goes: every access is a SIGBUS or an EFAULT afterwards. */
	void (*lost)(void *opaque);
	void *opaque;
};

/*
 * All of guest memory is mapped, without contents, and outlives the pager. The strings too. -EPERM: userfaultfd
 * is not allowed here; else what keeps us from the socket. Control thread.
 */
must_check int memory_pager_start(struct memory_pager **out, struct guest_memory *mem,
				  const struct memory_pager_params *params, struct error *err);

/* Ends the connection. What was not filled in is zeroes from here on, so nothing runs any more. NULL is fine. */
void memory_pager_stop(struct memory_pager *pager);
