/*
 * What a machine is to be: plain data, filled in by the command line (later: the API), checked by
 * one function that opens nothing. Strings are borrowed from whoever filled it in.
 */
#pragma once

#include "base/guest_memory.h"

struct mmds;
struct cpu_template;
#include "base/token_bucket.h"

#define VM_DRIVES_MAX 16u
#define VM_ID_SIZE 1024u /* of a device's name, with a zero; no line of HTTP is longer */
#define VM_NETS_MAX 8u
#define VM_NET_QUEUE_PAIRS_MAX 8u
#define VM_NET_MTU_MIN 68u
#define VM_PMEMS_MAX 8u
#define VM_IO_LOOPS_MAX 16u
#define VM_VSOCK_CID_MIN 3u
#define VM_VSOCK_CID_MAX (UINT32_MAX - 1) /* the last one means any */
#define VM_VSOCK_PATH_MAX 96u /* bytes; behind it "_PORT", all of it a Unix socket's 107 */
#define VM_QUEUES_MAX 32u
#define VM_QUEUE_SIZE_MAX 1024u
#define VM_MEMORY_MIN MIB(2)
#define VM_MEMORY_MAX GIB(4096)
#define VM_MEMORY_DEFAULT MIB(128)

struct drive_config {
	const char *id;	  /* the API's drive_id; NULL: the name in the guest ("vda") */
	const char *path; /* NULL when it comes as a descriptor */
	int fd;		  /* -1 when it comes as a path; else the machine takes it over */
	bool read_only;
	bool may_be_empty;	 /* an image without a sector is not a mistake */
	bool direct;		 /* O_DIRECT: around the host's page cache */
	bool unsafe;		 /* no flush is offered: a crash of the host may lose anything */
	bool async;		 /* Firecracker's engine that was asked for; io_uring either way */
	const char *partuuid;	 /* of the partition with the root; NULL: all of it */
	unsigned int num_queues; /* 1 to VM_QUEUES_MAX; 0: 1 */
	unsigned int queue_size; /* entries, a power of 2 up to VM_QUEUE_SIZE_MAX; 0: 256 */
	unsigned int loop;	 /* the I/O thread that serves it, below VM_IO_LOOPS_MAX */
	struct rate_config rate;
};

struct net_config {
	const char *id;	 /* the API's iface_id; NULL: "net0" and so on */
	const char *tap; /* its name on the host; NULL when it comes as a descriptor */
	int fd;	      /* an open tap, -1 when it comes as a name; else the machine takes it over */
	bool has_mac; /* else one is made up */
	uint8_t mac[6];
	uint16_t mtu;		  /* 0: none is advertised */
	bool antispoof;		  /* drop frames from a source MAC that is not the device's */
	unsigned int queue_pairs; /* 1 to VM_NET_QUEUE_PAIRS_MAX, a descriptor has 1; 0: 1 */
	unsigned int queue_size;  /* entries, a power of 2 up to VM_QUEUE_SIZE_MAX; 0: 256 */
	struct rate_config rx_rate, tx_rate; /* as the guest sees it: rx is what it receives */
	bool mmds;			     /* the guest reaches vm_config.mmds by it */
};

struct vsock_config {
	const char *id; /* may be NULL */
	const char
		*path; /* the Unix socket that the host connects to; and the prefix of its ports */
	int listener; /* above 0: it listens there already; stays the caller's, till the machine is made */
	uint32_t cid; /* the guest's, from 3 up */
};

struct balloon_config {
	uint32_t target_mib;
	bool deflate_on_oom;
	uint32_t stats_interval_s; /* 0: no statistics */
	bool free_page_reporting;
	bool free_page_hinting;
};

struct pmem_config {
	const char *id;	  /* NULL: "pmem0" and so on */
	const char *path; /* NULL when it comes as a descriptor */
	int fd;		  /* -1 when it comes as a path; else the machine takes it over */
	bool read_only;
	bool root;		 /* the root filesystem is on it */
	struct rate_config rate; /* of flushes */
};

struct rng_config {
	struct rate_config rate;
};

struct vm_config {
	/* Each by its path or, when that is NULL, by a descriptor above 0, which stays the caller's. */
	const char *kernel_path, *initrd_path;
	int kernel_fd, initrd_fd;
	const char *cmdline; /* NULL: the default text */
	/* The API's: the command line gets no console=, and root= though it has its own. */
	bool plain_cmdline;
	const char *const *init_args;
	unsigned int init_arg_count;

	unsigned int vcpus;
	const struct cpu_template *cpu; /* what changes of the host's processor; NULL: nothing */
	bool smt;			/* two threads a core; then vcpus is 1 or even */
	uint64_t memory;		/* bytes, a multiple of the page size */
	enum guest_pages pages;
	bool track_dirty; /* which pages are written is noted, for snapshots of what has changed */

	struct drive_config drives[VM_DRIVES_MAX]; /* vda, vdb, ... in this order */
	unsigned int drive_count;
	bool has_rootfs; /* the first drive is the root filesystem */

	struct net_config nets[VM_NETS_MAX];
	unsigned int net_count;
	struct mmds *mmds; /* the metadata service of those that serve it; borrowed; NULL: none */
	struct pmem_config pmems[VM_PMEMS_MAX];
	unsigned int pmem_count;
	bool has_vsock, has_balloon;
	struct vsock_config vsock;
	struct balloon_config balloon;
	bool no_rng; /* Firecracker's API has an entropy device only when asked */
	struct rng_config rng;

	bool log_boot_time; /* one line when the guest's init says that it runs */
	bool has_console;
	struct bucket_config
		serial_limit; /* of the serial port's output, bytes; the rest is dropped */
	int console_fd;	      /* where the serial port's output goes; borrowed; -1 discards it */
};

/* -EINVAL with a sentence that names the option and its range. Pure. */
must_check int vm_config_check(const struct vm_config *config, struct error *err);

/* The same for a machine that takes up a snapshot: everything but the kernel. */
must_check int vm_config_check_shape(const struct vm_config *config, struct error *err);

/*
 * The whole command line, LAYOUT_CMDLINE_MAX bytes with its end, as cmdline_build() (vmm/boot/cmdline.h), whose errors
 * it has; with the devices that the guest of a machine without ACPI is told of. Pure.
 */
struct boot_device;
must_check int vm_config_cmdline(const struct vm_config *config, const struct boot_device *devices,
				 unsigned int device_count, char *out, struct error *err);

/* The name a drive has in the guest and, without an id, in messages: "vda" for 0. Static storage. */
const char *drive_name(unsigned int index);

/* What a network interface without an id is called in messages: "net0" for 0. Static storage. */
const char *net_name(unsigned int index);

/* What a pmem device without an id is called: "pmem0" for 0, as in the guest. Static storage. */
const char *pmem_name(unsigned int index);

/* What a client calls them, for messages and answers: the id, or else the names above. The index is one of the config's. */
const char *vm_config_drive_name(const struct vm_config *config, unsigned int index);
const char *vm_config_net_name(const struct vm_config *config, unsigned int index);
const char *vm_config_pmem_name(const struct vm_config *config, unsigned int index);
