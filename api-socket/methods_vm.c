/* PATCH /vm: pause and resume. */
#include "api-socket/methods.h"

static const char *const states[] = { "Paused", "Resumed", NULL };

static const struct field fields[] = {
	FIELD(struct vm_request, state, FIELD_CHOICE, FIELD_REQUIRED, .choices = states,
	      .help = "what it is to be"),
};

static const struct field_set vm_fields = FIELD_SET("Vm", struct vm_request, fields);

static uint64_t now_us(void)
{
	return clock_now_ns(CLOCK_MONOTONIC) / 1000;
}

/* Both do nothing where that is what it is already. */
static int patch_vm(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	const struct vm_request *vm = request->data;
	uint64_t start = now_us();

	(void)reply;
	if (vm->state.value == VM_PAUSED) {
		machine_pause(controller->machine);
		controller->latency.pause_us = now_us() - start;
		controller_set_phase(controller, PHASE_PAUSED);
	} else {
		machine_resume(controller->machine);
		controller->latency.resume_us = now_us() - start;
		controller_set_phase(controller, PHASE_RUNNING);
	}
	return 0;
}

static const struct field stop_table[] = {
	FIELD(struct stop_request, text, FIELD_STRING, FIELD_OPTIONAL,
	      .help = "why, for people; the process says it and `vm.ended` has it"),
};

static const struct field_set stop_fields = FIELD_SET("Stop", struct stop_request, stop_table);

static int stop(struct controller *controller, struct api_request *request, struct api_reply *reply)
{
	const struct stop_request *wanted = request->data;

	(void)reply;
	machine_set_end(controller->machine, MACHINE_STOPPED,
			wanted->text ? wanted->text : "ended by a client");
	return 0;
}

static const struct method methods[] = {
	{
		.name = "vm.stop",
		.verb = API_VERBS,
		.phases = PHASES_AFTER,
		.fields = &stop_fields,
		.handle = stop,
		.help = "Ends the microVM and its process at once; the guest is not asked",
	},
	{
		.name = "vm.patch",
		.verb = API_PATCH,
		.path = "vm",
		.phases = PHASES_AFTER,
		.fields = &vm_fields,
		.handle = patch_vm,
		.help = "Pauses and resumes the microVM",
	},
};

const struct method_group vm_methods = METHOD_GROUP(methods);
