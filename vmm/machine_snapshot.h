/*
 * Snapshots of a machine: saving one, opening one, and taking one up in a machine that was prepared for it.
 * All of it is the control thread's.
 *
 *   save:     machine_pause(); machine_save(); machine_resume() or the end
 *   restore:  machine_snapshot_open(); machine_snapshot_config() and changes to it; machine_prepare();
 *             machine_adopt(); machine_resume()
 *   clone:    machine_prepare(), machine_snapshot_room() long before; machine_snapshot_open(); machine_adopt(); machine_resume()
 */
#pragma once

#include "snapshot/progress.h"
#include "vmm/machine.h"

enum save_kind {
	SAVE_FULL,
	/*
	 * The pages written since the last save or load: merged into memory_path when that is a file as long as memory
	 * (which must be that of the last save or a copy of it: -EINVAL), else a layer of its own. All, when nothing
	 * was saved or loaded before. -ENOTSUP without vm_config.track_dirty.
	 */
	SAVE_DIFF,
};

struct save_request {
	const char *state_path;
	const char *memory_path;
	/* Above 0: the file itself, which is written in place, so a failure leaves it broken (but for a diff into
	 * memory: a pair that a load refuses by name, and that the next such diff makes good). The path is then only what
	 * messages call it. */
	int state_fd, memory_fd;
	enum save_kind kind;
	/* Steps "copy" (what a diff is merged into), "memory", "sync"; NULL: nobody asked. */
	struct progress *progress;
};

struct save_result {
	uint64_t pages;	  /* that were looked at */
	uint64_t written; /* of these, to the file */
};

/*
 * Saves a paused machine, which can go on afterwards. Each file takes its target's place as a whole:
 * memory first, then the state, then their folders are synced. On failure the targets are what they were
 * (or, when the state could not follow the memory, a pair that a load refuses by name), and nothing is
 * left beside them. -EBUSY when the machine is not paused, -EIO when pages of a pmem's file were lost.
 */
must_check int machine_save(struct machine *machine, const struct save_request *request,
			    struct save_result *result, struct error *err);

struct mmds_config;

/* A snapshot's files, opened and checked, nothing built. */
struct machine_snapshot;

/* A file by its name or, when path is NULL, by a descriptor. */
struct snapshot_file {
	const char *path;
	int fd;
	bool is_pager; /* memory: the socket of, or a connection to, who fills it in (snapshot/memory_pager.h) */
	unsigned int
		patience_ms; /* with it: for how long a load, a pause or a resume waits for pages at most */
	int ending_fd; /* with it: readable while the process is to end and has not begun to; 0: there is none */
};

/*
 * Room for what the files of a machine of this shape hold, made beforehand: its pages are there when a load is waited
 * for. NULL: out of memory, and the load makes it.
 */
struct machine_snapshot *machine_snapshot_room(const struct vm_config *shape);

/*
 * *out is NULL or such room, which is taken over. The state's descriptor is only read from, the memory's two are taken
 * over whatever the result. -EINVAL or -EPROTONOSUPPORT for what the files are, else the errno of opening them; *out is
 * NULL then.
 */
must_check int machine_snapshot_open(struct machine_snapshot **out,
				     const struct snapshot_file *state,
				     const struct snapshot_file *memory, struct error *err);
void machine_snapshot_close(struct machine_snapshot *snapshot);

/*
 * What the machine was, without kernel and console: to be changed where this one is to be another (paths,
 * descriptors, taps), checked by vm_config_check_shape(), then given to machine_prepare(). The snapshot's:
 * it must outlive the machine.
 */
struct vm_config *machine_snapshot_config(struct machine_snapshot *snapshot);

/* How its guest reached the metadata service; NULL: it did not. */
const struct mmds_config *machine_snapshot_mmds(const struct machine_snapshot *snapshot);

/*
 * Everything that does not depend on a snapshot's contents: VM, vCPUs and their threads, interrupt
 * controllers, memory slots (over a hole), rings, devices. The shape outlives the machine. Errors as
 * machine_build()'s.
 */
must_check int machine_prepare(struct machine **out, const struct vm_config *shape,
			       struct timeline *timeline, struct error *err);

/*
 * The same for a caller that adopts at once: the vCPUs are still in the making, and machine_adopt() waits for them
 * as late as it can.
 */
must_check int machine_prepare_early(struct machine **out, const struct vm_config *shape,
				     struct timeline *timeline, struct error *err);

/* machine_adopt() and machine_resume() are about to come: the first vCPU's thread is woken, for as long as they take. */
void machine_expect_adoption(struct machine *machine);

struct other_file {
	bool given;
	const char *path; /* of a tap its name; NULL, and then: */
	int fd;		  /* taken over by machine_adopt(), whatever the result */
};

/*
 * Who a clone is, where it is to be another than the machine that was prepared (files, taps, sockets) or saved
 * (addresses). By the devices' numbers in the shape, which has all that are named here.
 */
struct machine_identity {
	struct other_file drives[VM_DRIVES_MAX];
	struct other_file taps[VM_NETS_MAX];
	struct other_file pmems[VM_PMEMS_MAX]; /* as large as those prepared, in whole 2 MiB */
	struct {
		bool given;
		uint8_t mac[6];
	} macs[VM_NETS_MAX];
	const char *vsock_path;			      /* NULL: the shape's */
	char vsock_listens_at[VM_VSOCK_PATH_MAX + 1]; /* room for the path of: */
	int vsock_listener;	   /* above 0: listens there already; stays the caller's */
	uint32_t vsock_cid;	   /* 0: the saved one */
	struct other_file console; /* its fd: borrowed as vm_config.console_fd is; no path */
	struct mmds *mmds; /* serves the interfaces that the snapshot says; NULL: it says none */
};

/* Closes its descriptors, where there is no machine_adopt() to take them over. */
void machine_identity_close(struct machine_identity *identity);

struct adopt_options {
	bool track_dirty; /* as vm_config.track_dirty; slower here than there */
	bool realtime;	  /* kvmclock goes on by the wall clock instead of where it stood */
	enum guest_pages
		pages; /* what memory is made of; that of a hugetlbfs file is of 2 MiB anyhow */
	const struct machine_identity *identity; /* NULL: as prepared and saved */
};

/*
 * Takes the snapshot, which outlives it, up in a prepared machine, which is then paused: machine_resume() goes on where the
 * saved one was. On failure the machine is prepared as before and may try another. -EINVAL: the snapshot
 * is damaged, or of another shape; -ENOTSUP: this host lacks what it needs.
 */
must_check int machine_adopt(struct machine *machine, const struct machine_snapshot *snapshot,
			     const struct adopt_options *options, struct error *err);
