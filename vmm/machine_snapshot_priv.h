/* Private to vmm/machine_{save,save_diff,snapshot,adopt,adopt_check,adopt_memory,known}.c. */
#pragma once

#include "snapshot/state_file.h"
#include "vmm/config_state.h"
#include "vmm/machine_priv.h"
#include "vmm/machine_snapshot.h"
#include "vmm/mmds/mmds.h"
#include "vmm/snapshot_info.h"

struct machine_snapshot {
	struct state_file state;
	struct snapshot_info info;
	struct saved_config saved;
	struct vm_config config;
	bool has_mmds;
	struct mmds_config mmds;
	bool has_pager;
	unsigned int pager_patience_ms;
	int ending_fd; /* as in snapshot_file; ours */
	int memory;    /* the image, or a connection to the pager; -1: by its name */
	char *state_name, *memory_name; /* for messages */
};

struct vcpu_state;

/* vmm/machine_save.c: what all vCPUs, of which none runs, have in them: each reads its own at the same time. The caller
 * frees *out, whatever the result. */
must_check int machine_save_vcpus(struct machine *machine, struct vcpu_state **out,
				  struct error *err);

/* vmm/machine_save_diff.c: from now on it is noted which pages change, if it is not yet. No vCPU and no device runs. */
must_check int machine_track(struct machine *machine, struct error *err);

/* Undoes it. */
void machine_untrack(struct machine *machine);

/* Memory is as in this snapshot: what changes from now on is what has changed. */
void machine_set_base(struct machine *machine, const struct snapshot_info *info);

/*
 * vmm/machine_adopt_memory.c: puts the snapshot's memory where the machine has an address range without any, in
 * pages of this kind, or refuses. What a failure leaves of it machine_unmap_image() frees: a range without memory again.
 */
must_check int machine_map_image(struct machine *machine, const struct machine_snapshot *snapshot,
				 enum guest_pages pages, struct error *err);
void machine_unmap_image(struct machine *machine);

/* What reads all of memory, or is the first to read it, has come to this result: -EIO, or -ETIMEDOUT, if what it read were
 * not all the pager's pages. */
must_check int machine_got_image(struct machine *machine, int ret, struct error *err);
