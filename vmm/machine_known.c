/*
 * What a prepared machine is like before it takes a snapshot up. A load need not set what is so already, nor decode what
 * a save here would have written in the same bytes: each is some microseconds of the tens that a load has.
 */
#include "vmm/machine_known.h"
#include "vmm/machine_snapshot_priv.h"
#include "vmm/snapshot_needs.h"

static int know_cpuid(struct machine_known *known, struct machine *machine, struct error *err)
{
	struct cpuid_state *state cleanup_free = malloc(sizeof(*state));

	if (!state)
		return error_set(err, ENOMEM, "out of memory");
	cpuid_to_state(&machine->cpuid.table, state);
	state_encode(&known->cpuid, &cpuid_state_desc, state);
	return known->cpuid.failed ? error_set(err, ENOMEM, "out of memory") : 0;
}

int machine_learn(struct machine *machine, struct error *err)
{
	struct machine_known *known = calloc(1, sizeof(*known));
	int ret;

	if (!known)
		return error_set(err, ENOMEM, "out of memory");
	machine->known = known;
	snapshot_find_capabilities(&machine->kvm, &known->capabilities);
	ret = know_cpuid(known, machine, err);
	return ret < 0 ? ret : machine_save_vcpus(machine, &known->vcpus, err);
}

void machine_unlearn(struct machine *machine)
{
	if (!machine->known)
		return;
	free(machine->known->cpuid.bytes);
	free(machine->known->vcpus);
	free(machine->known);
	machine->known = NULL;
}
