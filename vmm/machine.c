#include "vmm/machine.h"

#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/sysinfo.h>

#include "base/log.h"
#include "vmm/machine_priv.h"

/* The end ---------------------------------------------------------------------------------------*/

void machine_set_end(struct machine *machine, enum machine_end end, const char *text)
{
	const uint64_t one = 1;

	pthread_mutex_lock(&machine->end_lock);
	if (machine->end == MACHINE_RUNNING) {
		machine->end = end;
		snprintf(machine->end_text, sizeof(machine->end_text), "%s", text);
		timeline_mark(machine->timeline, MOMENT_END);
	}
	pthread_mutex_unlock(&machine->end_lock);
	/* The guest runs no further than the exit that ended it; machine_stop() fetches the rest. */
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		atomic_store_explicit(&machine->vcpus[i].stop, true, memory_order_release);
	if (write(machine->end_fd, &one, sizeof(one)) < 0)
		log_error("cannot signal the end of the machine");
}

enum machine_end machine_end(struct machine *machine, const char **text)
{
	enum machine_end end;

	pthread_mutex_lock(&machine->end_lock);
	end = machine->end;
	pthread_mutex_unlock(&machine->end_lock);
	*text = machine->end_text; /* constant once there is an end */
	return end;
}

int machine_end_fd(const struct machine *machine)
{
	return machine->end_fd;
}

static void set_file_lost(struct machine *machine, const char *path)
{
	char text[512];

	snprintf(text, sizeof(text), "%s was cut short while the guest was running from it", path);
	machine_set_end(machine, MACHINE_MEMORY_LOST, text);
}

/* A lost page is somebody's file cut short more often than a broken host. KVM may also have tried to
 * emulate what it could not read, and the guest may have tripped over it. */
static void vcpu_ended(void *opaque, enum machine_end end, const char *text)
{
	struct machine *machine = opaque;
	const char *path = file_backings_lost(&machine->backings);

	if (path &&
	    (end == MACHINE_MEMORY_LOST || end == MACHINE_KVM_ERROR || end == MACHINE_TRIPLE_FAULT))
		set_file_lost(machine, path);
	else
		machine_set_end(machine, end, text);
}

int machine_watch_files(const struct machine *machine)
{
	return file_backings_watch(&machine->backings);
}

void machine_check_files(struct machine *machine)
{
	const char *path = file_backings_lost(&machine->backings);

	if (path)
		set_file_lost(machine, path);
}

const char *machine_file_at(const struct machine *machine, const void *addr)
{
	return file_backings_at(&machine->backings, addr);
}

static void vcpu_first_run(void *opaque)
{
	struct machine *machine = opaque;

	timeline_mark(machine->timeline, MOMENT_FIRST_RUN);
}

/* Building --------------------------------------------------------------------------------------*/

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

static int add_memory(struct machine *machine, struct error *err)
{
	uint64_t size = machine->config->memory;
	uint64_t low = MIN(size, LAYOUT_HOLE_START);
	int ret = check_host_memory(size, err);

	if (ret == 0)
		ret = guest_memory_add(&machine->memory, 0, low, err);
	if (ret == 0 && size > low)
		ret = guest_memory_add(&machine->memory, LAYOUT_HOLE_END, size - low, err);
	return ret;
}

static int create_vm(struct machine *machine, struct error *err)
{
	int ret = kvm_create_vm(&machine->kvm, err);

	if (ret < 0)
		return ret;
	/* Memory before the interrupt controllers: kvm_add_memory() says why. */
	ret = kvm_add_memory(&machine->kvm, &machine->memory, err);
	if (ret == 0)
		ret = kvm_create_irqchip(&machine->kvm, LAYOUT_IOAPIC_PINS, err);
	if (ret < 0)
		return ret;
	irq_routes_init(&machine->routes, &machine->kvm);
	ret = bus_add(&machine->mmio, LAYOUT_IOAPIC, 0x1000, &ioapic_ops, &machine->routes.ioapic);
	timeline_mark(machine->timeline, MOMENT_VM_CREATED);
	return ret;
}

/* The threads read the host's CPUID while this one makes the VM, and make their vCPUs while it goes on
 * with the devices. */
static int start_vcpus(struct machine *machine, struct error *err)
{
	unsigned int count = machine->config->vcpus;

	cpuid_source_init(&machine->cpuid, machine->kvm.fd, count,
			  kvm_check_extension(&machine->kvm, KVM_CAP_TSC_DEADLINE_TIMER));
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

static int wait_for_vcpus(struct machine *machine, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < machine->vcpu_count && ret == 0; i++)
		ret = vcpu_wait_ready(&machine->vcpus[i], err);
	return ret;
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

	if ((ret = kvm_open(&machine->kvm, err)) < 0 || (ret = start_vcpus(machine, err)) < 0 ||
	    (ret = start_loops(machine, err)) < 0 || (ret = create_vm(machine, err)) < 0)
		return ret;
	create_vcpus(machine);
	ret = machine_add_legacy(machine, err);
	return ret < 0 ? ret : wait_for_loops(machine, err);
}

/* Whatever failed there, to the caller it is one thing: this host cannot. */
static int error_as_host(struct error *err)
{
	if (err)
		err->code = -ENOTSUP;
	return -ENOTSUP;
}

static int build_on_host(struct machine *machine, struct error *err)
{
	return create_parts(machine, err) < 0 ? error_as_host(err) : 0;
}

static int build(struct machine *machine, struct error *err)
{
	int ret;

	if ((ret = add_memory(machine, err)) < 0 || (ret = build_on_host(machine, err)) < 0 ||
	    (ret = machine_add_virtio(machine, err)) < 0)
		return ret;
	timeline_mark(machine->timeline, MOMENT_DEVICES_READY);
	ret = machine_load_kernel(machine, &machine->boot_cpu, err);
	if (ret < 0)
		return ret;
	timeline_mark(machine->timeline, MOMENT_KERNEL_LOADED);
	ret = wait_for_vcpus(machine, err);
	return ret < 0 ? error_as_host(err) : 0;
}

int machine_build(struct machine **out, const struct vm_config *config, struct timeline *timeline,
		  struct error *err)
{
	struct machine *machine = calloc(1, sizeof(*machine));
	int ret;

	if (!machine)
		return error_set(err, ENOMEM, "out of memory");
	machine->config = config;
	machine->timeline = timeline;
	machine->kvm.fd = machine->kvm.vm = -1;
	machine->vcpu_host = (struct vcpu_host){
		.kvm = &machine->kvm,
		.cpuid = &machine->cpuid,
		.pio = &machine->pio,
		.mmio = &machine->mmio,
		.first_run = vcpu_first_run,
		.ended = vcpu_ended,
		.opaque = machine,
	};
	pthread_mutex_init(&machine->end_lock, NULL);
	machine->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = machine->end_fd < 0 ? error_set_errno(err, errno, "cannot make an eventfd")
				  : build(machine, err);
	if (ret < 0)
		machine_destroy(machine);
	else
		*out = machine;
	return ret;
}

/* Running ---------------------------------------------------------------------------------------*/

/* The first vCPU last: it is the one that wakes the others. */
void machine_start(struct machine *machine)
{
	for (unsigned int i = machine->vcpu_count; i-- > 0;)
		vcpu_run(&machine->vcpus[i], i == 0 ? &machine->boot_cpu : NULL);
}

/* All are told before any is waited for: a stopped vCPU may be what another one waits for. */
void machine_stop(struct machine *machine)
{
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_stop(&machine->vcpus[i]);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_join(&machine->vcpus[i]);
}

void machine_destroy(struct machine *machine)
{
	machine_stop(machine);
	machine_free_devices(machine);
	for (unsigned int i = 0; i < VM_IO_LOOPS_MAX; i++)
		event_loop_destroy(machine->loops[i]);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_destroy(&machine->vcpus[i]);
	if (machine->kvm.vm >= 0)
		irq_routes_fini(&machine->routes);
	kvm_close(&machine->kvm);
	file_backings_fini(&machine->backings);
	guest_memory_fini(&machine->memory);
	close_fd(&machine->end_fd);
	pthread_mutex_destroy(&machine->end_lock);
	free(machine);
}

struct serial *machine_serial(struct machine *machine)
{
	return &machine->serial;
}

void machine_on_serial_room(struct machine *machine, void (*room)(void *), void *opaque)
{
	machine->serial_room = room;
	machine->serial_room_opaque = opaque;
}
