/* Private to vmm/machine_adopt{,_check}.c: a snapshot on its way into a prepared machine. The control thread's. */
#pragma once

#include "vmm/clock_state.h"
#include "vmm/machine_snapshot_priv.h"
#include "vmm/vcpu_state.h"

struct vcpu_adoption {
	struct vcpu_state state;
	struct vcpu_load load;
	struct error err;
};

struct adoption {
	struct machine *machine;
	const struct machine_snapshot *snapshot;
	struct clock_state clock;
	struct cpuid cpuid;
	bool cpuid_differs;
	struct vcpu_adoption *vcpus; /* [machine->vcpu_count] */
};

/* Compares shapes and processors and decodes what the vCPUs are to load; changes nothing. Errors as machine_adopt()'s. */
must_check int adoption_check(struct adoption *adoption, struct error *err);

/* -ENOTSUP when this host's KVM lacks what the state needs. */
must_check int adoption_check_capabilities(const struct adoption *adoption, struct error *err);
