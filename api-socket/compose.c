/* From what was asked for to what the machine is built from. Pure: opens nothing, checks nothing. */
#include "api-socket/controller_priv.h"
#include "vmm/boot/cmdline.h"

/* Firecracker's, which its users' kernels and images expect. */
#define BOOT_ARGS_DEFAULT                                                                  \
	"reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd " \
	"swiotlb=noforce"

static struct bucket_config compose_bucket(const struct bucket_request *bucket)
{
	return (struct bucket_config){
		.size = bucket->size.value,
		.one_time_burst = bucket->one_time_burst.value,
		.refill_ms = bucket->refill_time.value,
	};
}

static struct rate_config compose_rate(const struct rate_request *rate)
{
	return (struct rate_config){
		.bytes = compose_bucket(&rate->bandwidth),
		.ops = compose_bucket(&rate->ops),
	};
}

void compose_rate_update(const struct rate_request *rate, struct rate_update *out)
{
	const struct rate_config config = compose_rate(rate);

	out->bytes = config.bytes;
	out->ops = config.ops;
	out->new_bytes = rate->bandwidth.given ? &out->bytes : NULL;
	out->new_ops = rate->ops.given ? &out->ops : NULL;
}

/* A bucket that limits nothing is none. */
static void tidy_bucket(struct bucket_request *bucket)
{
	bucket->given = bucket->size.value > 0 && bucket->refill_time.value > 0;
	bucket->one_time_burst.given = bucket->one_time_burst.value > 0;
}

void compose_rate_kept(struct rate_request *rate)
{
	tidy_bucket(&rate->bandwidth);
	tidy_bucket(&rate->ops);
	rate->given = rate->bandwidth.given || rate->ops.given;
}

void compose_rate_patched(const struct rate_request *patch, struct rate_request *kept,
			  struct rate_config *live)
{
	if (patch->bandwidth.given)
		kept->bandwidth = patch->bandwidth;
	if (patch->ops.given)
		kept->ops = patch->ops;
	compose_rate_kept(kept);
	*live = compose_rate(kept);
}

static void compose_boot(struct vm_config *vm, const struct boot_request *boot)
{
	if (boot) {
		vm->kernel_path = boot->kernel_image_path.path;
		vm->kernel_fd = boot->kernel_image_path.fd;
		vm->initrd_path = boot->initrd_path.path;
		vm->initrd_fd = boot->initrd_path.fd;
	}
	vm->cmdline = boot && boot->boot_args ? boot->boot_args : BOOT_ARGS_DEFAULT;
	vm->plain_cmdline = true;
}

static void compose_drive(struct vm_config *vm, const struct drive_request *drive)
{
	vm->has_rootfs |= drive->is_root_device.value;
	vm->drives[vm->drive_count++] = (struct drive_config){
		.id = drive->drive_id,
		.path = drive->path_on_host.path,
		.fd = drive->path_on_host.fd,
		.read_only = drive->is_read_only.value,
		.may_be_empty = true,
		.unsafe = drive->cache_type.value == DRIVE_CACHE_UNSAFE,
		.rate = compose_rate(&drive->rate_limiter),
		.async = drive->io_engine.value == DRIVE_ENGINE_ASYNC,
		.partuuid = drive->partuuid,
		.direct = drive->direct.value,
		.num_queues = (unsigned int)drive->num_queues.value,
		.queue_size = (unsigned int)drive->queue_size.value,
		.loop = (unsigned int)drive->loop.value,
	};
}

static void compose_net(struct vm_config *vm, const struct net_request *net, bool mmds)
{
	struct net_config *out = &vm->nets[vm->net_count++];

	*out = (struct net_config){
		.id = net->iface_id,
		.tap = net->host_dev_name.path,
		.fd = net->host_dev_name.fd,
		.mtu = (uint16_t)net->mtu.value,
		.mmds = mmds,
		.rx_rate = compose_rate(&net->rx_rate_limiter),
		.tx_rate = compose_rate(&net->tx_rate_limiter),
		.antispoof = net->antispoof.value,
		.queue_pairs = (unsigned int)net->queue_pairs.value,
	};
	out->has_mac = net->guest_mac && parse_mac(net->guest_mac, out->mac) == 0;
}

static void compose_pmem(struct vm_config *vm, const struct pmem_request *pmem)
{
	vm->pmems[vm->pmem_count++] = (struct pmem_config){
		.id = pmem->id,
		.path = pmem->path_on_host.path,
		.fd = pmem->path_on_host.fd,
		.read_only = pmem->read_only.value,
		.root = pmem->root_device.value,
		.rate = compose_rate(&pmem->rate_limiter),
	};
}

/* Clients that do not care say 0; a guest's context id begins at 3. */
#define CID_MIN 3u

static void compose_vsock(struct vm_config *vm, const struct vsock_request *vsock)
{
	vm->has_vsock = vsock != NULL;
	if (vsock)
		vm->vsock = (struct vsock_config){
			.id = vsock->vsock_id,
			.path = vsock->uds_path.path,
			.listener = MAX(vsock->uds_path.fd, 0),
			.cid = vsock->guest_cid.value < CID_MIN ? CID_MIN
								: (uint32_t)vsock->guest_cid.value,
		};
}

static void compose_balloon(struct vm_config *vm, const struct balloon_request *balloon)
{
	vm->has_balloon = balloon->given;
	vm->balloon = (struct balloon_config){
		.target_mib = (uint32_t)balloon->amount_mib.value,
		.deflate_on_oom = balloon->deflate_on_oom.value,
		.stats_interval_s = (uint32_t)balloon->stats_polling_interval_s.value,
		.free_page_reporting = balloon->free_page_reporting.value,
		.free_page_hinting = balloon->free_page_hinting.value,
	};
}

static void compose_rng(struct vm_config *vm, const struct entropy_request *entropy)
{
	vm->no_rng = !entropy;
	if (entropy)
		vm->rng.rate = compose_rate(&entropy->rate_limiter);
}

static const struct net_request *net_at(const struct controller *controller, unsigned int index)
{
	return controller->nets[index].data;
}

void controller_compose_serial_limit(const struct controller *controller, struct vm_config *vm)
{
	const struct serial_request *serial = controller->serial.data;

	if (serial)
		vm->serial_limit = compose_bucket(&serial->rate_limiter);
}

void controller_compose(struct controller *controller)
{
	static const enum guest_pages pages[] = {
		[HUGE_PAGES_NONE] = GUEST_PAGES_4K,
		[HUGE_PAGES_TRANSPARENT] = GUEST_PAGES_TRANSPARENT,
		[HUGE_PAGES_2M] = GUEST_PAGES_2M,
	};
	const struct machine_request *machine = &controller->machine_config;
	struct vm_config *vm = &controller->vm;

	*vm = (struct vm_config){
		.vcpus = (unsigned int)machine->vcpu_count.value,
		.smt = machine->smt.value,
		.pages = pages[machine->huge_pages.value],
		.memory = machine->mem_size_mib.value << 20,
		.track_dirty = machine->track_dirty_pages.value,
		.has_console = true,
		.log_boot_time = controller->boot_timer,
		.cpu = &controller->cpu,
		.mmds = controller->mmds_config.set ? controller->mmds : NULL,
		.console_fd = controller->serial_fd >= 0 ? controller->serial_fd : STDOUT_FILENO,
	};
	compose_boot(vm, controller->boot.data);
	for (unsigned int i = 0; i < controller->drive_count; i++)
		compose_drive(vm, controller->drives[i].data);
	for (unsigned int i = 0; i < controller->net_count; i++)
		compose_net(vm, controller->nets[i].data,
			    controller_serves_mmds(controller, net_at(controller, i)->iface_id));
	for (unsigned int i = 0; i < controller->pmem_count; i++)
		compose_pmem(vm, controller->pmems[i].data);
	compose_vsock(vm, controller->vsock.data);
	compose_balloon(vm, &controller->balloon);
	compose_rng(vm, controller->entropy.data);
	controller_compose_serial_limit(controller, vm);
}
