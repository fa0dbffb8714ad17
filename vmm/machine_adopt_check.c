/* Whether a snapshot fits a machine that was prepared, and what of it the vCPUs are to load. */
#include <stdio.h>
#include <string.h>

#include "virtio/virtio_device_state.h"
#include "vmm/machine_adopt_priv.h"
#include "vmm/machine_known.h"
#include "vmm/snapshot_needs.h"

/* Devices are compared one by one; what is done for each interface goes by the configuration, which may lie. */
static int check_nets(const struct adoption *adoption, struct error *err)
{
	const uint32_t saved = adoption->snapshot->saved.net_count;
	const unsigned int prepared = adoption->machine->config->net_count;

	if (saved == prepared)
		return 0;
	return error_set(err, EINVAL,
			 "snapshot %s: it has %u interfaces, the machine was prepared with %u",
			 adoption->snapshot->state.name, saved, prepared);
}

static int check_shape(const struct adoption *adoption, struct error *err)
{
	const struct machine *machine = adoption->machine;
	const struct state_file *state = &adoption->snapshot->state;
	const struct saved_config *saved = &adoption->snapshot->saved;
	uint32_t vcpus = state_file_count(state, vcpu_state_desc.name);
	uint32_t devices = state_file_count(state, virtio_device_state_desc.name);

	if (machine->adopted || machine->started)
		return error_set(err, EBUSY, "the machine runs already");
	if (saved->vcpus != machine->vcpu_count || vcpus != machine->vcpu_count)
		return error_set(err, EINVAL,
				 "snapshot %s: it has %u vCPUs, the machine was prepared with %u",
				 state->name, saved->vcpus, machine->vcpu_count);
	if (saved->memory != guest_memory_size(&machine->memory))
		return error_set(
			err, EINVAL,
			"snapshot %s: it has %lu MiB of memory, the machine was prepared with %lu",
			state->name, saved->memory >> 20,
			guest_memory_size(&machine->memory) >> 20);
	if (devices != machine->device_count)
		return error_set(err, EINVAL,
				 "snapshot %s: it has %u virtio devices, the machine was prepared "
				 "with %u",
				 state->name, devices, machine->device_count);
	return check_nets(adoption, err);
}

struct missing_text {
	char text[400];
};

static void add_missing(void *opaque, const char *name)
{
	struct missing_text *missing = opaque;
	size_t used = strlen(missing->text);

	snprintf(missing->text + used, sizeof(missing->text) - used, "%s%s", used ? ", " : "",
		 name);
}

static void add_feature(void *opaque, uint32_t function, uint32_t index, const char *reg,
			uint32_t bits)
{
	char name[64];

	snprintf(name, sizeof(name), "%#x.%u.%s %#x", function, index, reg, bits);
	add_missing(opaque, name);
}

int adoption_check_capabilities(const struct adoption *adoption, struct error *err)
{
	const struct machine *machine = adoption->machine;
	struct missing_text missing = { "" };

	if (snapshot_missing_capabilities(&adoption->snapshot->info, &machine->kvm,
					  machine->known ? &machine->known->capabilities : NULL,
					  add_missing, &missing) == 0)
		return 0;
	return error_set(err, ENOTSUP,
			 "snapshot %s: this host's KVM lacks what its state needs: %s",
			 adoption->snapshot->state.name, missing.text);
}

static int compare_cpuid(struct adoption *adoption, const struct cpuid *host, struct error *err)
{
	const struct state_file *file = &adoption->snapshot->state;
	struct cpuid_state *state cleanup_free = malloc(sizeof(*state));
	struct missing_text missing = { "" };
	int ret;

	if (!state)
		return error_set(err, ENOMEM, "snapshot %s: out of memory", file->name);
	ret = state_file_get(file, &cpuid_state_desc, 0, state, err);
	if (ret < 0)
		return ret;
	cpuid_from_state(state, &adoption->cpuid);
	cpuid_set_vcpu(&adoption->cpuid, 0); /* as the host's has it */
	adoption->cpuid_differs = !cpuid_same(&adoption->cpuid, host);
	if (adoption->cpuid_differs &&
	    cpuid_missing(&adoption->cpuid, host, add_feature, &missing) > 0)
		return error_set(
			err, ENOTSUP,
			"snapshot %s: this host's processor lacks what the guest was shown: "
			"CPUID %s",
			file->name, missing.text);
	return 0;
}

static int check_cpu(struct adoption *adoption, struct error *err)
{
	struct machine *machine = adoption->machine;
	struct cpuid *host cleanup_free = NULL;
	int ret;

	if (machine->known && state_file_has(&adoption->snapshot->state, &cpuid_state_desc, 0,
					     &machine->known->cpuid)) {
		adoption->cpuid = machine->cpuid.table;
		return 0;
	}
	host = malloc(sizeof(*host));
	if (!host)
		return error_set(err, ENOMEM, "out of memory");
	/* A vCPU's thread may be reading it yet. */
	ret = cpuid_source_wait(&machine->cpuid, 0, host, err);
	return ret < 0 ? ret : compare_cpuid(adoption, host, err);
}

static int read_vcpus(struct adoption *adoption, struct error *err)
{
	const struct state_file *file = &adoption->snapshot->state;
	const unsigned int count = adoption->machine->vcpu_count;
	int ret = state_file_get(file, &clock_state_desc, 0, &adoption->clock, err);

	adoption->vcpus = calloc(count, sizeof(*adoption->vcpus));
	if (!adoption->vcpus)
		return error_set(err, ENOMEM, "snapshot %s: out of memory", file->name);
	for (unsigned int i = 0; i < count && ret == 0; i++)
		ret = state_file_fill(file, &vcpu_state_desc, i, &adoption->vcpus[i].state, err);
	return ret;
}

int adoption_check(struct adoption *adoption, struct error *err)
{
	int ret;

	if ((ret = check_shape(adoption, err)) < 0 || (ret = check_cpu(adoption, err)) < 0)
		return ret;
	return read_vcpus(adoption, err);
}
