/* A loaded snapshot's configuration as the requests that would have made it. */
#include <stdio.h>

#include "api-socket/controller_priv.h"
#include "vmm/mmds/mmds.h"

/* A field that is shown only where it was asked for. Out of memory: one too few is shown. */
static json_t *with_number(json_t *tree, const char *name, uint64_t value)
{
	if (tree && value)
		json_object_set_new(tree, name, json_integer((json_int_t)value));
	return tree;
}

static json_t *with_flag(json_t *tree, const char *name, bool value)
{
	if (tree && value)
		json_object_set_new(tree, name, json_true());
	return tree;
}

static json_t *bucket_tree(const struct bucket_config *bucket)
{
	if (!bucket->size || !bucket->refill_ms)
		return json_null();
	return with_number(json_pack("{s:I, s:I}", "size", (json_int_t)bucket->size, "refill_time",
				     (json_int_t)bucket->refill_ms),
			   "one_time_burst", bucket->one_time_burst);
}

static json_t *rate_tree(const struct rate_config *rate)
{
	if (!(rate->bytes.size && rate->bytes.refill_ms) &&
	    !(rate->ops.size && rate->ops.refill_ms))
		return json_null();
	return json_pack("{s:o, s:o}", "bandwidth", bucket_tree(&rate->bytes), "ops",
			 bucket_tree(&rate->ops));
}

static json_t *drive_tree(const struct drive_config *drive, bool is_root, const char *id,
			  const char *path)
{
	json_t *tree = json_pack("{s:s, s:b, s:b, s:s, s:s, s:s, s:s?, s:o}", "drive_id", id,
				 "is_root_device", is_root, "is_read_only", drive->read_only,
				 "cache_type", drive->unsafe ? "Unsafe" : "Writeback", "io_engine",
				 drive->async ? "Async" : "Sync", "path_on_host", path ? path : "",
				 "partuuid", drive->partuuid, "rate_limiter",
				 rate_tree(&drive->rate));

	tree = with_flag(tree, "direct", drive->direct);
	tree = with_number(tree, "num_queues", drive->num_queues);
	tree = with_number(tree, "queue_size", drive->queue_size);
	return with_number(tree, "loop", drive->loop);
}

/* A drive that came by the command line has the name that its guest knows. */
static int keep_drives(struct controller *controller, const struct vm_config *vm, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->drive_count && ret == 0; i++) {
		const struct drive_config *drive = &vm->drives[i];

		ret = kept_make(&controller->drives[i], &drive_fields,
				drive_tree(drive, vm->has_rootfs && i == 0,
					   vm_config_drive_name(vm, i), drive->path),
				err);
		controller->drive_count += ret == 0;
	}
	return ret;
}

static json_t *net_tree(const struct net_config *net, const char *id)
{
	const uint8_t *m = net->mac;
	char mac[18];
	json_t *tree;

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	tree = json_pack("{s:s, s:s, s:s?, s:o, s:o}", "iface_id", id, "host_dev_name",
			 net->tap ? net->tap : "", "guest_mac", net->has_mac ? mac : NULL,
			 "rx_rate_limiter", rate_tree(&net->rx_rate), "tx_rate_limiter",
			 rate_tree(&net->tx_rate));
	tree = with_number(tree, "mtu", net->mtu);
	tree = with_flag(tree, "antispoof", net->antispoof);
	return with_number(tree, "queue_pairs", net->queue_pairs);
}

static int keep_nets(struct controller *controller, const struct vm_config *vm, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->net_count && ret == 0; i++) {
		const struct net_config *net = &vm->nets[i];

		ret = kept_make(&controller->nets[i], &net_fields,
				net_tree(net, vm_config_net_name(vm, i)), err);
		controller->net_count += ret == 0;
	}
	return ret;
}

static int keep_pmems(struct controller *controller, const struct vm_config *vm, struct error *err)
{
	int ret = 0;

	for (unsigned int i = 0; i < vm->pmem_count && ret == 0; i++) {
		const struct pmem_config *pmem = &vm->pmems[i];

		ret = kept_make(&controller->pmems[i], &pmem_fields,
				json_pack("{s:s, s:s, s:b, s:b, s:o}", "id",
					  vm_config_pmem_name(vm, i), "path_on_host",
					  pmem->path ? pmem->path : "", "root_device", pmem->root,
					  "read_only", pmem->read_only, "rate_limiter",
					  rate_tree(&pmem->rate)),
				err);
		controller->pmem_count += ret == 0;
	}
	return ret;
}

static int keep_vsock(struct controller *controller, const struct vm_config *vm, struct error *err)
{
	if (!vm->has_vsock)
		return 0;
	return kept_make(&controller->vsock, &vsock_fields,
			 json_pack("{s:I, s:s, s:s?}", "guest_cid", (json_int_t)vm->vsock.cid,
				   "uds_path", vm->vsock.path, "vsock_id", vm->vsock.id),
			 err);
}

/* What nobody boots any more, but asks for. */
static int keep_boot(struct controller *controller, const struct vm_config *vm, struct error *err)
{
	if (!vm->kernel_path) {
		kept_clear(&controller->boot);
		return 0;
	}
	return kept_make(&controller->boot, &boot_fields,
			 json_pack("{s:s, s:s?, s:s?}", "kernel_image_path", vm->kernel_path,
				   "initrd_path", vm->initrd_path, "boot_args", vm->cmdline),
			 err);
}

static void keep_machine(struct controller *controller, const struct vm_config *vm)
{
	static const enum huge_pages_kind kinds[] = {
		[GUEST_PAGES_4K] = HUGE_PAGES_NONE,
		[GUEST_PAGES_TRANSPARENT] = HUGE_PAGES_TRANSPARENT,
		[GUEST_PAGES_2M] = HUGE_PAGES_2M,
	};
	const struct balloon_config *balloon = &vm->balloon;
	struct machine_request *machine = &controller->machine_config;

	machine->vcpu_count.value = vm->vcpus;
	machine->mem_size_mib.value = vm->memory >> 20;
	machine->smt.value = vm->smt;
	machine->track_dirty_pages.value = vm->track_dirty;
	machine->huge_pages.value = kinds[vm->pages];
	if (vm->has_balloon)
		controller->balloon = (struct balloon_request){
			.given = true,
			.amount_mib = { true, balloon->target_mib },
			.deflate_on_oom = { true, balloon->deflate_on_oom },
			.stats_polling_interval_s = { true, balloon->stats_interval_s },
			.free_page_hinting = { true, balloon->free_page_hinting },
			.free_page_reporting = { true, balloon->free_page_reporting },
		};
}

static json_t *names_of_served(const struct vm_config *vm)
{
	json_t *names = json_array();

	for (unsigned int i = 0; i < vm->net_count; i++)
		if (vm->nets[i].mmds &&
		    json_array_append_new(names, json_string(vm_config_net_name(vm, i))) < 0)
			continue; /* out of memory: one name too few to be shown */
	return names;
}

int controller_keep_mmds(struct controller *controller, const struct vm_config *vm,
			 const struct mmds_config *config, struct error *err)
{
	const uint8_t *a = config->ipv4;
	char address[16];

	snprintf(address, sizeof(address), "%u.%u.%u.%u", a[0], a[1], a[2], a[3]);
	return kept_make(&controller->mmds_config, &mmds_config_fields,
			 json_pack("{s:s, s:o, s:s, s:b}", "version", config->v2 ? "V2" : "V1",
				   "network_interfaces", names_of_served(vm), "ipv4_address",
				   address, "imds_compat", config->imds_compat),
			 err);
}

int controller_keep_config(struct controller *controller, const struct vm_config *vm,
			   struct error *err)
{
	int ret;

	controller->drive_count = controller->net_count = controller->pmem_count = 0;
	keep_machine(controller, vm);
	if ((ret = keep_boot(controller, vm, err)) < 0 ||
	    (ret = keep_drives(controller, vm, err)) < 0 ||
	    (ret = keep_nets(controller, vm, err)) < 0 ||
	    (ret = keep_pmems(controller, vm, err)) < 0 ||
	    (ret = keep_vsock(controller, vm, err)) < 0)
		return ret;
	return vm->no_rng ? 0
			  : kept_make(&controller->entropy, &entropy_fields,
				      json_pack("{s:o}", "rate_limiter", rate_tree(&vm->rng.rate)),
				      err);
}
