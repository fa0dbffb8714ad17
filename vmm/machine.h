/*
 * The machine: guest memory, KVM, vCPUs, interrupt routes, legacy and virtio devices, put together
 * in one place and in one order. Owned by the control thread, which builds, starts, stops and
 * destroys it; vCPU threads and the I/O loop run in between.
 */
#pragma once

#include "vmm/timeline.h"
#include "vmm/vcpu.h"
#include "vmm/vm_config.h"

struct machine;
struct serial;
struct virtio_device;

/*
 * Opens and creates everything; nothing runs yet. On failure everything is undone; -ENOTSUP means
 * that this host cannot, any other code that the request is wrong. The timeline is the caller's and
 * outlives the machine.
 */
must_check int machine_build(struct machine **out, const struct vm_config *config,
			     struct timeline *timeline, struct error *err);

/* Lets the vCPUs run. Once. */
void machine_start(struct machine *machine);

/*
 * Takes the vCPUs out of the guest, each to the end of the instruction it was in, then drains and stops
 * the devices: what the machine consists of is whole and changes no more. Resuming is the reverse; the
 * guest's watchdog is told that it was away (kvmclock). Both are idempotent; a machine that has ended
 * stays so. They return when done: a pause takes as long as the slowest I/O in flight. Control thread.
 */
void machine_pause(struct machine *machine);
void machine_resume(struct machine *machine);

/* Becomes readable when the machine has ended by itself. */
int machine_end_fd(const struct machine *machine);

/* How it ended, and *text what happened, for people. MACHINE_RUNNING: it has not. */
enum machine_end machine_end(struct machine *machine, const char **text);

/* Ends the machine, unless it has ended already; text is for people. Any thread. */
void machine_set_end(struct machine *machine, enum machine_end end, const char *text);

/*
 * Files that guest memory is mapped from: a descriptor that becomes readable when one was changed
 * (-errno where the host has none), and the look at whether one got too short, which ends the
 * machine.
 */
int machine_watch_files(const struct machine *machine);
void machine_check_files(struct machine *machine);

/*
 * An access to `addr` failed (SIGBUS). True: a page of zeroes is there now, in place of a page of a pmem device's file
 * that was cut short; try again. Async-signal-safe.
 */
bool machine_repair_at(struct machine *machine, const void *addr);

/* The name of what is behind an address of ours, or NULL; and *what has happened to it when an access there has
 * failed. Async-signal-safe. */
const char *machine_file_at(const struct machine *machine, const void *addr, const char **what);

/* Takes the vCPUs out of the guest and drains the devices. */
void machine_stop(struct machine *machine);

/* Stops it if need be and frees everything. */
void machine_destroy(struct machine *machine);

/* The balloon, for virtio/virtio_balloon.h; NULL when the machine has none. Lives as long as the machine. */
struct virtio_device *machine_balloon(struct machine *machine);

/* The index-th pmem device of the configuration, for virtio/virtio_pmem.h; NULL when there are fewer. */
struct virtio_device *machine_pmem(struct machine *machine, unsigned int index);

/* The index-th device of a kind (VIRTIO_ID_*), in the order of the configuration; NULL: there is none. */
struct virtio_device *machine_device(struct machine *machine, uint32_t virtio_id,
				     unsigned int index);

/* Everything that it counts beside its virtio devices, since its start. Any thread. */
struct machine_counts {
	/* Of all vCPUs. */
	uint64_t vcpu_exits[VCPU_EXITS], vcpu_failures, pauses_untold;
	struct latency vcpu_exit_times[VCPU_EXITS];
	struct {
		uint64_t written, held_back, read, missed_reads, missed_writes;
		uint64_t lost,
			flushes; /* bytes that found no room; writes to where its output goes */
	} serial;
	struct {
		uint64_t reads, writes, missed_reads, missed_writes, resets, errors;
	} i8042;
	uint64_t interrupts, route_updates;
};

void machine_count(struct machine *machine, struct machine_counts *out);

/* What it costs its host. */
struct machine_stats {
	unsigned int vcpus;
	uint64_t vcpu_ns;      /* processor time of all vCPU threads, in the guest and for it */
	uint64_t exits;	       /* how often a vCPU came back from the guest to us */
	uint64_t memory_bytes; /* that the guest has */
	uint64_t
		resident_bytes; /* of it in the host's memory; of a mapped image also what is only cached */
};

/* Looks at every page of guest memory: about 2 ms for each GiB. Control thread. */
void machine_stats(struct machine *machine, struct machine_stats *out);

/*
 * Before what waits for devices' loops, which may wait for a page of guest memory themselves: -ETIMEDOUT and *err when
 * there is a page-fault handler and one does not answer within `ms`, and nothing has changed. Else, until
 * machine_had_devices(), a wait ends as that of machine_pause() does. Control thread.
 */
must_check int machine_await_devices(struct machine *machine, unsigned int ms, struct error *err);
void machine_had_devices(struct machine *machine);

/*
 * An eventfd that is signalled when init runs, a device needs a reset or the balloon has new statistics: each is counted
 * or marked elsewhere.
 */
int machine_notice_fd(const struct machine *machine);

struct machine_breaks {
	const char *name; /* the device's; as long as the machine lives */
	uint64_t count;	  /* how often it needed a reset */
	char why[96];	  /* the last time */
};

/* Of the index-th virtio device; false: there are fewer. Any thread. */
bool machine_device_breaks(struct machine *machine, unsigned int index, struct machine_breaks *out);

/* The guest is asked to restart as a person at its keyboard would. */
void machine_press_ctrl_alt_del(struct machine *machine);

/* The serial port, for input. */
struct serial *machine_serial(struct machine *machine);

#define SERIAL_ROOMS_MAX 2u

struct console_tap;

/* Gives whoever owns the tap, which outlives the machine, a copy of the serial port's output. Before machine_start(). */
void machine_tap_serial(struct machine *machine, struct console_tap *tap);

/* Called on a vCPU thread when the serial port has room for input again: SERIAL_ROOMS_MAX of them, each of whom offers
 * what it has. Before machine_start(). */
void machine_on_serial_room(struct machine *machine, void (*room)(void *), void *opaque);
