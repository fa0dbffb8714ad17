/* The machine's vsock: from configuration to device. */
#include <string.h>
#include <sys/resource.h>

#include "base/log.h"
#include "virtio/virtio_vsock.h"
#include "virtio/vsock_unix.h"
#include "vmm/machine_priv.h"

_Static_assert(VM_VSOCK_PATH_MAX == VSOCK_UNIX_PATH_MAX, "what was accepted can be opened");

#define DESCRIPTORS 2048u /* of a machine with all its connections */

/* Each connection is a descriptor, and the usual soft limit of 1,024 is less than they can be. It is ours
 * to raise up to the hard one; what is beyond that will be refused, one by one. */
static void make_room_for_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, (rlim_t)DESCRIPTORS);
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		log_info("vsock: the limit of descriptors stays: %s", strerrordesc_np(errno));
}

int machine_add_vsock(struct machine *machine, struct error *err)
{
	const struct vsock_config *vsock = &machine->config->vsock;
	const struct virtio_vsock_params params = { .path = vsock->path,
						    .listener = vsock->listener,
						    .cid = vsock->cid };
	struct virtio_device *dev = NULL;
	struct irq_line *irq = NULL;
	struct boot_device at = { 0 };
	int ret;

	make_room_for_descriptors();
	ret = machine_reserve(machine, &at, &irq, err);

	if (ret == 0)
		ret = virtio_vsock_create(&dev, &params, &machine->memory, machine->loops[0], irq,
					  err);
	return ret < 0 ? ret : machine_attach(machine, dev, &at, err);
}
