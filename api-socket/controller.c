#include "api-socket/controller.h"

#include <string.h>

#include "api-socket/controller_priv.h"

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
	controller->phase = PHASE_NOT_STARTED;
	controller->machine_config = (struct machine_request){
		.given = true,
		.vcpu_count.value = 1,
		.vcpu_count.given = true,
		.mem_size_mib.value = VM_MEMORY_DEFAULT >> 20,
		.mem_size_mib.given = true,
	};
	*out = controller;
	return 0;
}

static void drop_machine(struct controller *controller)
{
	struct machine *machine = controller->machine;

	if (!machine)
		return;
	machine_stop(machine);
	controller->host->gone(controller->host->opaque);
	controller->machine = NULL;
	machine_destroy(machine);
}

void controller_destroy(struct controller *controller)
{
	if (!controller)
		return;
	drop_machine(controller);
	kept_clear(&controller->boot);
	for (unsigned int i = 0; i < controller->drive_count; i++)
		kept_clear(&controller->drives[i]);
	for (unsigned int i = 0; i < controller->net_count; i++)
		kept_clear(&controller->nets[i]);
	free(controller);
}

struct machine *controller_machine(struct controller *controller)
{
	return controller->machine;
}

/* Descriptors that the machine takes over: it gets copies, for the start may be tried again. */
static int lend_descriptors(struct vm_config *vm, struct error *err)
{
	for (unsigned int i = 0; i < vm->drive_count; i++) {
		struct drive_config *drive = &vm->drives[i];

		if (drive->fd >= 0)
			drive->fd = dup(drive->fd);
		if (!drive->path && drive->fd < 0)
			return error_set_errno(err, errno, "drive %s: no descriptor is left",
					       drive->id);
	}
	return 0;
}

int controller_start(struct controller *controller, struct error *err)
{
	const struct controller_host *host = controller->host;
	int ret;

	if (!controller->boot.set)
		return error_set(err, EINVAL, "Cannot start microvm without kernel configuration.");
	controller_compose(controller);
	if ((ret = vm_config_check(&controller->vm, err)) < 0 ||
	    (ret = lend_descriptors(&controller->vm, err)) < 0 ||
	    (ret = machine_build(&controller->machine, &controller->vm, controller->timeline,
				 err)) < 0)
		return ret;
	ret = host->built(host->opaque, controller->machine, err);
	if (ret < 0) {
		drop_machine(controller);
		return ret;
	}
	machine_start(controller->machine);
	controller->phase = PHASE_RUNNING;
	host->started(host->opaque);
	return 0;
}

/* The first field of every table of things with names is the name. */
unsigned int kept_find(const struct kept *kept, unsigned int count, const char *id)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct field *name = &kept[i].set->fields[0];
		const char *has = *(const char *const *)(const void *)((const char *)kept[i].data +
								       name->offset);

		if (strcmp(has, id) == 0)
			return i;
	}
	return count;
}
