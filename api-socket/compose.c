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

static void compose_boot(struct vm_config *vm, const struct boot_request *boot)
{
	vm->kernel_path = boot ? boot->kernel_image_path : NULL;
	vm->initrd_path = boot ? boot->initrd_path : NULL;
	vm->cmdline = boot && boot->boot_args ? boot->boot_args : BOOT_ARGS_DEFAULT;
	vm->plain_cmdline = true;
}

static void compose_drive(struct vm_config *vm, const struct drive_request *drive)
{
	vm->has_rootfs |= drive->is_root_device.value;
	if (drive->is_root_device.value)
		vm->root_partuuid = drive->partuuid;
	vm->drives[vm->drive_count++] = (struct drive_config){
		.id = drive->drive_id,
		.path = drive->path_on_host.path,
		.fd = drive->path_on_host.fd,
		.read_only = drive->is_read_only.value,
		.may_be_empty = true,
		.unsafe = drive->cache_type.value == DRIVE_CACHE_UNSAFE,
		.rate = compose_rate(&drive->rate_limiter),
	};
}

void controller_compose(struct controller *controller)
{
	const struct machine_request *machine = &controller->machine_config;
	struct vm_config *vm = &controller->vm;

	*vm = (struct vm_config){
		.vcpus = (unsigned int)machine->vcpu_count.value,
		.memory = machine->mem_size_mib.value << 20,
		.has_console = true,
		.console_fd = STDOUT_FILENO,
		.no_rng = true,
	};
	compose_boot(vm, controller->boot.data);
	for (unsigned int i = 0; i < controller->drive_count; i++)
		compose_drive(vm, controller->drives[i].data);
}
