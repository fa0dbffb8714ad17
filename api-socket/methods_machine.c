/* /machine-config: vCPUs and memory. */
#include "api-socket/methods.h"
#include "vmm/layout.h"

static const char *const templates[] = { "C3", "T2", "T2S", "None", "T2CL", "T2A", NULL };
static const char *const huge_pages[] = { "None", "Transparent", "2M", NULL };

#define MACHINE_FIELD(member, kind, how, ...) \
	FIELD(struct machine_request, member, kind, how, __VA_ARGS__)

/* The same fields twice, for a patch may leave out any. */
#define MACHINE_FIELDS(required, defaulted)                                                        \
	MACHINE_FIELD(vcpu_count, FIELD_U8, required, .fallback = 1,                               \
		      .help = "virtual CPUs, 1 to 32"),                                            \
		MACHINE_FIELD(mem_size_mib, FIELD_USIZE, required, .fallback = 128,                \
			      .help = "memory in MiB"),                                            \
		MACHINE_FIELD(smt, FIELD_BOOL, defaulted,                                          \
			      .help = "two threads a core; then vcpu_count is 1 or even"),         \
		MACHINE_FIELD(cpu_template, FIELD_CHOICE, FIELD_OPTIONAL, .choices = templates,    \
			      .deprecated = true, .silent = true, .help = "None"),                 \
		MACHINE_FIELD(track_dirty_pages, FIELD_BOOL, defaulted,                            \
			      .help = "note which pages are written, for differential snapshots"), \
		MACHINE_FIELD(huge_pages, FIELD_CHOICE, defaulted, .choices = huge_pages,          \
			      .help = "what guest memory is made of")

static const struct field put_table[] = { MACHINE_FIELDS(FIELD_REQUIRED, FIELD_DEFAULTED) };
static const struct field patch_table[] = { MACHINE_FIELDS(FIELD_OPTIONAL, FIELD_OPTIONAL) };

const struct field_set machine_fields = FIELD_SET("MachineConfig", struct machine_request,
						  put_table);
static const struct field_set machine_patch_fields = FIELD_SET("MachineConfigUpdate",
							       struct machine_request, patch_table);

static int check_template(const struct machine_request *machine, struct error *err)
{
	if (!machine->cpu_template.given || machine->cpu_template.value == CPU_TEMPLATE_NONE)
		return 0;
	return error_set(
		err, EINVAL,
		"Machine config error: the cpu_template %s is not supported: only None is; "
		"describe a CPU with /cpu-config",
		templates[machine->cpu_template.value]);
}

static int check_machine(const struct machine_request *machine, struct error *err)
{
	uint64_t vcpus = machine->vcpu_count.value, mib = machine->mem_size_mib.value;

	if (vcpus < 1 || vcpus > LAYOUT_VCPUS_MAX || (machine->smt.value && vcpus > 1 && vcpus % 2))
		return error_set(
			err, EINVAL,
			"Machine config error: The number of vCPUs must be greater than 0, "
			"less than 32 and must be 1 or an even number if SMT is enabled.");
	if (mib == 0 || (machine->huge_pages.value != HUGE_PAGES_NONE && mib % 2))
		return error_set(
			err, EINVAL,
			"Machine config error: The memory size (MiB) is either 0, or not a "
			"multiple of the configured page size.");
	return check_template(machine, err);
}

/* A template "None" is as good as none at all. */
static int set_machine(struct controller *controller, struct machine_request *machine,
		       struct error *err)
{
	int ret = check_machine(machine, err);

	if (ret < 0)
		return ret;
	if (controller->balloon.given &&
	    controller->balloon.amount_mib.value > machine->mem_size_mib.value)
		return error_set(err, EINVAL,
				 "Machine config error: The memory size (MiB) is smaller than the "
				 "previously set balloon device target size.");
	machine->cpu_template.given = false;
	controller->machine_config = *machine;
	controller->machine_touched = true;
	return 0;
}

static int put_machine(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	return set_machine(controller, request->data, &reply->err);
}

static int check_patch(const void *data, struct error *err)
{
	const struct machine_request *patch = data;

	if (patch->vcpu_count.given || patch->mem_size_mib.given || patch->smt.given ||
	    patch->cpu_template.given || patch->track_dirty_pages.given || patch->huge_pages.given)
		return 0;
	return error_set(err, EINVAL, "Empty PATCH request.");
}

static int patch_machine(struct controller *controller, struct api_request *request,
			 struct api_reply *reply)
{
	const struct machine_request *patch = request->data;
	struct machine_request machine = controller->machine_config;

	if (patch->vcpu_count.given)
		machine.vcpu_count = patch->vcpu_count;
	if (patch->mem_size_mib.given)
		machine.mem_size_mib = patch->mem_size_mib;
	if (patch->smt.given)
		machine.smt = patch->smt;
	if (patch->track_dirty_pages.given)
		machine.track_dirty_pages = patch->track_dirty_pages;
	if (patch->huge_pages.given)
		machine.huge_pages = patch->huge_pages;
	machine.cpu_template = patch->cpu_template;
	return set_machine(controller, &machine, &reply->err);
}

static int get_machine(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	(void)request;
	reply->result = fields_encode(&machine_fields, &controller->machine_config);
	return reply->result ? 0 : error_set(&reply->err, ENOMEM, "out of memory");
}

static const struct method methods[] = {
	{
		.name = "machine.get",
		.metric = "machine_cfg",
		.verb = API_GET,
		.path = "machine-config",
		.phases = PHASES_ALL,
		.handle = get_machine,
		.help = "vCPUs and memory",
	},
	{
		.name = "machine.put",
		.metric = "machine_cfg",
		.verb = API_PUT,
		.path = "machine-config",
		.phases = PHASES_BEFORE,
		.fields = &machine_fields,
		.handle = put_machine,
		.help = "Sets vCPUs and memory",
	},
	{
		.name = "machine.patch",
		.metric = "machine_cfg",
		.verb = API_PATCH,
		.path = "machine-config",
		.phases = PHASES_BEFORE,
		.fields = &machine_patch_fields,
		.check = check_patch,
		.handle = patch_machine,
		.help = "Changes some of it",
	},
};

const struct method_group machine_methods = METHOD_GROUP(methods);
