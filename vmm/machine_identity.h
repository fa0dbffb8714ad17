/* Private to vmm/machine_*.c: a prepared machine becomes the one that a load asks for, or is as before. */
#pragma once

#include "virtio/pmem_file.h"
#include "virtio/vsock_unix.h"
#include "vmm/machine_snapshot.h"

struct net_backend;

/* What a device had before, to be closed or put back. */
struct machine_former {
	int drives[VM_DRIVES_MAX];	       /* -1: it has its own still */
	struct net_backend *taps[VM_NETS_MAX]; /* NULL: the same */
	/* Its tap is another interface's now; it has another's. */
	bool gives_tap[VM_NETS_MAX], takes_tap[VM_NETS_MAX];
	bool has_pmem[VM_PMEMS_MAX], has_vsock, has_console;
	struct pmem_file pmems[VM_PMEMS_MAX]; /* not mapped */
	struct vsock_unix vsock;
	int console_fd;
};

/*
 * Files, taps and sockets of `identity` take the place of those that the machine was prepared with; the
 * descriptors in it are taken over. On failure nothing has changed. No vCPU runs, the devices are paused.
 */
must_check int machine_assume(struct machine *machine, const struct machine_identity *identity,
			      struct machine_former *former, struct error *err);

/* The end of it: what was there before goes, or it comes back. */
void machine_forget_former(struct machine_former *former);
void machine_restore_former(struct machine *machine, struct machine_former *former);

/* Addresses: after the devices' states were loaded. */
must_check int machine_readdress(struct machine *machine, const struct machine_identity *identity,
				 struct error *err);
