#include "vmm/machine.h"

#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>

#include "base/log.h"
#include "snapshot/memory_image.h"
#include "virtio/virtio_device.h"
#include "vmm/machine_known.h"
#include "vmm/machine_priv.h"
#include "vmm/machine_snapshot.h"

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

int machine_notice_fd(const struct machine *machine)
{
	return machine->notice_fd;
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

/* A pmem device's file can be done without. */
static bool vcpu_repair(void *opaque, unsigned int *seen)
{
	return machine_repair_pmems(opaque, seen);
}

int machine_watch_files(const struct machine *machine)
{
	cleanup_fd int inotify = -1;
	int ret;

	if (machine->backings.count + machine->pmem_count == 0)
		return -ENODATA;
	inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (inotify < 0)
		return -errno;
	ret = file_backings_watch(&machine->backings, inotify);
	if (ret == 0)
		ret = machine_watch_pmems(machine, inotify);
	return ret < 0 ? ret : steal_fd(&inotify);
}

void machine_check_files(struct machine *machine)
{
	const char *path = file_backings_lost(&machine->backings);

	machine_check_pmems(machine);
	if (path)
		set_file_lost(machine, path);
}

const char *machine_file_at(const struct machine *machine, const void *addr, const char **what)
{
	uint64_t page;

	*what = " was cut short while the guest was running from it";
	if (!machine->pager || !memory_image_page_of(&machine->memory, addr, &page))
		return file_backings_at(&machine->backings, addr);
	*what = ": the page-fault handler is gone, and with it guest memory";
	return machine->pager_name;
}

static void vcpu_first_run(void *opaque)
{
	struct machine *machine = opaque;

	timeline_mark(machine->timeline, MOMENT_FIRST_RUN);
}

/* Life ------------------------------------------------------------------------------------------*/

static int create(struct machine **out, const struct vm_config *config, struct timeline *timeline,
		  int (*put)(struct machine *machine, struct error *err), struct error *err)
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
		.repair = vcpu_repair,
		.ended = vcpu_ended,
		.opaque = machine,
	};
	irq_routes_init(&machine->routes, &machine->kvm);
	pthread_mutex_init(&machine->end_lock, NULL);
	machine->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	machine->notice_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = machine->end_fd < 0 || machine->notice_fd < 0
		      ? error_set_errno(err, errno, "cannot make an eventfd")
		      : put(machine, err);
	if (ret < 0)
		machine_destroy(machine);
	else
		*out = machine;
	return ret;
}

int machine_build(struct machine **out, const struct vm_config *config, struct timeline *timeline,
		  struct error *err)
{
	return create(out, config, timeline, machine_put_together, err);
}

int machine_prepare(struct machine **out, const struct vm_config *shape, struct timeline *timeline,
		    struct error *err)
{
	return create(out, shape, timeline, machine_put_in_readiness, err);
}

int machine_prepare_early(struct machine **out, const struct vm_config *shape,
			  struct timeline *timeline, struct error *err)
{
	return create(out, shape, timeline, machine_begin_readiness, err);
}

/* Running ---------------------------------------------------------------------------------------*/

/* The first vCPU last: it is the one that wakes the others. */
void machine_start(struct machine *machine)
{
	vcpu_set_boot(&machine->vcpus[0], &machine->boot_cpu);
	for (unsigned int i = machine->vcpu_count; i-- > 0;)
		vcpu_run(&machine->vcpus[i]);
	machine->started = true;
}

/* The vCPUs first: a device that is being drained gets nothing new to do. */
void machine_pause(struct machine *machine)
{
	if (machine->paused || !machine->started)
		return;
	/* Until memory_pager_got(). What devices need of guest memory a handler fills in, or the machine ends. */
	memory_pager_expect(machine->pager);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_ask_pause(&machine->vcpus[i]);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_wait_paused(&machine->vcpus[i]);
	for (unsigned int i = 0; i < machine->device_count; i++)
		virtio_device_pause(machine->devices[i]);
	memory_pager_got(machine->pager);
	machine->paused = true;
}

void machine_resume(struct machine *machine)
{
	if (!machine->paused)
		return;
	machine->paused = false;
	memory_pager_expect(machine->pager);
	for (unsigned int i = machine->device_count; i-- > 0;)
		virtio_device_resume(machine->devices[i]);
	memory_pager_got(machine->pager);
	for (unsigned int i = machine->vcpu_count; i-- > 0;)
		vcpu_run(&machine->vcpus[i]);
}

int machine_await_devices(struct machine *machine, unsigned int ms, struct error *err)
{
	for (unsigned int i = 0; machine->pager && i < VM_IO_LOOPS_MAX; i++)
		if (machine->loops[i] &&
		    !event_loop_answers(machine->loops[i], (uint64_t)ms * 1000000u))
			return error_set(err, ETIMEDOUT,
					 "a device waits for a page of guest memory, and the "
					 "page-fault handler at %s does not answer",
					 machine->pager_name);
	memory_pager_expect(machine->pager);
	return 0;
}

void machine_had_devices(struct machine *machine)
{
	(void)memory_pager_got(machine->pager);
}

/* All are told before any is waited for: a stopped vCPU may be what another one waits for. */
void machine_stop(struct machine *machine)
{
	memory_pager_leave(machine->pager);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_stop(&machine->vcpus[i]);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_join(&machine->vcpus[i]);
}

void machine_destroy(struct machine *machine)
{
	machine_stop(machine);
	machine_free_devices(machine);
	machine_unlearn(machine);
	for (unsigned int i = 0; i < VM_IO_LOOPS_MAX; i++)
		event_loop_destroy(machine->loops[i]);
	for (unsigned int i = 0; i < machine->vcpu_count; i++)
		vcpu_destroy(&machine->vcpus[i]);
	irq_routes_fini(&machine->routes);
	kvm_close(&machine->kvm);
	page_fetch_destroy(machine->fetch);
	memory_pager_stop(machine->pager);
	file_backings_fini(&machine->backings);
	guest_memory_fini(&machine->memory);
	machine_unmap_pmems(machine);
	close_fd(&machine->end_fd);
	close_fd(&machine->notice_fd);
	pthread_mutex_destroy(&machine->end_lock);
	free(machine);
}

struct serial *machine_serial(struct machine *machine)
{
	return &machine->serial;
}

void machine_on_serial_room(struct machine *machine, void (*room)(void *), void *opaque)
{
	for (unsigned int i = 0; i < SERIAL_ROOMS_MAX; i++)
		if (!machine->serial_rooms[i].room) {
			machine->serial_rooms[i].opaque = opaque;
			machine->serial_rooms[i].room = room;
			return;
		}
}

void machine_tap_serial(struct machine *machine, struct console_tap *tap)
{
	machine->serial.tap = tap;
	tap->room = serial_output_room;
	tap->opaque = &machine->serial;
}
