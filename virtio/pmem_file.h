/*
 * The file behind a pmem device, mapped for the guest: read-only, or shared with whoever else has it mapped. The
 * mapping is a multiple of 2 MiB; what is behind the end of the file is zeroes and is not kept.
 *
 *   host                          lost_from       file_end        size
 *    | the file's pages, shared       | zeroes: lost   | zeroes        |
 *
 * A file that is cut short takes pages away from under the guest: a thread of ours that touches one gets SIGBUS,
 * KVM_RUN gets EFAULT. Then zeroes take the place of what was lost, for good, and `failed` is set; nobody's life
 * ends by it. A page that the disk cannot read is lost too.
 *
 * A disk that is full under a file with holes gives the same errors to a guest that writes. Then the mapping becomes a
 * private copy: the guest has all that it wrote, and nothing of it lasts from then on; `failed` is set.
 */
#pragma once

#include <stdatomic.h>

#include "base/error.h"

#define PMEM_ALIGN MIB(2) /* of address and size: the guest's memory sections want it */

struct pmem_file {
	char name[32];	 /* "pmem0", for messages */
	char label[320]; /* the path, or "descriptor 7" */
	char *path;	 /* NULL for a descriptor */
	int fd;
	bool read_only;
	uint8_t *host;	   /* aligned to PMEM_ALIGN; NULL: not mapped */
	uint64_t size;	   /* of the mapping, a multiple of PMEM_ALIGN */
	uint64_t length;   /* of the file when it was mapped, bytes */
	uint64_t file_end; /* the same in whole pages */

	/* Any thread, signal handlers too. */
	atomic_flag busy;     /* who has set it changes the mapping, and is to be waited for */
	uint64_t lost_from;   /* under busy: zeroes from here on; file_end while nothing is lost */
	atomic_uint repairs;  /* how often something was replaced */
	atomic_bool failed;   /* something was: no flush can succeed */
	atomic_bool detached; /* what the guest writes is not the file's any more */
	atomic_bool told;     /* in the log */
	atomic_int wake_fd;   /* an eventfd that is written then, -1: none */
};

struct pmem_file_params {
	const char *name;
	const char *path; /* or NULL, and then: */
	int fd;		  /* taken over: a failure closes it too */
	bool read_only;
};

/* Control thread. Regular files that are not empty; the error names the device and the file. */
must_check int pmem_file_open(struct pmem_file *file, const struct pmem_file_params *params,
			      struct error *err);

/* The same without mapping it, for pmem_file_swap(). */
must_check int pmem_file_open_unmapped(struct pmem_file *file,
				       const struct pmem_file_params *params, struct error *err);

/*
 * Maps `other`, which is not mapped and is of the same size (in PMEM_ALIGN), where `file` is; then the two change places:
 * *other is what was mapped before, and may be swapped back. On failure nothing has changed. Control thread; nobody uses
 * the memory meanwhile.
 */
must_check int pmem_file_swap(struct pmem_file *file, struct pmem_file *other, struct error *err);

/* Unmaps. Nobody may use the memory any more. Harmless after a failure to open. */
void pmem_file_close(struct pmem_file *file);

/* Has the file become shorter than what is mapped of it? Then replaces what was lost. Any thread; async-signal-safe. */
void pmem_file_check(struct pmem_file *file);

/*
 * The guest's access to somewhere in its memory failed (EFAULT of KVM_RUN, which does not say where), and no file was
 * cut short. Is it this one, because the disk has no room? Then makes the mapping private. Any thread.
 */
void pmem_file_detach_if_stuck(struct pmem_file *file);

/*
 * A guest that takes interrupts never makes KVM_RUN fail, as KVM tries again for ever. So whoever wants room, for
 * holes that the guest may write to, is to be looked at now and then: the mapping becomes private when the disk is
 * full. Loop thread.
 */
bool pmem_file_wants_room(const struct pmem_file *file);
void pmem_file_check_room(struct pmem_file *file);

/*
 * An access to `addr` failed (SIGBUS). False: the address is not the file's; else the page can be touched now. Any
 * thread; async-signal-safe.
 */
bool pmem_file_repair(struct pmem_file *file, const void *addr);

/* Logs, once, that something was lost, if so. Any thread; not from a signal handler, which wakes the device instead. */
void pmem_file_tell(struct pmem_file *file);
