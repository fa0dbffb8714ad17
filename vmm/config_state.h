/*
 * What a snapshot holds of the machine's configuration: the shape that it needs again, and where its drives
 * and so on came from, unless the request to load names others. Pure.
 */
#pragma once

#include "snapshot/state_desc.h"
#include "vmm/layout.h"
#include "vmm/vm_config.h"

#define SAVED_ID_MAX VM_ID_SIZE
#define SAVED_TAP_MAX 80u
#define SAVED_PATH_MAX 4096u
#define SAVED_ARGS_MAX LAYOUT_CMDLINE_MAX

struct saved_drive {
	char id[SAVED_ID_MAX];	   /* empty: none */
	char path[SAVED_PATH_MAX]; /* empty: it came as a descriptor, and must again */
	bool read_only, direct, unsafe, async;
	char partuuid[SAVED_ID_MAX]; /* empty: none */
	uint32_t num_queues, queue_size, loop;
	struct rate_config rate;
};

struct saved_net {
	char id[SAVED_ID_MAX];
	char tap[SAVED_TAP_MAX]; /* empty: it came as a descriptor */
	bool has_mac, antispoof, mmds;
	uint8_t mac[6];
	uint16_t mtu;
	uint32_t queue_pairs, queue_size;
	struct rate_config rx_rate, tx_rate;
};

struct saved_pmem {
	char id[SAVED_ID_MAX];
	char path[SAVED_PATH_MAX]; /* empty: it came as a descriptor */
	bool read_only, root;
	struct rate_config rate;
};

struct saved_config {
	uint64_t memory; /* bytes */
	uint32_t vcpus;
	uint32_t pages; /* enum guest_pages */
	bool smt, has_rootfs, has_vsock, has_balloon, has_rng;
	/* What was booted once, to be shown. Empty: it came as a descriptor; there is none; the default ones. */
	char kernel[SAVED_PATH_MAX], initrd[SAVED_PATH_MAX], boot_args[SAVED_ARGS_MAX];
	uint32_t drive_count;
	struct saved_drive drives[VM_DRIVES_MAX];
	uint32_t net_count;
	struct saved_net nets[VM_NETS_MAX];
	uint32_t pmem_count;
	struct saved_pmem pmems[VM_PMEMS_MAX];
	struct {
		char id[SAVED_ID_MAX];
		char path[VM_VSOCK_PATH_MAX + 1];
		uint32_t cid;
	} vsock;
	struct balloon_config balloon;
	struct rate_config rng_rate;
};

extern const struct state_desc saved_config_desc;

/* -ENAMETOOLONG when a name does not fit. */
must_check int config_save(const struct vm_config *config, struct saved_config *out,
			   struct error *err);

/* The configuration without kernel and console; its strings are those of `saved`, which is untrusted:
 * vm_config_check_shape() is still to be asked. */
void config_load(const struct saved_config *saved, struct vm_config *out);
