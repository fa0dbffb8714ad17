/* What a load wants to be other than it was: from the request to the machine. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/controller_priv.h"
#include "virtio/vsock_unix.h"
#include "vmm/mmds/mmds.h"

static int read_file_field(const struct opt_file *field, struct other_file *out, struct error *err)
{
	*out = (struct other_file){ .given = true, .path = field->path, .fd = -1 };
	if (field->path)
		return 0;
	/* The machine takes descriptors over; the request's go when it has been answered. */
	out->fd = fcntl(field->fd, F_DUPFD_CLOEXEC, 3);
	return out->fd < 0 ? error_set_errno(err, errno, "a descriptor") : 0;
}

/* A tap or a socket that it has already cannot be had twice, and need not. */
static bool is_same(const char *one, const char *other)
{
	return one && other && strcmp(one, other) == 0;
}

static int read_net(const struct vm_config *vm, const struct net_override *override,
		    struct machine_identity *out, struct error *err)
{
	const struct opt_file *tap = &override->host_dev_name;

	for (unsigned int i = 0; i < vm->net_count; i++) {
		const char *id = vm_config_net_name(vm, i);

		if (strcmp(id, override->iface_id) != 0)
			continue;
		if (out->taps[i].given || out->macs[i].given)
			return error_set(err, EINVAL, "interface %s is named twice", id);
		out->macs[i].given = override->guest_mac != NULL;
		if (override->guest_mac && parse_mac(override->guest_mac, out->macs[i].mac) < 0)
			return error_set(err, EINVAL, "'%s' is no MAC address",
					 override->guest_mac);
		if ((!tap->path && tap->fd < 0) || is_same(tap->path, vm->nets[i].tap))
			return 0;
		return read_file_field(tap, &out->taps[i], err);
	}
	return error_set(err, EINVAL, "Unknown Network Device.");
}

static int read_drive(const struct vm_config *vm, const struct drive_override *override,
		      struct machine_identity *out, struct error *err)
{
	for (unsigned int i = 0; i < vm->drive_count; i++) {
		const char *id = vm_config_drive_name(vm, i);

		if (strcmp(id, override->drive_id) != 0)
			continue;
		if (out->drives[i].given)
			return error_set(err, EINVAL, "drive %s is named twice", id);
		return read_file_field(&override->path_on_host, &out->drives[i], err);
	}
	return error_set(err, EINVAL, "Unknown drive: %s.", override->drive_id);
}

static int read_pmem(const struct vm_config *vm, const struct pmem_override *override,
		     struct machine_identity *out, struct error *err)
{
	for (unsigned int i = 0; i < vm->pmem_count; i++) {
		const char *id = vm_config_pmem_name(vm, i);

		if (strcmp(id, override->id) != 0)
			continue;
		if (out->pmems[i].given)
			return error_set(err, EINVAL, "pmem %s is named twice", id);
		return read_file_field(&override->path_on_host, &out->pmems[i], err);
	}
	return error_set(err, EINVAL, "Unknown pmem: %s.", override->id);
}

static int read_vsock(const struct vm_config *vm, const struct vsock_override *override,
		      struct machine_identity *out, struct error *err)
{
	const struct opt_file *socket = &override->uds_path;

	if (!override->given)
		return 0;
	if (!vm->has_vsock)
		return error_set(err, EINVAL, "Unknown Vsock Device.");
	out->vsock_cid = (uint32_t) override->guest_cid.value;
	if (socket->fd >= 0) {
		out->vsock_path = out->vsock_listens_at;
		out->vsock_listener = socket->fd;
		return vsock_unix_path_of(socket->fd, out->vsock_listens_at, err);
	}
	if (!is_same(socket->path, vm->vsock.path))
		out->vsock_path = socket->path;
	return 0;
}

/* The data is looked at now and put when nothing can fail any more. */
static int read_mmds(struct controller *controller, const struct snapshot_load_request *request,
		     struct machine_identity *out, struct error *err)
{
	int ret = 0;

	if (!machine_snapshot_mmds(controller->snapshot))
		return request->mmds ? error_set(err, EINVAL,
						 "mmds: the saved microVM has no metadata service")
				     : 0;
	if (!controller->mmds)
		ret = mmds_create(&controller->mmds, controller->mmds_max, err);
	if (ret < 0)
		return ret;
	out->mmds = controller->mmds;
	ret = request->mmds ? mmds_store_check(&controller->mmds->store, request->mmds) : 0;
	if (ret == -EMSGSIZE)
		return error_set(err, EINVAL, "mmds: its text has more than %zu bytes",
				 controller->mmds_max);
	return ret < 0 ? error_set_errno(err, ret, "mmds") : 0;
}

/* The address that an interface will have; NULL: one that was made up. */
static const uint8_t *mac_of(const struct controller *controller,
			     const struct machine_identity *identity, unsigned int i)
{
	const struct vm_config *saved = machine_snapshot_config(controller->snapshot);

	if (identity->macs[i].given)
		return identity->macs[i].mac;
	return i < saved->net_count && saved->nets[i].has_mac ? saved->nets[i].mac : NULL;
}

static int check_macs(const struct controller *controller, const struct vm_config *vm,
		      const struct machine_identity *identity, struct error *err)
{
	for (unsigned int i = 0; i < vm->net_count; i++)
		for (unsigned int j = 0; j < i; j++) {
			const uint8_t *one = mac_of(controller, identity, i);
			const uint8_t *other = mac_of(controller, identity, j);

			if (one && other && memcmp(one, other, 6) == 0)
				return error_set(
					err, EINVAL, "interfaces %s and %s have the same MAC",
					vm_config_net_name(vm, j), vm_config_net_name(vm, i));
		}
	return 0;
}

static int read_all(struct controller *controller, const struct vm_config *vm,
		    const struct snapshot_load_request *request, struct machine_identity *out,
		    struct error *err)
{
	const struct net_override *nets = request->network_overrides.items;
	const struct drive_override *drives = request->drive_overrides.items;
	const struct pmem_override *pmems = request->pmem_overrides.items;
	int ret = read_vsock(vm, &request->vsock_override, out, err);

	for (uint32_t i = 0; i < request->network_overrides.count && ret == 0; i++)
		ret = read_net(vm, &nets[i], out, err);
	if (ret == 0)
		ret = check_macs(controller, vm, out, err);
	for (uint32_t i = 0; i < request->drive_overrides.count && ret == 0; i++)
		ret = read_drive(vm, &drives[i], out, err);
	for (uint32_t i = 0; i < request->pmem_overrides.count && ret == 0; i++)
		ret = read_pmem(vm, &pmems[i], out, err);
	return ret < 0 ? ret : read_mmds(controller, request, out, err);
}

int controller_read_identity(struct controller *controller, const struct vm_config *vm,
			     const struct snapshot_load_request *request,
			     struct machine_identity *out, struct error *err)
{
	int ret;

	*out = (struct machine_identity){ 0 };
	ret = read_all(controller, vm, request, out, err);
	if (ret < 0)
		machine_identity_close(out);
	return ret;
}

static void note_files(const struct machine_identity *identity, struct vm_config *vm)
{
	for (unsigned int i = 0; i < vm->drive_count; i++)
		if (identity->drives[i].given)
			vm->drives[i].path = identity->drives[i].path;
	for (unsigned int i = 0; i < vm->net_count; i++)
		if (identity->taps[i].given)
			vm->nets[i].tap = identity->taps[i].path;
	for (unsigned int i = 0; i < vm->pmem_count; i++)
		if (identity->pmems[i].given)
			vm->pmems[i].path = identity->pmems[i].path;
	if (identity->vsock_path)
		vm->vsock.path = identity->vsock_path;
}

static void note_addresses(const struct machine_identity *identity, struct vm_config *vm)
{
	for (unsigned int i = 0; i < vm->net_count; i++)
		if (identity->macs[i].given) {
			vm->nets[i].has_mac = true;
			memcpy(vm->nets[i].mac, identity->macs[i].mac, sizeof(vm->nets[i].mac));
		}
	if (identity->vsock_cid)
		vm->vsock.cid = identity->vsock_cid;
}

void controller_configure_identity(struct machine_identity *identity, struct vm_config *vm)
{
	note_files(identity, vm);
	note_addresses(identity, vm);
	for (unsigned int i = 0; i < vm->drive_count; i++)
		if (identity->drives[i].given) {
			vm->drives[i].fd = identity->drives[i].fd;
			identity->drives[i].given = false;
		}
	for (unsigned int i = 0; i < vm->net_count; i++)
		if (identity->taps[i].given) {
			vm->nets[i].fd = identity->taps[i].fd;
			identity->taps[i].given = false;
		}
	for (unsigned int i = 0; i < vm->pmem_count; i++)
		if (identity->pmems[i].given) {
			vm->pmems[i].fd = identity->pmems[i].fd;
			identity->pmems[i].given = false;
		}
	vm->vsock.listener = identity->vsock_listener;
	identity->vsock_path = NULL;
}

void controller_note_identity(const struct machine_identity *identity, struct vm_config *vm)
{
	note_files(identity, vm);
	note_addresses(identity, vm);
}
