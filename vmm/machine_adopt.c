/* A snapshot, taken up by a machine that was prepared for it. */
#include <string.h>

#include "virtio/virtio_device_state.h"
#include "vmm/irq_state.h"
#include "vmm/legacy/legacy_state.h"
#include "vmm/machine_adopt_priv.h"
#include "vmm/machine_identity.h"
#include "vmm/machine_known.h"

static int load_legacy(struct adoption *adoption, struct error *err)
{
	struct machine *machine = adoption->machine;
	const struct state_file *file = &adoption->snapshot->state;
	struct irq_state irq;
	struct serial_state serial;
	struct i8042_state i8042;
	int ret;

	if ((ret = state_file_get(file, &irq_state_desc, 0, &irq, err)) < 0 ||
	    (ret = state_file_get(file, &serial_state_desc, 0, &serial, err)) < 0 ||
	    (ret = state_file_get(file, &i8042_state_desc, 0, &i8042, err)) < 0 ||
	    (ret = irq_load(&machine->routes, &irq, err)) < 0)
		return ret;
	serial_load(&machine->serial, &serial);
	i8042_load(&machine->i8042, &i8042);
	return 0;
}

/* Another number than the saved one's, wherever this is: in the file of old versions the section is not there. */
static int load_vmgenid(struct adoption *adoption, struct error *err)
{
	struct machine *machine = adoption->machine;
	const struct state_file *file = &adoption->snapshot->state;
	struct vmgenid_state state = { 0 };
	int ret = 0;

	if (state_file_count(file, vmgenid_state_desc.name) > 0)
		ret = state_file_get(file, &vmgenid_state_desc, 0, &state, err);
	if (ret < 0)
		return ret;
	machine->vmgenid.gpa = state.gpa;
	return vmgenid_renew(&machine->vmgenid, &machine->memory, err);
}

static int load_vmclock(struct adoption *adoption, struct error *err)
{
	struct machine *machine = adoption->machine;
	const struct state_file *file = &adoption->snapshot->state;
	int ret = 0;

	machine->vmclock = (struct vmclock){ .gpa = 0 };
	if (state_file_count(file, vmclock_state_desc.name) > 0)
		ret = state_file_get(file, &vmclock_state_desc, 0, &machine->vmclock, err);
	return ret < 0 ? ret : vmclock_advance(&machine->vmclock, &machine->memory, err);
}

static struct vcpu_load how_to_load(const struct adoption *adoption, unsigned int index)
{
	const struct vcpu_state *state = &adoption->vcpus[index].state;
	const struct machine_known *known = adoption->machine->known;
	const bool again = adoption->machine->tried;
	struct vcpu_load load = {
		.state = state,
		.has = known && !again ? &known->vcpus[index] : NULL,
		.cpuid = adoption->cpuid_differs || again ? &adoption->cpuid : NULL,
		.again = again,
		.tsc = adoption->vcpus[0].state.tsc,
	};

	load.has_tsc_offset = state->has_tsc_offset &&
			      clock_tsc_offset(&adoption->machine->kvm, &adoption->clock,
					       state->tsc_offset, state->tsc_khz, &load.tsc_offset);
	return load;
}

static int load_own(struct adoption *adoption, unsigned int index, struct error *err)
{
	struct virtio_device *dev = adoption->machine->devices[index];
	void *own cleanup_free = NULL;
	int ret;

	if (!dev->ops->state)
		return 0;
	own = calloc(1, dev->ops->state->size);
	if (!own)
		return error_set(err, ENOMEM, "%s: out of memory", dev->name);
	ret = state_file_get(&adoption->snapshot->state, dev->ops->state, index, own, err);
	return ret < 0 ? ret : dev->ops->load(dev, own, err);
}

/* What a device is called may differ, but not so that it gets what the machine has for another of its kind. */
static int check_name(const struct adoption *adoption, unsigned int index, const char *saved,
		      struct error *err)
{
	const struct machine *machine = adoption->machine;
	const struct virtio_device *dev = machine->devices[index];

	for (unsigned int i = 0; i < machine->device_count; i++)
		if (i != index && machine->devices[i]->ops->id == dev->ops->id &&
		    strcmp(machine->devices[i]->name, saved) == 0 && strcmp(dev->name, saved) != 0)
			return error_set(err, EINVAL,
					 "snapshot %s: device %u is %s, the machine was prepared "
					 "with %s as device %u; prepare in the order of the "
					 "snapshot",
					 adoption->snapshot->state.name, index, saved, saved, i);
	return 0;
}

/* What a device has beside registers and queues comes first: it may say what is offered. */
static int load_device(struct adoption *adoption, unsigned int index, struct error *err)
{
	struct virtio_device *dev = adoption->machine->devices[index];
	const struct state_file *file = &adoption->snapshot->state;
	struct virtio_device_state *core cleanup_free = malloc(sizeof(*core));
	int ret;

	if (!core)
		return error_set(err, ENOMEM, "%s: out of memory", dev->name);
	ret = state_file_get(file, &virtio_device_state_desc, index, core, err);
	if (ret == 0 && core->id != dev->ops->id)
		ret = error_set(err, EINVAL,
				"snapshot %s: device %u is %s, of type %u; the machine was "
				"prepared with %s, of type %u",
				file->name, index, core->name, core->id, dev->name, dev->ops->id);
	if (ret == 0)
		ret = check_name(adoption, index, core->name, err);
	if (ret == 0)
		ret = load_own(adoption, index, err);
	return ret < 0 ? ret : virtio_device_load(dev, core, err);
}

static int load_devices(struct adoption *adoption, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < adoption->machine->device_count && ret == 0; i++)
		ret = load_device(adoption, i, err);
	return ret;
}

static void start_vcpu_loads(struct adoption *adoption)
{
	struct machine *machine = adoption->machine;

	for (unsigned int i = 0; i < machine->vcpu_count; i++) {
		struct vcpu_adoption *vcpu = &adoption->vcpus[i];

		vcpu->load = how_to_load(adoption, i);
		vcpu_start_task(&machine->vcpus[i], vcpu_load, &vcpu->load, &vcpu->err);
	}
	machine->tried = true;
}

static int wait_for_vcpu_loads(struct adoption *adoption, struct error *err)
{
	struct machine *machine = adoption->machine;
	int ret = 0;

	for (unsigned int i = 0; i < machine->vcpu_count; i++) {
		if (vcpu_wait_task(&machine->vcpus[i]) < 0 && ret == 0) {
			*err = adoption->vcpus[i].err;
			ret = err->code;
		}
	}
	return ret;
}

/* kvmclock first: the counters' offsets are worked out against it. It is, once there are all vCPUs. */
static int start_vcpus(struct adoption *adoption, const struct adopt_options *options,
		       struct error *err)
{
	struct machine *machine = adoption->machine;
	int ret = machine_wait_for_vcpus(machine, err);

	if (ret == 0)
		ret = clock_load(&machine->kvm, &adoption->clock, options->realtime, err);
	if (ret == 0)
		start_vcpu_loads(adoption);
	return ret;
}

static int load_rest(struct adoption *adoption, struct error *err)
{
	int ret;

	if ((ret = load_legacy(adoption, err)) < 0 || (ret = load_devices(adoption, err)) < 0 ||
	    (ret = load_vmgenid(adoption, err)) < 0)
		return ret;
	return load_vmclock(adoption, err);
}

/*
 * The vCPUs' threads load while this one does the rest, of which the interrupt routes can take long; or, where they are
 * still making their vCPUs, after it. Nothing of it raises an interrupt, which the load of a local APIC would drop.
 */
static int load_parts(struct adoption *adoption, const struct adopt_options *options,
		      struct error *err)
{
	const bool beside = machine_vcpus_are_made(adoption->machine);
	struct error of_vcpus = { 0 };
	int ret;

	if (beside && (ret = start_vcpus(adoption, options, err)) < 0)
		return ret;
	/* A dozen of calls: where the vCPUs load meanwhile and fail for what is missing, this is the reason told. */
	ret = adoption_check_capabilities(adoption, err);
	if (ret == 0)
		ret = load_rest(adoption, err);
	if (!beside && (ret < 0 || (ret = start_vcpus(adoption, options, err)) < 0))
		return ret;
	if (wait_for_vcpu_loads(adoption, &of_vcpus) < 0 && ret == 0) {
		*err = of_vcpus;
		ret = of_vcpus.code;
	}
	return ret;
}

/* An interrupt that was raised may have been on its way; one too many costs nothing. */
static void raise_pending(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->device_count; i++)
		if (atomic_load(machine->devices[i]->interrupt_status))
			irq_line_raise(machine->devices[i]->irq);
}

/* By the interfaces that it was reached by, and no others. */
static int load_mmds(const struct adoption *adoption, struct mmds *mmds, struct error *err)
{
	const struct machine_snapshot *snapshot = adoption->snapshot;
	struct machine *machine = adoption->machine;
	int ret = 0;

	machine_free_mmds(machine);
	if (!mmds || !snapshot->has_mmds)
		return 0;
	mmds->config = snapshot->mmds;
	for (unsigned int i = 0; i < snapshot->saved.net_count && ret == 0; i++)
		if (snapshot->saved.nets[i].mmds)
			ret = machine_serve_mmds(machine, i, mmds, err);
	return ret;
}

static int load_identity(const struct adoption *adoption, const struct machine_identity *identity,
			 struct error *err)
{
	int ret = identity ? machine_readdress(adoption->machine, identity, err) : 0;

	return ret < 0 ? ret : load_mmds(adoption, identity ? identity->mmds : NULL, err);
}

static int load(struct adoption *adoption, const struct adopt_options *options, struct error *err)
{
	int ret = machine_map_image(adoption->machine, adoption->snapshot, options->pages, err);

	if (ret < 0)
		return ret;
	/* Before anything is written to memory: the generation's id below, say. */
	machine_set_base(adoption->machine, &adoption->snapshot->info);
	ret = load_parts(adoption, options, err);
	if (ret == 0)
		ret = load_identity(adoption, options->identity, err);
	ret = machine_got_image(adoption->machine, ret, err);
	if (ret < 0)
		return ret;
	raise_pending(adoption->machine);
	vmgenid_notify(&adoption->machine->vmgenid);
	return 0;
}

static int load_as(struct adoption *adoption, const struct adopt_options *options,
		   struct error *err)
{
	static const struct machine_identity same;
	struct machine *machine = adoption->machine;
	const bool tracks = machine->memory.dirty;
	struct machine_former former;
	int ret = machine_assume(machine, options->identity ? options->identity : &same, &former,
				 err);

	if (ret < 0)
		return ret;
	if (options->track_dirty)
		ret = machine_track(machine, err);
	if (ret == 0)
		ret = load(adoption, options, err);
	if (ret == 0) {
		machine_forget_former(&former);
		return 0;
	}
	machine_unmap_image(machine);
	if (!tracks && machine->memory.dirty)
		machine_untrack(machine);
	machine_restore_former(machine, &former);
	return ret;
}

/* The first alone: many would be in each other's way, and a function's guest has no other. */
void machine_expect_adoption(struct machine *machine)
{
	vcpu_keep_awake(&machine->vcpus[0]);
}

static void close_identity(const struct adopt_options *options)
{
	struct machine_identity identity;

	if (!options->identity)
		return;
	identity = *options->identity;
	machine_identity_close(&identity);
}

/* All is decoded and compared before anything changes. What a failure leaves changed (registers, routes)
 * the next attempt sets anew, and nothing runs before one has succeeded. */
int machine_adopt(struct machine *machine, const struct machine_snapshot *snapshot,
		  const struct adopt_options *options, struct error *err)
{
	struct adoption *adoption = calloc(1, sizeof(*adoption));
	int ret;

	if (!adoption) {
		close_identity(options);
		return error_set(err, ENOMEM, "snapshot %s: out of memory", snapshot->state.name);
	}
	adoption->machine = machine;
	adoption->snapshot = snapshot;
	ret = adoption_check(adoption, err);
	if (ret == 0)
		ret = load_as(adoption, options, err);
	else
		close_identity(options);
	if (ret == 0) {
		machine->adopted = machine->started = machine->paused = true;
		machine_unlearn(machine);
		if (adoption->cpuid_differs)
			machine->cpuid.table = adoption->cpuid;
	}
	free(adoption->vcpus);
	free(adoption);
	return ret;
}
