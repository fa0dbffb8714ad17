/* /snapshot/create and /snapshot/load. */
#include "api-socket/methods.h"

static const char *const types[] = { "Diff", "Full", NULL };
static const char *const backends[] = { "File", "Uffd", NULL };
static const char *const huge_pages[] = { "Snapshot", "None", "Transparent", "2M", NULL };

static const struct field create_table[] = {
	FIELD(struct snapshot_create_request, snapshot_type, FIELD_CHOICE, FIELD_DEFAULTED,
	      .choices = types, .fallback = SNAPSHOT_FULL,
	      .help = "all of memory, or what has changed"),
	FIELD(struct snapshot_create_request, snapshot_path, FIELD_FILE, FIELD_REQUIRED,
	      .expected = "path string",
	      .help = "where the state goes: in the place of a file that is there, or into "
		      "the file of a descriptor"),
	FIELD(struct snapshot_create_request, mem_file_path, FIELD_FILE, FIELD_REQUIRED,
	      .expected = "path string", .help = "where memory goes, in the same way"),
};

static const struct field_set create_fields =
	FIELD_SET("CreateSnapshotParams", struct snapshot_create_request, create_table);

static const struct field backend_table[] = {
	FIELD(struct mem_backend_request, backend_path, FIELD_FILE, FIELD_REQUIRED,
	      .expected = "path string", .help = "the memory file, or the pager's socket"),
	FIELD(struct mem_backend_request, backend_type, FIELD_CHOICE, FIELD_REQUIRED,
	      .choices = backends, .help = "a file, or a process that fills in pages"),
	FIELD(struct mem_backend_request, timeout_ms, FIELD_U32, FIELD_OPTIONAL, .ours = true,
	      .help = "for how long a load, a pause, a resume or a save waits for that process's "
		      "pages at most, 30000 if it is not said; Firecracker has no such field"),
};

static const struct field_set backend_fields = FIELD_SET("MemBackendConfig",
							 struct mem_backend_request, backend_table);

static const struct field net_table[] = {
	FIELD(struct net_override, iface_id, FIELD_ID, FIELD_REQUIRED, .help = "which interface"),
	FIELD(struct net_override, host_dev_name, FIELD_FILE, FIELD_REQUIRED_OR_OURS,
	      .help = "its tap on this host; may be left out with guest_mac"),
	FIELD(struct net_override, guest_mac, FIELD_STRING, FIELD_OPTIONAL, .check = check_mac,
	      .ours = true, .help = "its MAC address; Firecracker has no such field"),
};

static const struct field_set net_override_fields =
	FIELD_SET("NetworkOverride", struct net_override, net_table, .lenient = true);

static const struct field drive_table[] = {
	FIELD(struct drive_override, drive_id, FIELD_ID, FIELD_REQUIRED, .help = "which drive"),
	FIELD(struct drive_override, path_on_host, FIELD_FILE, FIELD_REQUIRED,
	      .help = "its image on this host"),
};

static const struct field_set drive_override_fields = FIELD_SET("DriveOverride",
								struct drive_override, drive_table);

static const struct field pmem_table[] = {
	FIELD(struct pmem_override, id, FIELD_ID, FIELD_REQUIRED,
	      .help = "which persistent memory device"),
	FIELD(struct pmem_override, path_on_host, FIELD_FILE, FIELD_REQUIRED,
	      .help = "its file on this host, of the same length in whole 2 MiB"),
};

static const struct field_set pmem_override_fields = FIELD_SET("PmemOverride", struct pmem_override,
							       pmem_table);

static const struct field vsock_table[] = {
	FIELD(struct vsock_override, uds_path, FIELD_FILE, FIELD_REQUIRED_OR_OURS,
	      .help = "where its socket is on this host, or one that listens already; may be left "
		      "out with guest_cid"),
	FIELD(struct vsock_override, guest_cid, FIELD_U32, FIELD_OPTIONAL, .ours = true,
	      .help = "the guest's context id, from 3 up; Firecracker has no such field"),
};

static const struct field_set vsock_override_fields =
	FIELD_SET("VsockOverride", struct vsock_override, vsock_table, .lenient = true);

static const struct field serial_table[] = {
	FIELD(struct serial_override, serial_out_path, FIELD_FILE, FIELD_REQUIRED,
	      .expected = "path string", .help = "a file or named pipe; it is added at its end"),
};

static const struct field_set serial_override_fields =
	FIELD_SET("SerialOverride", struct serial_override, serial_table);

#define LOAD_FIELD(member, kind, need, ...) \
	FIELD(struct snapshot_load_request, member, kind, need, __VA_ARGS__)

static const struct field load_table[] = {
	LOAD_FIELD(snapshot_path, FIELD_FILE, FIELD_REQUIRED, .expected = "path string",
		   .help = "where the state is"),
	LOAD_FIELD(mem_file_path, FIELD_FILE, FIELD_OPTIONAL, .deprecated = true,
		   .expected = "path string", .help = "where memory is; the same as mem_backend"),
	LOAD_FIELD(mem_backend, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &backend_fields,
		   .help = "where memory comes from"),
	LOAD_FIELD(enable_diff_snapshots, FIELD_BOOL, FIELD_DEFAULTED, .deprecated = true,
		   .help = "the same as track_dirty_pages"),
	LOAD_FIELD(track_dirty_pages, FIELD_BOOL, FIELD_DEFAULTED,
		   .help = "note which pages are written, for differential snapshots"),
	LOAD_FIELD(resume_vm, FIELD_BOOL, FIELD_DEFAULTED, .help = "let it run at once"),
	LOAD_FIELD(network_overrides, FIELD_LIST, FIELD_DEFAULTED, .sub = &net_override_fields,
		   .help = "interfaces whose tap or MAC is another here"),
	LOAD_FIELD(vsock_override, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &vsock_override_fields,
		   .help = "the vsock's socket is elsewhere here"),
	LOAD_FIELD(clock_realtime, FIELD_BOOL, FIELD_DEFAULTED,
		   .help = "the guest's clock goes on as if it had run"),
	LOAD_FIELD(huge_pages, FIELD_CHOICE, FIELD_DEFAULTED, .choices = huge_pages,
		   .help = "what guest memory is made of"),
	LOAD_FIELD(drive_overrides, FIELD_LIST, FIELD_DEFAULTED, .sub = &drive_override_fields,
		   .ours = true,
		   .help = "drives whose image is another here; Firecracker has no such field"),
	LOAD_FIELD(
		pmem_overrides, FIELD_LIST, FIELD_DEFAULTED, .sub = &pmem_override_fields,
		.ours = true,
		.help = "persistent memory whose file is another here; Firecracker has no such field"),
	LOAD_FIELD(serial_override, FIELD_STRUCT, FIELD_OPTIONAL, .sub = &serial_override_fields,
		   .ours = true,
		   .help = "where the serial port's output goes; Firecracker has no such field"),
	LOAD_FIELD(mmds, FIELD_ANY, FIELD_OPTIONAL, .ours = true,
		   .help = "the metadata, as PUT /mmds has it; Firecracker has no such field"),
};

static const struct field_set load_fields = FIELD_SET("LoadSnapshotConfig",
						      struct snapshot_load_request, load_table);

static bool is_given(const struct opt_file *file)
{
	return file->path || file->fd >= 0;
}

#define DESERIALIZE "An error occurred when deserializing the json body of a request: "

static int check_backend(const struct mem_backend_request *backend, struct error *err)
{
	if (!backend->timeout_ms.given)
		return 0;
	if (backend->backend_type.value != MEM_BACKEND_UFFD)
		return error_set(err, EINVAL,
				 DESERIALIZE
				 "mem_backend: timeout_ms is for a backend of type Uffd.");
	if (backend->timeout_ms.value == 0)
		return error_set(err, EINVAL, DESERIALIZE "mem_backend: timeout_ms is 0.");
	return 0;
}

/* Further down an empty name stands for a descriptor. */
static int check_name(const struct opt_file *file, const char *field, struct error *err)
{
	if (!file->path || *file->path)
		return 0;
	return error_set(err, EINVAL, DESERIALIZE "%s is empty.", field);
}

static int check_names(const struct snapshot_load_request *load, struct error *err)
{
	const struct drive_override *drives = load->drive_overrides.items;
	const struct pmem_override *pmems = load->pmem_overrides.items;
	const struct net_override *nets = load->network_overrides.items;
	int ret;

	if ((ret = check_name(&load->snapshot_path, "snapshot_path", err)) < 0 ||
	    (ret = check_name(&load->mem_file_path, "mem_file_path", err)) < 0 ||
	    (ret = check_name(&load->mem_backend.backend_path, "mem_backend: backend_path", err)) <
		    0 ||
	    (ret = check_name(&load->serial_override.serial_out_path,
			      "serial_override: serial_out_path", err)) < 0)
		return ret;
	for (uint32_t i = 0; i < load->drive_overrides.count && ret == 0; i++)
		ret = check_name(&drives[i].path_on_host, "drive_overrides: a path_on_host", err);
	for (uint32_t i = 0; i < load->pmem_overrides.count && ret == 0; i++)
		ret = check_name(&pmems[i].path_on_host, "pmem_overrides: a path_on_host", err);
	for (uint32_t i = 0; i < load->network_overrides.count && ret == 0; i++)
		ret = check_name(&nets[i].host_dev_name, "network_overrides: a host_dev_name", err);
	return ret;
}

static int check_overrides(const struct snapshot_load_request *load, struct error *err)
{
	const struct vsock_override *vsock = &load->vsock_override;

	if (vsock->guest_cid.given && (vsock->guest_cid.value < VM_VSOCK_CID_MIN ||
				       vsock->guest_cid.value > VM_VSOCK_CID_MAX))
		return error_set(err, EINVAL,
				 DESERIALIZE "vsock_override: guest_cid %lu is not from %u to %u.",
				 vsock->guest_cid.value, VM_VSOCK_CID_MIN, VM_VSOCK_CID_MAX);
	return 0;
}

/* Of the two ways to say it, one. */
static int check_load(const void *data, struct error *err)
{
	const struct snapshot_load_request *load = data;
	bool has_path = is_given(&load->mem_file_path);
	int ret;

	if (has_path && load->mem_backend.given)
		return error_set(err, EINVAL,
				 DESERIALIZE
				 "too many fields: either `mem_backend` or `mem_file_path` "
				 "exclusively is required.");
	if (!has_path && !load->mem_backend.given)
		return error_set(err, EINVAL,
				 DESERIALIZE
				 "missing field: either `mem_backend` or `mem_file_path` is "
				 "required.");
	if ((ret = check_backend(&load->mem_backend, err)) < 0 ||
	    (ret = check_names(load, err)) < 0)
		return ret;
	return check_overrides(load, err);
}

static int check_create(const void *data, struct error *err)
{
	const struct snapshot_create_request *create = data;
	int ret = check_name(&create->snapshot_path, "snapshot_path", err);

	return ret < 0 ? ret : check_name(&create->mem_file_path, "mem_file_path", err);
}

static int put_create(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	int ret;

	if (controller->phase == PHASE_RUNNING)
		return reply_refuse(reply, "Create snapshot error: Cannot save the microVM state: "
					   "Operation not allowed: save/restore unavailable while "
					   "running");
	ret = controller_save_snapshot(controller, request->data, &reply->err);
	return ret < 0 ? reply_prefix(reply, "Create snapshot error") : 0;
}

/* Only into a process that has nothing of a microVM yet. A process that failed goes, as Firecracker's: its client starts another. A prepared one is as before. */
static int put_load(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	bool prepared = controller->phase == PHASE_PREPARED;
	int ret;

	if (!prepared && !controller_is_fresh(controller))
		return reply_refuse(reply, "Load snapshot error: Loading a microVM snapshot not "
					   "allowed after configuring boot-specific resources.");
	ret = controller_load_snapshot(controller, request->data, &reply->err);
	reply->ends_process = ret < 0 && !prepared;
	if (ret < 0)
		return reply_prefix(reply, "Load snapshot error");
	/* Those of a prepared machine were said when they were named. */
	controller_judge_taps(controller, !prepared, reply);
	return 0;
}

/* A load in one call, whose purpose is a microVM that runs. */
static int put_restore(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	struct snapshot_load_request *load = request->data;

	if (!load->resume_vm.given)
		load->resume_vm.value = true;
	return put_load(controller, request, reply);
}

/* The shape is what was put before, each by its own request: a body that tells of one is not passed over. */
static const struct field_set prepare_fields = { .name = "PrepareSnapshot", .size = 1 };

static int put_prepare(struct controller *controller, struct api_request *request,
		       struct api_reply *reply)
{
	int ret = controller_prepare(controller, &reply->err);

	(void)request;
	return ret < 0 ? reply_prefix(reply, "Prepare snapshot error") : 0;
}

static const struct method methods[] = {
	{
		.name = "snapshot.create",
		.verb = API_PUT,
		.path = "snapshot/create",
		.phases = PHASES_AFTER,
		.fields = &create_fields,
		.check = check_create,
		.handle = put_create,
		.help = "Writes a paused microVM to files",
	},
	{
		.name = "snapshot.load",
		.verb = API_PUT,
		.path = "snapshot/load",
		.phases = PHASES_BEFORE | PHASE_PREPARED,
		.fields = &load_fields,
		.check = check_load,
		.handle = put_load,
		.help = "Makes this process the microVM that the files hold",
	},
	{
		.name = "snapshot.restore",
		.verb = API_PUT,
		.path = "snapshot/restore",
		.phases = PHASES_BEFORE | PHASE_PREPARED,
		.fields = &load_fields,
		.check = check_load,
		.handle = put_restore,
		.help = "The same in one call, and lets it run unless `resume_vm` is false. Firecracker "
			"has no such request",
	},
	{
		.name = "snapshot.prepare",
		.verb = API_PUT,
		.path = "snapshot/prepare",
		.phases = PHASES_BEFORE,
		.may_be_empty = true,
		.fields = &prepare_fields,
		.handle = put_prepare,
		.help = "Makes all of the microVM whose machine and devices were put before but what "
			"a snapshot brings, which is then loaded into it. Firecracker has no such "
			"request",
	},
};

const struct method_group snapshot_methods = METHOD_GROUP(methods);
