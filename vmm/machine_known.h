/* Private to vmm/machine*.c: what a prepared machine knows of itself. The control thread's. */
#pragma once

#include "snapshot/state_codec.h"
#include "vmm/snapshot_info.h"
#include "vmm/vcpu_state.h"

struct machine;

struct machine_known {
	struct state_buffer cpuid;	   /* as its section of a snapshot has it */
	struct snapshot_info capabilities; /* these of it: KVM's, here */
	/* [machine->vcpu_count]: as they were made; none has run or been loaded. */
	struct vcpu_state *vcpus;
};

/* Fills in machine->known; its vCPUs are made. What a failure leaves, machine_unlearn() frees. */
must_check int machine_learn(struct machine *machine, struct error *err);

/* From now on nothing is known, because something may have changed; or was not before. */
void machine_unlearn(struct machine *machine);
