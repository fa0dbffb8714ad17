/* `mayfly run`'s options as one request. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cmd/mayctl_run.h"
#include "vmm/layout.h"

/* Files -----------------------------------------------------------------------------------------*/

static json_t *by_path(const char *path, struct error *err)
{
	cleanup_free char *whole = realpath(path, NULL);

	if (whole)
		return json_string(whole);
	error_set_errno(err, errno, "%s", path);
	return NULL;
}

/* A file for reading, or for both if it can be; or a descriptor that we were started with. */
static json_t *file(struct ctl_run_files *files, const char *path, int fd, bool read_only,
		    struct error *err)
{
	int own;

	if (path && (!files->by_descriptor || files->count == MAYFLY_CLIENT_FDS_MAX))
		return by_path(path, err);
	if (files->count == MAYFLY_CLIENT_FDS_MAX) {
		error_set(err, EINVAL, "more than the %u descriptors that go with a request",
			  MAYFLY_CLIENT_FDS_MAX);
		return NULL;
	}
	own = path ? open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
		   : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0) {
		error_set_errno(err, errno, "cannot open %s", path ? path : "a descriptor");
		return NULL;
	}
	files->fds[files->count] = own;
	return json_pack("{s:i}", "fd", (int)files->count++);
}

void ctl_run_close_files(struct ctl_run_files *files)
{
	for (unsigned int i = 0; i < files->count; i++)
		close_fd(&files->fds[i]);
	files->count = 0;
}

/* Limits ----------------------------------------------------------------------------------------*/

static json_t *bucket(const struct bucket_config *config)
{
	if (!config->size || !config->refill_ms)
		return json_null();
	return json_pack("{s:I, s:I, s:I}", "size", (json_int_t)config->size, "one_time_burst",
			 (json_int_t)config->one_time_burst, "refill_time",
			 (json_int_t)config->refill_ms);
}

static json_t *rate(const struct rate_config *config)
{
	return json_pack("{s:o, s:o}", "bandwidth", bucket(&config->bytes), "ops",
			 bucket(&config->ops));
}

/* Devices ---------------------------------------------------------------------------------------*/

/* The root device is one by the command line, in the words that `mayfly run` has for it. */
static json_t *drive(const struct drive_config *config, unsigned int index,
		     struct ctl_run_files *files, struct error *err)
{
	json_t *image = file(files, config->path, config->fd, config->read_only, err);

	if (!image)
		return NULL;
	return json_pack(
		"{s:s, s:o, s:b, s:b, s:s, s:o, s:b, s:i, s:i, s:i}", "drive_id", drive_name(index),
		"path_on_host", image, "is_root_device", 0, "is_read_only", config->read_only,
		"cache_type", config->unsafe ? "Unsafe" : "Writeback", "rate_limiter",
		rate(&config->rate), "direct", config->direct, "num_queues", config->num_queues,
		"queue_size", config->queue_size, "loop", config->loop);
}

static json_t *net(const struct net_config *config, unsigned int index, struct ctl_run_files *files,
		   struct error *err)
{
	json_t *tap = config->tap ? json_string(config->tap)
				  : file(files, NULL, config->fd, false, err);
	const uint8_t *m = config->mac;
	char mac[18];

	if (!tap)
		return NULL;
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	return json_pack("{s:s, s:o, s:s?, s:o, s:o, s:o, s:b, s:i}", "iface_id", net_name(index),
			 "host_dev_name", tap, "guest_mac", config->has_mac ? mac : NULL, "mtu",
			 config->mtu ? json_integer(config->mtu) : json_null(), "rx_rate_limiter",
			 rate(&config->rx_rate), "tx_rate_limiter", rate(&config->tx_rate),
			 "antispoof", config->antispoof, "queue_pairs", config->queue_pairs);
}

static json_t *pmem(const struct pmem_config *config, unsigned int index,
		    struct ctl_run_files *files, struct error *err)
{
	json_t *image = file(files, config->path, config->fd, config->read_only, err);
	char id[16];

	if (!image)
		return NULL;
	snprintf(id, sizeof(id), "pmem%u", index);
	return json_pack("{s:s, s:o, s:b, s:b, s:o}", "id", id, "path_on_host", image,
			 "root_device", 0, "read_only", config->read_only, "rate_limiter",
			 rate(&config->rate));
}

static int add_devices(json_t *config, const struct vm_config *vm, struct ctl_run_files *files,
		       struct error *err)
{
	json_t *drives = json_array(), *nets = json_array(), *pmems = json_array();

	json_object_set_new(config, "drives", drives);
	json_object_set_new(config, "network-interfaces", nets);
	json_object_set_new(config, "pmem", pmems);
	for (unsigned int i = 0; i < vm->drive_count; i++)
		if (json_array_append_new(drives, drive(&vm->drives[i], i, files, err)) < 0)
			return err->code;
	for (unsigned int i = 0; i < vm->net_count; i++)
		if (json_array_append_new(nets, net(&vm->nets[i], i, files, err)) < 0)
			return err->code;
	for (unsigned int i = 0; i < vm->pmem_count; i++)
		if (json_array_append_new(pmems, pmem(&vm->pmems[i], i, files, err)) < 0)
			return err->code;
	return 0;
}

static int add_others(json_t *config, const struct run_options *options)
{
	const struct vm_config *vm = &options->vm;
	const struct balloon_config *balloon = &vm->balloon;
	int ret = 0;

	if (vm->has_balloon)
		ret |= json_object_set_new(
			config, "balloon",
			json_pack("{s:I, s:b, s:I, s:b, s:b}", "amount_mib",
				  (json_int_t)balloon->target_mib, "deflate_on_oom",
				  balloon->deflate_on_oom, "stats_polling_interval_s",
				  (json_int_t)balloon->stats_interval_s, "free_page_hinting",
				  balloon->free_page_hinting, "free_page_reporting",
				  balloon->free_page_reporting));
	if (vm->has_vsock)
		ret |= json_object_set_new(config, "vsock",
					   json_pack("{s:I, s:s}", "guest_cid",
						     (json_int_t)vm->vsock.cid, "uds_path",
						     vm->vsock.path));
	if (!vm->no_rng)
		ret |= json_object_set_new(config, "entropy",
					   json_pack("{s:o}", "rate_limiter", rate(&vm->rng.rate)));
	return ret;
}

static void add_metadata(json_t *config, const struct run_options *options)
{
	const struct mmds_config *mmds = &options->metadata.config;
	json_t *names = json_array();
	char address[INET_ADDRSTRLEN];

	for (unsigned int i = 0; i < options->vm.net_count; i++)
		json_array_append_new(names, json_string(net_name(i)));
	inet_ntop(AF_INET, mmds->ipv4, address, sizeof(address));
	json_object_set_new(config, "mmds-config",
			    json_pack("{s:o, s:s, s:s}", "network_interfaces", names, "version",
				      mmds->v2 ? "V2" : "V1", "ipv4_address", address));
}

/* The kernel ------------------------------------------------------------------------------------*/

/* All of the command line but the devices of a guest without ACPI, which the microVM's process adds. */
static int add_boot(json_t *config, const struct vm_config *vm, struct ctl_run_files *files,
		    struct error *err)
{
	char text[LAYOUT_CMDLINE_MAX];
	json_t *kernel, *initrd = json_null();
	int ret = vm_config_cmdline(vm, NULL, 0, text, err);

	if (ret < 0)
		return ret;
	kernel = file(files, vm->kernel_path, -1, true, err);
	if (kernel && vm->initrd_path)
		initrd = file(files, vm->initrd_path, -1, true, err);
	if (!kernel || !initrd) {
		json_decref(kernel);
		return err->code;
	}
	return json_object_set_new(config, "boot-source",
				   json_pack("{s:o, s:o, s:s}", "kernel_image_path", kernel,
					     "initrd_path", initrd, "boot_args", text));
}

json_t *ctl_run_config(const struct run_options *options, struct ctl_run_files *files,
		       struct error *err)
{
	const struct vm_config *vm = &options->vm;
	json_t *config = json_object();

	/* What makes jansson refuse a value that nobody else has found fault with. */
	error_set(err, EINVAL, "a path or a text is not UTF-8");
	if (vm->memory % MIB(1)) {
		error_set(err, EINVAL, "--mem %s: over a socket it is a number of MiB",
			  options->mem);
		json_decref(config);
		return NULL;
	}
	json_object_set_new(config, "machine-config",
			    json_pack("{s:i, s:I}", "vcpu_count", vm->vcpus, "mem_size_mib",
				      (json_int_t)(vm->memory >> 20)));
	if (add_boot(config, vm, files, err) < 0 || add_devices(config, vm, files, err) < 0 ||
	    add_others(config, options) < 0) {
		json_decref(config);
		return NULL;
	}
	if (options->metadata.path)
		add_metadata(config, options);
	return config;
}
