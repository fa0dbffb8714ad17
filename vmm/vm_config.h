/*
 * What a machine is to be: plain data, filled in by the command line (later: the API), checked by
 * one function that opens nothing. Strings are borrowed from whoever filled it in.
 */
#pragma once

#include "base/error.h"

#define VM_DRIVES_MAX 16u
#define VM_IO_LOOPS_MAX 16u
#define VM_QUEUES_MAX 32u
#define VM_QUEUE_SIZE_MAX 1024u
#define VM_MEMORY_MIN MIB(2)
#define VM_MEMORY_MAX GIB(4096)
#define VM_MEMORY_DEFAULT MIB(128)

struct drive_config {
	const char *path; /* NULL when it comes as a descriptor */
	int fd;		  /* -1 when it comes as a path; else the machine takes it over */
	bool read_only;
	bool may_be_empty;	 /* an image without a sector is not a mistake */
	bool direct;		 /* O_DIRECT: around the host's page cache */
	bool unsafe;		 /* no flush is offered: a crash of the host may lose anything */
	unsigned int num_queues; /* 1 to VM_QUEUES_MAX; 0: 1 */
	unsigned int queue_size; /* entries, a power of 2 up to VM_QUEUE_SIZE_MAX; 0: 256 */
	unsigned int loop;	 /* the I/O thread that serves it, below VM_IO_LOOPS_MAX */
};

struct vm_config {
	const char *kernel_path;
	const char *initrd_path; /* NULL: none */
	const char *cmdline;	 /* NULL: the default text */
	const char *const *init_args;
	unsigned int init_arg_count;

	unsigned int vcpus;
	uint64_t memory; /* bytes, a multiple of the page size */

	struct drive_config drives[VM_DRIVES_MAX]; /* vda, vdb, ... in this order */
	unsigned int drive_count;
	bool has_rootfs; /* the first drive is the root filesystem */

	bool has_console;
	int console_fd; /* where the serial port's output goes; borrowed; -1 discards it */
};

/* -EINVAL with a sentence that names the option and its range. Pure. */
must_check int vm_config_check(const struct vm_config *config, struct error *err);

/* The name a drive has in the guest and in messages: "vda" for 0. Static storage. */
const char *drive_name(unsigned int index);
