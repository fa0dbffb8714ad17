/*
 * /dev/kvm and one virtual machine on it: thin wrappers with errors for people. See the kernel's
 * Documentation/virt/kvm/api.rst for each call.
 */
#pragma once

#include <linux/kvm.h>

#include "base/error.h"
#include "base/guest_memory.h"

struct kvm {
	int fd;		 /* /dev/kvm */
	int vm;		 /* the machine */
	size_t run_size; /* bytes of a vCPU's struct kvm_run mapping */
};

/* Opens /dev/kvm, checks its version and the capabilities without which nothing works. */
must_check int kvm_open(struct kvm *kvm, struct error *err);

/* Makes the VM, with no performance counters for its guest. */
must_check int kvm_create_vm(struct kvm *kvm, struct error *err);
void kvm_close(struct kvm *kvm);

/*
 * Registers all of guest memory, a slot for each region, numbered as they are, then the windows. Before
 * kvm_create_irqchip(): afterwards each slot waits for a grace period (milliseconds).
 */
must_check int kvm_add_memory(struct kvm *kvm, const struct guest_memory *mem, struct error *err);

/* Shows the guest memory of ours that it may read and not write: what it writes there is an exit, as without it. The
 * `nth` slot, from 0, after those of `mem`, and like them before kvm_create_irqchip(). -EOPNOTSUPP where KVM has nothing
 * of the kind. */
must_check int kvm_add_read_only(struct kvm *kvm, const struct guest_memory *mem, unsigned int nth,
				 const struct guest_region *region, struct error *err);

/*
 * Has KVM note which pages of guest memory's regions (not the windows) it and the vCPUs write, if mem->dirty is there: before
 * kvm_add_memory(), which sees it. This one is for slots that are there already, and waits for grace periods.
 */
must_check int kvm_track_memory(struct kvm *kvm, const struct guest_memory *mem, struct error *err);

/* Adds to mem->dirty what KVM has noted since the last time, and it begins anew. No vCPU runs. */
must_check int kvm_take_dirty(const struct kvm *kvm, const struct guest_memory *mem,
			      struct error *err);

/* Local APICs in the kernel, `pins` GSIs for an IOAPIC of ours, x2APIC ids of 32 bits. */
must_check int kvm_create_irqchip(struct kvm *kvm, unsigned int pins, struct error *err);

/* What KVM_CHECK_EXTENSION says of the VM (before there is one: of the host); 0 when it does not know
 * the capability. */
int kvm_check_extension(const struct kvm *kvm, int capability);

/* The eventfd is signalled when the guest writes `value` (`len` bytes, 0: any) at addr. Not bound: no more, after a call
 * that was the same but for that; the write is an exit again. */
must_check int kvm_ioeventfd(const struct kvm *kvm, int eventfd, uint64_t addr, uint32_t value,
			     uint32_t len, bool bound);

/* A signal of the eventfd delivers the GSI's route. */
must_check int kvm_irqfd(const struct kvm *kvm, int eventfd, uint32_t gsi);
