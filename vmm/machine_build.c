/* The machine put together: what depends on the host, on three kinds of thread at once, then devices and
 * kernel. The order is for speed, and where it is for correctness a comment says so. */
#include <stdio.h>
#include <sys/sysinfo.h>

#include "base/guest_dirty.h"
#include "virtio/virtio_device.h"
#include "vmm/cpu_template.h"
#include "vmm/machine_known.h"
#include "vmm/machine_priv.h"

/* mmap would promise any amount; the guest would find out page by page. */
static int check_host_memory(uint64_t wanted, struct error *err)
{
	struct sysinfo info;
	uint64_t has;

	if (sysinfo(&info) < 0)
		return 0;
	has = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	if (wanted > has)
		return error_set(err, ENOMEM,
				 "memory: the guest is to have %lu MiB, but this host has %lu MiB "
				 "with its swap; ask for less with --mem",
				 wanted >> 20, has >> 20);
	return 0;
}

/* `add` is guest_memory_add() or guest_memory_reserve(). */
static int add_memory(struct machine *machine,
		      int (*add)(struct guest_memory *, uint64_t, uint64_t, struct error *),
		      struct error *err)
{
	uint64_t size = machine->config->memory;
	uint64_t low = MIN(size, LAYOUT_HOLE_START);
	int ret = check_host_memory(size, err);

	machine->memory.pages = machine->config->pages;
	if (ret == 0)
		ret = add(&machine->memory, 0, low, err);
	if (ret == 0 && size > low)
		ret = add(&machine->memory, LAYOUT_HOLE_END, size - low, err);
	return ret < 0 ? ret : machine_map_pmems(machine, err);
}

static int create_vm(struct machine *machine, struct error *err)
{
	int ret = kvm_create_vm(&machine->kvm, err);

	if (ret < 0)
		return ret;
	if (machine->config->track_dirty)
		ret = guest_dirty_start(&machine->memory, err);
	if (ret < 0)
		return ret;
	/* Memory before the interrupt controllers: kvm_add_memory() says why. */
	ret = kvm_add_memory(&machine->kvm, &machine->memory, err);
	if (ret == 0)
		ret = machine_show_registers(machine, err);
	if (ret == 0)
		ret = kvm_create_irqchip(&machine->kvm, LAYOUT_IOAPIC_PINS, err);
	if (ret < 0)
		return ret;
	ret = bus_add(&machine->mmio, LAYOUT_IOAPIC, LAYOUT_IOAPIC_SIZE, &ioapic_ops,
		      &machine->routes.ioapic);
	timeline_mark(machine->timeline, MOMENT_VM_CREATED);
	return ret;
}

static int check_capabilities(const struct machine *machine, struct error *err)
{
	const struct cpu_template *cpu = machine->config->cpu;

	for (unsigned int i = 0; cpu && i < cpu->capability_count; i++)
		if (kvm_check_extension(&machine->kvm, (int)cpu->capabilities[i]) <= 0)
			return error_set(err, ENOTSUP,
					 "CPU template: this host's KVM lacks capability %u",
					 cpu->capabilities[i]);
	return 0;
}

/* The threads read the host's CPUID while this one makes the VM, and make their vCPUs while it goes on
 * with the devices. */
static int start_vcpus(struct machine *machine, struct error *err)
{
	unsigned int count = machine->config->vcpus;

	cpuid_source_init(&machine->cpuid, machine->kvm.fd, count, machine->config->smt,
			  kvm_check_extension(&machine->kvm, KVM_CAP_TSC_DEADLINE_TIMER),
			  machine->config->cpu);
	vcpu_setup_kick_signal();
	for (unsigned int i = 0; i < count; i++) {
		int ret = vcpu_start(&machine->vcpus[i], i, &machine->vcpu_host, err);

		if (ret < 0)
			return ret;
		machine->vcpu_count++;
	}
	return 0;
}

static void create_vcpus(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_create(&machine->vcpus[i]);
}

/* Whatever failed there, to the caller it is one thing: this host cannot. */
static int error_as_host(struct error *err)
{
	if (err)
		err->code = -ENOTSUP;
	return -ENOTSUP;
}

bool machine_vcpus_are_made(const struct machine *machine)
{
	return machine->vcpu_count > 0 && machine->vcpus[machine->vcpu_count - 1].has_answered;
}

int machine_wait_for_vcpus(struct machine *machine, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < machine->vcpu_count && ret == 0; i++)
		ret = vcpu_wait_ready(&machine->vcpus[i], err);
	return ret < 0 ? error_as_host(err) : 0;
}

/* Loop 0 is everybody's; a further one exists where a drive names it. */
static int start_loop(struct machine *machine, unsigned int index, struct error *err)
{
	char name[16];

	if (machine->loops[index])
		return 0;
	snprintf(name, sizeof(name), "io%u", index);
	return event_loop_start(&machine->loops[index], EVENT_LOOP_URING, name, err);
}

static int start_loops(struct machine *machine, struct error *err)
{
	int ret = start_loop(machine, 0, err);

	for (unsigned int i = 0; i < machine->config->drive_count && ret == 0; i++)
		ret = start_loop(machine, machine->config->drives[i].loop, err);
	return ret;
}

static int wait_for_loops(struct machine *machine, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < VM_IO_LOOPS_MAX && ret == 0; i++)
		if (machine->loops[i])
			ret = event_loop_wait_started(machine->loops[i], err);
	return ret;
}

/* What depends on the host alone. The I/O threads make their rings while this one makes the VM. */
static int create_parts(struct machine *machine, struct error *err)
{
	int ret;

	if ((ret = kvm_open(&machine->kvm, err)) < 0 ||
	    (ret = check_capabilities(machine, err)) < 0 || (ret = start_vcpus(machine, err)) < 0 ||
	    (ret = start_loops(machine, err)) < 0 || (ret = create_vm(machine, err)) < 0)
		return ret;
	create_vcpus(machine);
	ret = machine_add_legacy(machine, err);
	return ret < 0 ? ret : wait_for_loops(machine, err);
}

static int build_on_host(struct machine *machine, struct error *err)
{
	return create_parts(machine, err) < 0 ? error_as_host(err) : 0;
}

int machine_put_together(struct machine *machine, struct error *err)
{
	int ret;

	if ((ret = add_memory(machine, guest_memory_add, err)) < 0 ||
	    (ret = build_on_host(machine, err)) < 0 || (ret = machine_add_virtio(machine, err)) < 0)
		return ret;
	timeline_mark(machine->timeline, MOMENT_DEVICES_READY);
	vcpu_keep_awake(&machine->vcpus[0]);
	ret = machine_load_kernel(machine, &machine->boot_cpu, err);
	if (ret < 0)
		return ret;
	timeline_mark(machine->timeline, MOMENT_KERNEL_LOADED);
	return machine_wait_for_vcpus(machine, err);
}

/* The same steps; in the kernel's place comes a snapshot, later. */
int machine_begin_readiness(struct machine *machine, struct error *err)
{
	int ret;

	if ((ret = add_memory(machine, guest_memory_reserve, err)) < 0 ||
	    (ret = build_on_host(machine, err)) < 0 || (ret = machine_add_virtio(machine, err)) < 0)
		return ret;
	for (unsigned int i = 0; i < machine->device_count; i++)
		virtio_device_pause(machine->devices[i]);
	timeline_mark(machine->timeline, MOMENT_DEVICES_READY);
	return 0;
}

int machine_put_in_readiness(struct machine *machine, struct error *err)
{
	int ret;

	machine->vcpu_host.ahead = true;
	if ((ret = machine_begin_readiness(machine, err)) < 0 ||
	    (ret = machine_wait_for_vcpus(machine, err)) < 0)
		return ret;
	return machine_learn(machine, err);
}
