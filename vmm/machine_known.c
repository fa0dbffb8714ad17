/*
 * What a prepared machine is like before it takes a snapshot up. A load need not set what is so already, nor decode what
 * a save here would have written in the same bytes: each is some microseconds of the tens that a load has.
 */
#include <string.h>

#include "vmm/machine_known.h"
#include "vmm/machine_priv.h"
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

static int know_vcpus(struct machine_known *known, struct machine *machine, struct error *err)
{
	struct error first = { 0 };

	known->vcpus = calloc(machine->vcpu_count, sizeof(*known->vcpus));
	if (!known->vcpus)
		return error_set(err, ENOMEM, "out of memory");
	for (unsigned int i = 0; i < machine->vcpu_count && first.code == 0; i++) {
		vcpu_start_task(&machine->vcpus[i], vcpu_save, &known->vcpus[i], &first);
		(void)!vcpu_wait_task(&machine->vcpus[i]);
	}
	if (first.code < 0)
		*err = first;
	return first.code;
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
	return ret < 0 ? ret : know_vcpus(known, machine, err);
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
