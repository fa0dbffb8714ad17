#include "api-socket/controller.h"

#include <fcntl.h>
#include <string.h>

#include "api-socket/controller_console.h"
#include "api-socket/controller_priv.h"
#include "vmm/mmds/mmds.h"

static void clear_all(struct kept *kept, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		kept_clear(&kept[i]);
}

void controller_forget(struct controller *controller)
{
	kept_clear(&controller->boot);
	clear_all(controller->drives, controller->drive_count);
	clear_all(controller->nets, controller->net_count);
	clear_all(controller->pmems, controller->pmem_count);
	controller->drive_count = controller->net_count = controller->pmem_count = 0;
	kept_clear(&controller->vsock);
	kept_clear(&controller->entropy);
	kept_clear(&controller->mmds_config);
	cpu_template_clear(&controller->cpu);
	controller->balloon = (struct balloon_request){ 0 };
	controller->machine_touched = false;
	controller->machine_config = (struct machine_request){
		.given = true,
		.vcpu_count.value = 1,
		.vcpu_count.given = true,
		.mem_size_mib.value = VM_MEMORY_DEFAULT >> 20,
		.mem_size_mib.given = true,
	};
}

bool controller_is_fresh(const struct controller *controller)
{
	return !controller->boot.set && !controller->drive_count && !controller->net_count &&
	       !controller->pmem_count && !controller->vsock.set && !controller->entropy.set &&
	       !controller->balloon.given && !controller->mmds_config.set &&
	       !controller->machine_touched;
}

int controller_create(struct controller **out, const struct controller_params *params,
		      struct error *err)
{
	struct controller *controller = calloc(1, sizeof(*controller));

	if (!controller)
		return error_set(err, ENOMEM, "out of memory");
	controller->loop = params->loop;
	controller->host = params->host;
	controller->timeline = params->timeline;
	controller->id = params->id;
	controller->tap_policies = params->tap_policies;
	controller->mmds_max = params->mmds_max;
	controller->serial_fd = -1;
	controller->log = (struct log_target){ .fd = -1, .id = params->id };
	controller->metrics.fd = -1;
	controller->boot_timer = params->boot_timer;
	controller->startup_us = params->startup_us;
	controller->startup_cpu_us = params->startup_cpu_us;
	controller->phase = PHASE_NOT_STARTED;
	controller_forget(controller);
	*out = controller;
	return 0;
}

void controller_drop_machine(struct controller *controller)
{
	struct machine *machine = controller->machine;

	if (!machine)
		return;
	machine_stop(machine);
	controller_console_disconnect(controller);
	controller_notices_end(controller);
	controller->host->gone(controller->host->opaque);
	controller->machine = NULL;
	machine_destroy(machine);
	controller->host->freed(controller->host->opaque);
	machine_snapshot_close(controller->snapshot);
	controller->snapshot = NULL;
}

void controller_destroy(struct controller *controller)
{
	if (!controller)
		return;
	metrics_close(controller);
	controller_drop_machine(controller);
	controller_console_destroy(controller);
	controller_forget(controller);
	kept_clear(&controller->serial);
	kept_clear(&controller->metrics_request);
	mmds_destroy(controller->mmds);
	log_set_target(NULL);
	close_fd(&controller->log.fd);
	kept_clear(&controller->logger);
	close_fd(&controller->serial_fd);
	free(controller);
}

void controller_note_signal(struct controller *controller, int signal)
{
	controller->ended_by = signal;
}

const char *controller_state(const struct controller *controller)
{
	switch (controller->phase) {
	case PHASE_RUNNING:
		return "Running";
	case PHASE_PAUSED:
		return "Paused";
	default:
		return "Not started";
	}
}

void controller_set_phase(struct controller *controller, enum api_phase phase)
{
	if (controller->phase == phase)
		return;
	controller->phase = phase;
	listeners_tell(&controller->listeners, EVENT_STATE,
		       json_pack("{s:s}", "state", controller_state(controller)));
}

void controller_tell_end(struct controller *controller)
{
	static const char *const how[] = {
		[MACHINE_RUNNING] = "running",	   [MACHINE_POWERED_OFF] = "powered-off",
		[MACHINE_RESET] = "reset",	   [MACHINE_TRIPLE_FAULT] = "triple-fault",
		[MACHINE_KVM_ERROR] = "kvm-error", [MACHINE_MEMORY_LOST] = "memory-lost",
		[MACHINE_STOPPED] = "stopped",
	};
	const char *text;
	enum machine_end end;

	if (!controller->machine)
		return;
	controller_console_flush(controller);
	controller_notices_look(controller);
	end = machine_end(controller->machine, &text);
	listeners_tell(&controller->listeners, EVENT_TRACE, controller_trace(controller));
	listeners_tell(&controller->listeners, EVENT_ENDED,
		       json_pack("{s:s, s:s}", "how", how[end], "text", text));
}

/* Descriptors that the machine takes over: it gets copies, for the start may be tried again. */
struct lent {
	int fds[VM_DRIVES_MAX + VM_NETS_MAX + VM_PMEMS_MAX];
	unsigned int count;
};

static int lend(struct lent *lent, int *fd, const char *id, struct error *err)
{
	if (*fd < 0)
		return 0;
	*fd = fcntl(*fd, F_DUPFD_CLOEXEC, 3);
	if (*fd < 0)
		return error_set_errno(err, errno, "%s: its descriptor", id);
	lent->fds[lent->count++] = *fd;
	return 0;
}

static int lend_descriptors(struct lent *lent, struct vm_config *vm, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->drive_count && ret == 0; i++)
		ret = lend(lent, &vm->drives[i].fd, vm->drives[i].id, err);
	for (unsigned int i = 0; i < vm->net_count && ret == 0; i++)
		ret = lend(lent, &vm->nets[i].fd, vm->nets[i].id, err);
	for (unsigned int i = 0; i < vm->pmem_count && ret == 0; i++)
		ret = lend(lent, &vm->pmems[i].fd, vm->pmems[i].id, err);
	return ret;
}

/* After a start that failed: what a device had taken over went with it, and nothing that was opened
 * since is open still; so a number is the copy that we made, or nobody's. */
static void take_back(struct lent *lent)
{
	for (unsigned int i = 0; i < lent->count; i++)
		close_fd(&lent->fds[i]);
}

int controller_connect_machine(struct controller *controller, struct error *err)
{
	const struct controller_host *host = controller->host;
	int ret = controller_console_connect(controller, err);

	if (ret == 0)
		ret = controller_notices_begin(controller, err);
	return ret < 0 ? ret : host->built(host->opaque, controller->machine, err);
}

typedef int check_config(const struct vm_config *config, struct error *err);
typedef int create_machine(struct machine **out, const struct vm_config *config,
			   struct timeline *timeline, struct error *err);

static int make_machine(struct controller *controller, check_config *check, create_machine *create,
			struct error *err)
{
	struct lent lent = { .count = 0 };
	int ret;

	controller_compose(controller);
	controller->live = &controller->vm;
	if ((ret = check(&controller->vm, err)) < 0 ||
	    (ret = lend_descriptors(&lent, &controller->vm, err)) < 0 ||
	    (ret = create(&controller->machine, &controller->vm, controller->timeline, err)) < 0) {
		take_back(&lent);
		return ret;
	}
	ret = controller_connect_machine(controller, err);
	if (ret < 0)
		controller_drop_machine(controller);
	return ret;
}

static int make_machine_with_console(struct controller *controller, check_config *check,
				     create_machine *create, struct error *err)
{
	int ret = controller_open_serial(controller, err);

	if (ret == 0)
		ret = make_machine(controller, check, create, err);
	if (ret < 0)
		close_fd(&controller->serial_fd);
	return ret;
}

int controller_start(struct controller *controller, struct error *err)
{
	int ret;

	timeline_ask(controller->timeline);
	if (!controller->boot.set)
		return error_set(err, EINVAL, "Cannot start microvm without kernel configuration.");
	ret = make_machine_with_console(controller, vm_config_check, machine_build, err);
	if (ret < 0)
		return ret;
	machine_start(controller->machine);
	controller_set_phase(controller, PHASE_RUNNING);
	controller->host->started(controller->host->opaque);
	metrics_begin(controller);
	return 0;
}

/* What a load will need of malloc is there by then, touched: as much as stays when it is free again, which is the
 * least that malloc keeps of what is at the end of its heap. */
static void warm_heap(void)
{
	void *room = malloc(KIB(112));

	if (room)
		explicit_bzero(room, KIB(112));
	free(room);
}

int controller_prepare(struct controller *controller, struct error *err)
{
	int ret = make_machine_with_console(controller, vm_config_check_shape, machine_prepare,
					    err);

	if (ret < 0)
		return ret;
	warm_heap();
	controller_make_room(controller);
	controller_set_phase(controller, PHASE_PREPARED);
	return 0;
}

struct virtio_device *controller_device(struct controller *controller, uint32_t virtio_id,
					unsigned int index)
{
	return machine_device(controller->machine, virtio_id, index);
}

/* The first field of every table of things with names is the name. */
const char *kept_name(const struct kept *kept)
{
	const char *data = kept->data;

	return *(const char *const *)(const void *)(data + kept->set->fields[0].offset);
}

unsigned int kept_find(const struct kept *kept, unsigned int count, const char *id)
{
	for (unsigned int i = 0; i < count; i++)
		if (strcmp(kept_name(&kept[i]), id) == 0)
			return i;
	return count;
}
