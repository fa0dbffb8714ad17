#include "vmm/machine_identity.h"

#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "base/log.h"
#include "virtio/virtio_blk.h"
#include "virtio/virtio_net.h"
#include "virtio/virtio_pmem.h"
#include "virtio/virtio_vsock.h"
#include "vmm/machine_priv.h"

/* Drives -----------------------------------------------------------------------------------------*/

static int change_drive(struct machine *machine, unsigned int index, struct other_file *file,
			struct machine_former *former, struct error *err)
{
	struct virtio_device *dev = machine_device(machine, VIRTIO_ID_BLOCK, index);
	int fd = file->fd;
	int ret;

	if (!dev)
		return error_set(err, EINVAL, "the machine has no drive %s", drive_name(index));
	former->drives[index] = virtio_blk_copy_backing(dev);
	if (former->drives[index] < 0)
		return error_set_errno(err, former->drives[index], "drive %s", dev->name);
	file->fd = -1;
	ret = virtio_blk_set_backing(dev, file->path, fd, err);
	if (ret < 0)
		close_fd(&former->drives[index]);
	return ret;
}

/* Taps -------------------------------------------------------------------------------------------*/

static int open_tap(const struct machine *machine, unsigned int index, struct other_file *file,
		    struct net_backend **out, struct error *err)
{
	const struct net_config *config = &machine->config->nets[index];
	const struct net_tap_params params = {
		.net = vm_config_net_name(machine->config, index),
		.tap = file->path,
		.fd = steal_fd(&file->fd),
		.pairs = config->queue_pairs ? config->queue_pairs : 1,
	};

	return net_tap_open(out, &params, err);
}

/* The interface that has this tap and is about to have another; VM_NETS_MAX: none, or it is somebody's already. */
static unsigned int find_giver(const struct machine *machine, const struct machine_identity *to,
			       unsigned int index, const struct machine_former *former)
{
	const char *wanted = to->taps[index].path;

	for (unsigned int i = 0; wanted && i < machine->config->net_count; i++) {
		const char *tap = machine->config->nets[i].tap;

		if (i != index && to->taps[i].given && !former->gives_tap[i] && tap &&
		    strcmp(tap, wanted) == 0)
			return i;
	}
	return VM_NETS_MAX;
}

/* A tap can be opened once: one that is another interface's goes from there to here. */
static int find_tap(struct machine *machine, unsigned int index, struct machine_identity *to,
		    struct machine_former *former, struct net_backend **out, struct error *err)
{
	const unsigned int giver = find_giver(machine, to, index, former);

	if (!machine_device(machine, VIRTIO_ID_NET, index))
		return error_set(err, EINVAL, "the machine has no interface %s", net_name(index));
	if (giver == VM_NETS_MAX)
		return open_tap(machine, index, &to->taps[index], out, err);
	*out = virtio_net_backend(machine_device(machine, VIRTIO_ID_NET, giver));
	former->gives_tap[giver] = former->takes_tap[index] = true;
	return 0;
}

static int swap_taps(struct machine *machine, struct net_backend *taps[static VM_NETS_MAX],
		     struct machine_former *former, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < VM_NETS_MAX; i++) {
		if (!taps[i])
			continue;
		ret = virtio_net_swap_backend(machine_device(machine, VIRTIO_ID_NET, i), &taps[i],
					      err);
		if (ret < 0)
			break;
		former->taps[i] = taps[i];
		taps[i] = NULL;
	}
	return ret;
}

/* All are there before one changes. */
static int change_taps(struct machine *machine, struct machine_identity *to,
		       struct machine_former *former, struct error *err)
{
	struct net_backend *taps[VM_NETS_MAX] = { NULL };
	int ret = 0;

	for (unsigned int i = 0; i < VM_NETS_MAX && ret == 0; i++)
		if (to->taps[i].given)
			ret = find_tap(machine, i, to, former, &taps[i], err);
	if (ret == 0)
		ret = swap_taps(machine, taps, former, err);
	for (unsigned int i = 0; i < VM_NETS_MAX; i++)
		if (!former->takes_tap[i])
			net_backend_destroy(taps[i]);
	return ret;
}

/* The rest ---------------------------------------------------------------------------------------*/

/* What it is called and whether the guest may write to it stays. */
static int change_pmem(struct machine *machine, unsigned int index, struct other_file *file,
		       struct machine_former *former, struct error *err)
{
	struct pmem_file *other = &former->pmems[index];
	struct virtio_device *dev = machine_pmem(machine, index);
	int fd = file->fd, ret;

	if (!dev)
		return error_set(err, EINVAL, "the machine has no pmem%u", index);
	file->fd = -1;
	ret = pmem_file_open_unmapped(other,
				      &(struct pmem_file_params){
					      .name = dev->name,
					      .path = file->path,
					      .fd = fd,
					      .read_only = machine->config->pmems[index].read_only,
				      },
				      err);
	if (ret < 0)
		return ret;
	ret = virtio_pmem_swap_file(dev, other, err);
	if (ret < 0)
		pmem_file_close(other);
	former->has_pmem[index] = ret == 0;
	return ret;
}

static int change_vsock(struct machine *machine, const struct machine_identity *to,
			struct machine_former *former, struct error *err)
{
	struct virtio_device *dev = machine_device(machine, VIRTIO_ID_VSOCK, 0);
	int ret;

	if (!dev)
		return error_set(err, EINVAL, "the machine has no vsock");
	ret = vsock_unix_open(&former->vsock, to->vsock_path, to->vsock_listener, err);
	if (ret < 0)
		return ret;
	former->has_vsock = true;
	virtio_vsock_swap_host(dev, &former->vsock);
	return 0;
}

static int change_all(struct machine *machine, struct machine_identity *to,
		      struct machine_former *former, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < VM_DRIVES_MAX && ret == 0; i++)
		if (to->drives[i].given)
			ret = change_drive(machine, i, &to->drives[i], former, err);
	if (ret == 0)
		ret = change_taps(machine, to, former, err);
	for (unsigned int i = 0; i < VM_PMEMS_MAX && ret == 0; i++)
		if (to->pmems[i].given)
			ret = change_pmem(machine, i, &to->pmems[i], former, err);
	if (ret == 0 && to->vsock_path)
		ret = change_vsock(machine, to, former, err);
	if (ret < 0 || !to->console.given)
		return ret;
	former->has_console = true;
	former->console_fd = console_sink_swap_fd(machine->sink, to->console.fd);
	return 0;
}

void machine_identity_close(struct machine_identity *identity)
{
	for (unsigned int i = 0; i < VM_DRIVES_MAX; i++)
		if (identity->drives[i].given)
			close_fd(&identity->drives[i].fd);
	for (unsigned int i = 0; i < VM_NETS_MAX; i++)
		if (identity->taps[i].given)
			close_fd(&identity->taps[i].fd);
	for (unsigned int i = 0; i < VM_PMEMS_MAX; i++)
		if (identity->pmems[i].given)
			close_fd(&identity->pmems[i].fd);
}

int machine_assume(struct machine *machine, const struct machine_identity *identity,
		   struct machine_former *former, struct error *err)
{
	struct machine_identity to = *identity;
	int ret;

	*former = (struct machine_former){ 0 };
	for (unsigned int i = 0; i < VM_DRIVES_MAX; i++)
		former->drives[i] = -1;
	ret = change_all(machine, &to, former, err);
	if (ret < 0)
		machine_restore_former(machine, former);
	machine_identity_close(&to); /* what nobody took because something before it failed */
	return ret;
}

void machine_forget_former(struct machine_former *former)
{
	for (unsigned int i = 0; i < VM_DRIVES_MAX; i++)
		close_fd(&former->drives[i]);
	for (unsigned int i = 0; i < VM_NETS_MAX; i++)
		if (!former->gives_tap[i])
			net_backend_destroy(former->taps[i]);
	for (unsigned int i = 0; i < VM_PMEMS_MAX; i++)
		if (former->has_pmem[i])
			pmem_file_close(&former->pmems[i]);
	if (former->has_vsock)
		vsock_unix_close(&former->vsock);
}

/* What it had was good a moment ago: this fails only where the host has run out of something. */
static void restore_drive(struct machine *machine, unsigned int index, int *fd)
{
	struct virtio_device *dev = machine_device(machine, VIRTIO_ID_BLOCK, index);
	struct error err;

	if (*fd < 0)
		return;
	if (virtio_blk_set_backing(dev, NULL, steal_fd(fd), &err) < 0)
		log_error("%s; it stays with the other file", err.text);
}

/* Both have the device's number of queues. */
static void restore_tap(struct machine *machine, unsigned int index, struct machine_former *former)
{
	struct net_backend **tap = &former->taps[index];
	struct error err;

	if (!*tap)
		return;
	if (virtio_net_swap_backend(machine_device(machine, VIRTIO_ID_NET, index), tap, &err) < 0)
		log_error("%s", err.text);
	if (former->takes_tap[index]) /* it goes back by itself */
		*tap = NULL;
	former->gives_tap[index] = false;
}

void machine_restore_former(struct machine *machine, struct machine_former *former)
{
	struct error err;

	for (unsigned int i = 0; i < VM_DRIVES_MAX; i++)
		restore_drive(machine, i, &former->drives[i]);
	for (unsigned int i = 0; i < VM_NETS_MAX; i++)
		restore_tap(machine, i, former);
	for (unsigned int i = 0; i < VM_PMEMS_MAX; i++)
		if (former->has_pmem[i] &&
		    virtio_pmem_swap_file(machine_pmem(machine, i), &former->pmems[i], &err) < 0)
			log_error("%s; it stays with the other file", err.text);
	if (former->has_vsock)
		virtio_vsock_swap_host(machine_device(machine, VIRTIO_ID_VSOCK, 0), &former->vsock);
	if (former->has_console)
		console_sink_swap_fd(machine->sink, former->console_fd);
	machine_forget_former(former);
}

int machine_readdress(struct machine *machine, const struct machine_identity *identity,
		      struct error *err)
{
	struct virtio_device *vsock = machine_device(machine, VIRTIO_ID_VSOCK, 0);
	int ret = 0;

	for (unsigned int i = 0; i < VM_NETS_MAX && ret == 0; i++) {
		struct virtio_device *dev = machine_device(machine, VIRTIO_ID_NET, i);

		if (identity->macs[i].given && dev)
			ret = virtio_net_set_mac(dev, identity->macs[i].mac, err);
	}
	if (ret == 0 && identity->vsock_cid && vsock)
		virtio_vsock_set_cid(vsock, identity->vsock_cid);
	return ret;
}
