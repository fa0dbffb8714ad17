/* Private to vmm/machine*.c: the whole machine in one structure. */
#pragma once

#include "base/event_loop.h"
#include "snapshot/memory_pager.h"
#include "snapshot/page_fetch.h"
#include "virtio/pmem_file.h"
#include "virtio/virtio_device.h"
#include "vmm/boot/boot.h"
#include "vmm/file_backing.h"
#include "vmm/irq_routes.h"
#include "vmm/legacy/i8042.h"
#include "vmm/legacy/serial.h"
#include "vmm/machine.h"
#include "vmm/snapshot_info.h"
#include "vmm/vmclock.h"
#include "vmm/vmgenid.h"

struct machine_known;
struct machine_mmds;

struct machine_pmem {
	struct pmem_file file;
	uint64_t gpa;
	struct virtio_device *dev; /* NULL until it is created */
};

/* What guest memory was like when it was last saved or taken up: what a diff is the difference to. */
struct machine_base {
	bool is_there; /* else nothing is known of before, and all of memory is the difference */
	bool is_layer; /* its memory file is one */
	uint8_t id[SNAPSHOT_ID_SIZE], parent[SNAPSHOT_ID_SIZE];
	/* Of a save in place that failed: its file has some of what has changed since this base. Zeroes: none. */
	uint8_t failed[SNAPSHOT_ID_SIZE];
};

struct machine {
	const struct vm_config *config;
	struct timeline *timeline;

	struct guest_memory memory;
	struct file_backings backings; /* which files' pages are in it */
	struct memory_pager *pager;    /* who fills it in; NULL: nobody needs to */
	const char *pager_name;	       /* borrowed */
	unsigned int pager_patience_ms;
	struct page_fetch *fetch; /* of a save; NULL: none was needed yet */
	struct machine_pmem pmems[VM_PMEMS_MAX];
	unsigned int pmem_count; /* mapped so far */
	struct kvm kvm;
	struct irq_routes routes;
	struct bus pio, mmio;
	struct event_loop
		*loops[VM_IO_LOOPS_MAX]; /* I/O threads; NULL where no device asks for it */

	struct console_sink *sink; /* apart: a stuck writer keeps it */
	struct serial serial;
	struct i8042 i8042;
	struct vmgenid vmgenid;
	struct vmclock vmclock;
	struct {
		void (*room)(void *opaque);
		void *opaque;
	} serial_rooms[SERIAL_ROOMS_MAX];

	struct virtio_device *devices[LAYOUT_VIRTIO_DEVICES_MAX];
	struct boot_device addresses[LAYOUT_VIRTIO_DEVICES_MAX]; /* of the same device */
	unsigned int device_count;
	struct virtio_bell bell; /* of those whose vCPUs may serve them */
	/* A page for each and the IOAPIC's, which the guest may read; NULL: this KVM cannot. */
	uint8_t *registers;
	struct virtio_device *balloon;		/* one of them, or NULL */
	struct machine_mmds *mmds[VM_NETS_MAX]; /* of the interface with that index, or NULL */
	struct mmds *mmds_service;		/* what they serve; NULL: none of them is there */

	struct vcpu vcpus[LAYOUT_VCPUS_MAX];
	unsigned int vcpu_count; /* created so far */
	struct vcpu_host vcpu_host;
	struct cpuid_source cpuid;
	struct boot_cpu boot_cpu; /* how the first one starts */
	bool started;		  /* the vCPUs were let run once */
	bool paused;
	struct machine_base base;
	struct machine_known *known; /* of a prepared one's parts; NULL: nothing */
	bool tried;   /* a snapshot's vCPUs were loaded, whatever became of the load */
	bool adopted; /* a snapshot: the files behind memory are its image alone */

	/* The first end wins; written by a vCPU or the control thread, under the lock. */
	pthread_mutex_t end_lock;
	enum machine_end end;
	char end_text[1536];
	int end_fd;    /* an eventfd */
	int notice_fd; /* another */
};

/* vmm/machine_build.c: everything that machine_build() promises; undone by machine_destroy(). */
must_check int machine_put_together(struct machine *machine, struct error *err);

/* The same for machine_prepare(): no kernel, and memory that waits for an image. */
must_check int machine_put_in_readiness(struct machine *machine, struct error *err);

/* The same, but the vCPUs are still in the making: the wait for them, which may be repeated, is the caller's. */
must_check int machine_begin_readiness(struct machine *machine, struct error *err);
must_check int machine_wait_for_vcpus(struct machine *machine, struct error *err);
bool machine_vcpus_are_made(const struct machine *machine); /* somebody has waited for them */

/* vmm/machine_legacy.c: serial port, i8042, power button, boot timer, VMGenID's interrupt. */
must_check int machine_add_legacy(struct machine *machine, struct error *err);

/* vmm/machine_devices.c: every virtio device, in order. */
must_check int machine_add_virtio(struct machine *machine, struct error *err);
void machine_free_devices(struct machine *machine);

/* The pages of all of them and the IOAPIC's, as memory that the guest may read. Before kvm_create_irqchip(). */
must_check int machine_show_registers(struct machine *machine, struct error *err);

/* The next free place for a virtio device: a register page and an interrupt line of its own. */
must_check int machine_reserve(struct machine *machine, struct boot_device *at,
			       struct irq_line **irq, struct error *err);

/* Puts the device there: bus, ioeventfds. Takes the device over, also on failure. */
must_check int machine_attach(struct machine *machine, struct virtio_device *dev,
			      const struct boot_device *at, struct error *err);

/* A file for each kind: reserves, creates and attaches the index-th of the configuration. */
must_check int machine_add_drive(struct machine *machine, unsigned int index, struct error *err);
must_check int machine_add_net(struct machine *machine, unsigned int index, struct error *err);
must_check int machine_add_vsock(struct machine *machine, struct error *err);
must_check int machine_add_pmem(struct machine *machine, unsigned int index, struct error *err);
must_check int machine_add_balloon(struct machine *machine, struct error *err);

/* vmm/machine_mmds.c: lets the guest reach the service by the index-th interface, which is attached;
 * and no longer. The service outlives the machine. */
must_check int machine_serve_mmds(struct machine *machine, unsigned int index, struct mmds *service,
				  struct error *err);
void machine_free_mmds(struct machine *machine);

/* vmm/machine_boot.c: kernel, command line and tables into memory, registers into vCPU 0. */
must_check int machine_load_kernel(struct machine *machine, struct boot_cpu *cpu,
				   struct error *err);

/* vmm/machine_pmem.c: the files into the guest's address space, after RAM and before the VM's slots. */
must_check int machine_map_pmems(struct machine *machine, struct error *err);
void machine_unmap_pmems(struct machine *machine);

/* Looks for files that got too short and replaces what was lost. Any thread. */
void machine_check_pmems(struct machine *machine);

/*
 * The same after KVM_RUN could not go on; also for files whose disk has no room. True when anything has been replaced
 * since *seen, which is the caller's own (0 at first), so also by another thread. vCPU threads.
 */
bool machine_repair_pmems(struct machine *machine, unsigned int *seen);

/* -EIO and which it is when a guest has what its file has not: no snapshot would hold that. */
must_check int machine_refuse_lost_pmems(struct machine *machine, struct error *err);

/* Has the inotify descriptor tell of changes to the files. -errno. */
must_check int machine_watch_pmems(const struct machine *machine, int inotify);
