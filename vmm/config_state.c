#include "vmm/config_state.h"

#include <string.h>

/* Tables ------------------------------------------------------------------------------------------*/

static const struct state_field bucket_fields[] = {
	STATE_FIELD(struct bucket_config, size, STATE_U64, 1),
	STATE_FIELD(struct bucket_config, one_time_burst, STATE_U64, 1),
	STATE_FIELD(struct bucket_config, refill_ms, STATE_U64, 1),
};

static const struct state_desc bucket_desc = STATE_DESC("bucket", struct bucket_config, 1,
							bucket_fields);

static const struct state_field rate_fields[] = {
	STATE_NESTED(struct rate_config, bytes, &bucket_desc, 1),
	STATE_NESTED(struct rate_config, ops, &bucket_desc, 1),
};

static const struct state_desc rate_desc = STATE_DESC("rate", struct rate_config, 1, rate_fields);

#define DRIVE(member, kind) STATE_FIELD(struct saved_drive, member, kind, 1)

static const struct state_field drive_fields[] = {
	DRIVE(id, STATE_STRING),
	DRIVE(path, STATE_STRING),
	DRIVE(read_only, STATE_BOOL),
	DRIVE(direct, STATE_BOOL),
	DRIVE(unsafe, STATE_BOOL),
	DRIVE(num_queues, STATE_U32),
	DRIVE(queue_size, STATE_U32),
	DRIVE(loop, STATE_U32),
	STATE_FIELD(struct saved_drive, async, STATE_BOOL, 3),
	STATE_FIELD(struct saved_drive, partuuid, STATE_STRING, 3),
	STATE_NESTED(struct saved_drive, rate, &rate_desc, 1),
};

static const struct state_desc drive_desc = STATE_DESC("drive", struct saved_drive, 3,
						       drive_fields);

#define NET(member, kind) STATE_FIELD(struct saved_net, member, kind, 1)

static const struct state_field net_fields[] = {
	NET(id, STATE_STRING),
	NET(tap, STATE_STRING),
	NET(has_mac, STATE_BOOL),
	NET(antispoof, STATE_BOOL),
	STATE_FIELD(struct saved_net, mmds, STATE_BOOL, 2),
	NET(mac, STATE_BYTES),
	NET(mtu, STATE_U16),
	NET(queue_pairs, STATE_U32),
	NET(queue_size, STATE_U32),
	STATE_NESTED(struct saved_net, rx_rate, &rate_desc, 1),
	STATE_NESTED(struct saved_net, tx_rate, &rate_desc, 1),
};

static const struct state_desc net_desc = STATE_DESC("net", struct saved_net, 2, net_fields);

#define PMEM(member, kind) STATE_FIELD(struct saved_pmem, member, kind, 1)

static const struct state_field pmem_fields[] = {
	PMEM(id, STATE_STRING),
	PMEM(path, STATE_STRING),
	PMEM(read_only, STATE_BOOL),
	PMEM(root, STATE_BOOL),
	STATE_NESTED(struct saved_pmem, rate, &rate_desc, 1),
};

static const struct state_desc pmem_desc = STATE_DESC("pmem", struct saved_pmem, 1, pmem_fields);

#define BALLOON(member, kind) STATE_FIELD(struct balloon_config, member, kind, 1)

static const struct state_field balloon_fields[] = {
	BALLOON(target_mib, STATE_U32),		BALLOON(deflate_on_oom, STATE_BOOL),
	BALLOON(stats_interval_s, STATE_U32),	BALLOON(free_page_reporting, STATE_BOOL),
	BALLOON(free_page_hinting, STATE_BOOL),
};

static const struct state_desc balloon_desc = STATE_DESC("balloon", struct balloon_config, 1,
							 balloon_fields);

#define CONFIG(member, kind) STATE_FIELD(struct saved_config, member, kind, 1)
#define NAMED(field, member, kind)                                             \
	{                                                                      \
		.name = field, .type = kind,                                   \
		.offset = (uint32_t)offsetof(struct saved_config, member),     \
		.size = STATE_SIZEOF(struct saved_config, member), .since = 1, \
	}

static const struct state_field config_fields[] = {
	CONFIG(memory, STATE_U64),
	CONFIG(vcpus, STATE_U32),
	STATE_FIELD(struct saved_config, pages, STATE_U32, 2),
	STATE_FIELD(struct saved_config, smt, STATE_BOOL, 3),
	STATE_FIELD(struct saved_config, kernel, STATE_STRING, 3),
	STATE_FIELD(struct saved_config, initrd, STATE_STRING, 3),
	STATE_FIELD(struct saved_config, boot_args, STATE_STRING, 3),
	CONFIG(has_rootfs, STATE_BOOL),
	CONFIG(has_vsock, STATE_BOOL),
	CONFIG(has_balloon, STATE_BOOL),
	CONFIG(has_rng, STATE_BOOL),
	STATE_TABLE(struct saved_config, drives, drive_count, &drive_desc, 1),
	STATE_TABLE(struct saved_config, nets, net_count, &net_desc, 1),
	STATE_TABLE(struct saved_config, pmems, pmem_count, &pmem_desc, 1),
	NAMED("vsock_id", vsock.id, STATE_STRING),
	NAMED("vsock_path", vsock.path, STATE_STRING),
	NAMED("vsock_cid", vsock.cid, STATE_U32),
	STATE_NESTED(struct saved_config, balloon, &balloon_desc, 1),
	STATE_NESTED(struct saved_config, rng_rate, &rate_desc, 1),
};

const struct state_desc saved_config_desc = STATE_DESC("config", struct saved_config, 3,
						       config_fields);

/* To the file -------------------------------------------------------------------------------------*/

static int copy_name(char *to, size_t room, const char *from, struct error *err)
{
	size_t len = from ? strlen(from) : 0;

	if (len >= room)
		return error_set(err, ENAMETOOLONG, "'%.40s...' is too long for a snapshot", from);
	memcpy(to, from ? from : "", len);
	return 0;
}

static int save_drive(const struct drive_config *drive, struct saved_drive *out, struct error *err)
{
	int ret;

	*out = (struct saved_drive){
		.read_only = drive->read_only,
		.direct = drive->direct,
		.unsafe = drive->unsafe,
		.async = drive->async,
		.num_queues = drive->num_queues,
		.queue_size = drive->queue_size,
		.loop = drive->loop,
		.rate = drive->rate,
	};
	ret = copy_name(out->id, sizeof(out->id), drive->id, err);
	if (ret == 0)
		ret = copy_name(out->partuuid, sizeof(out->partuuid), drive->partuuid, err);
	return ret < 0 ? ret : copy_name(out->path, sizeof(out->path), drive->path, err);
}

static int save_net(const struct net_config *net, struct saved_net *out, struct error *err)
{
	int ret;

	*out = (struct saved_net){
		.has_mac = net->has_mac,
		.antispoof = net->antispoof,
		.mmds = net->mmds,
		.mtu = net->mtu,
		.queue_pairs = net->queue_pairs,
		.queue_size = net->queue_size,
		.rx_rate = net->rx_rate,
		.tx_rate = net->tx_rate,
	};
	memcpy(out->mac, net->mac, sizeof(out->mac));
	ret = copy_name(out->id, sizeof(out->id), net->id, err);
	return ret < 0 ? ret : copy_name(out->tap, sizeof(out->tap), net->tap, err);
}

static int save_pmem(const struct pmem_config *pmem, struct saved_pmem *out, struct error *err)
{
	int ret;

	*out = (struct saved_pmem){
		.read_only = pmem->read_only,
		.root = pmem->root,
		.rate = pmem->rate,
	};
	ret = copy_name(out->id, sizeof(out->id), pmem->id, err);
	return ret < 0 ? ret : copy_name(out->path, sizeof(out->path), pmem->path, err);
}

static int save_vsock(const struct vm_config *config, struct saved_config *out, struct error *err)
{
	const struct vsock_config *vsock = &config->vsock;
	int ret;

	if (!config->has_vsock)
		return 0;
	out->vsock.cid = vsock->cid;
	ret = copy_name(out->vsock.id, sizeof(out->vsock.id), vsock->id, err);
	return ret < 0 ? ret
		       : copy_name(out->vsock.path, sizeof(out->vsock.path), vsock->path, err);
}

static int save_boot(const struct vm_config *config, struct saved_config *out, struct error *err)
{
	int ret = copy_name(out->kernel, sizeof(out->kernel), config->kernel_path, err);

	if (ret == 0)
		ret = copy_name(out->initrd, sizeof(out->initrd), config->initrd_path, err);
	return ret < 0 ? ret
		       : copy_name(out->boot_args, sizeof(out->boot_args), config->cmdline, err);
}

int config_save(const struct vm_config *config, struct saved_config *out, struct error *err)
{
	int ret;

	memset(out, 0, sizeof(*out));
	out->memory = config->memory;
	out->vcpus = config->vcpus;
	out->pages = (uint32_t)config->pages;
	out->smt = config->smt;
	out->has_rootfs = config->has_rootfs;
	out->has_vsock = config->has_vsock;
	out->has_balloon = config->has_balloon;
	out->has_rng = !config->no_rng;
	out->balloon = config->balloon;
	out->rng_rate = config->rng.rate;
	out->drive_count = config->drive_count;
	out->net_count = config->net_count;
	out->pmem_count = config->pmem_count;
	ret = save_boot(config, out, err);
	for (unsigned int i = 0; i < config->drive_count && ret == 0; i++)
		ret = save_drive(&config->drives[i], &out->drives[i], err);
	for (unsigned int i = 0; i < config->net_count && ret == 0; i++)
		ret = save_net(&config->nets[i], &out->nets[i], err);
	for (unsigned int i = 0; i < config->pmem_count && ret == 0; i++)
		ret = save_pmem(&config->pmems[i], &out->pmems[i], err);
	return ret < 0 ? ret : save_vsock(config, out, err);
}

/* From the file -----------------------------------------------------------------------------------*/

static const char *or_null(const char *name)
{
	return *name ? name : NULL;
}

static void load_drive(const struct saved_drive *saved, struct drive_config *out)
{
	*out = (struct drive_config){
		.id = or_null(saved->id),
		.path = or_null(saved->path),
		.fd = -1,
		.read_only = saved->read_only,
		.may_be_empty = true, /* its guest knows */
		.direct = saved->direct,
		.unsafe = saved->unsafe,
		.async = saved->async,
		.partuuid = or_null(saved->partuuid),
		.num_queues = saved->num_queues,
		.queue_size = saved->queue_size,
		.loop = saved->loop,
		.rate = saved->rate,
	};
}

static void load_net(const struct saved_net *saved, struct net_config *out)
{
	*out = (struct net_config){
		.id = or_null(saved->id),
		.tap = or_null(saved->tap),
		.fd = -1,
		.has_mac = saved->has_mac,
		.mtu = saved->mtu,
		.antispoof = saved->antispoof,
		.mmds = saved->mmds,
		.queue_pairs = saved->queue_pairs,
		.queue_size = saved->queue_size,
		.rx_rate = saved->rx_rate,
		.tx_rate = saved->tx_rate,
	};
	memcpy(out->mac, saved->mac, sizeof(out->mac));
}

static void load_pmem(const struct saved_pmem *saved, struct pmem_config *out)
{
	*out = (struct pmem_config){
		.id = or_null(saved->id),
		.path = or_null(saved->path),
		.fd = -1,
		.read_only = saved->read_only,
		.root = saved->root,
		.rate = saved->rate,
	};
}

void config_load(const struct saved_config *saved, struct vm_config *out)
{
	*out = (struct vm_config){
		.vcpus = saved->vcpus,
		.pages = (enum guest_pages)saved->pages,
		.smt = saved->smt,
		.memory = saved->memory,
		.kernel_path = or_null(saved->kernel),
		.initrd_path = or_null(saved->initrd),
		.cmdline = or_null(saved->boot_args),
		.drive_count = saved->drive_count,
		.has_rootfs = saved->has_rootfs,
		.net_count = saved->net_count,
		.pmem_count = saved->pmem_count,
		.has_vsock = saved->has_vsock,
		.has_balloon = saved->has_balloon,
		.vsock = { .id = or_null(saved->vsock.id),
			   .path = saved->vsock.path,
			   .cid = saved->vsock.cid },
		.balloon = saved->balloon,
		.no_rng = !saved->has_rng,
		.rng = { .rate = saved->rng_rate },
		.console_fd = -1,
	};
	for (unsigned int i = 0; i < saved->drive_count; i++)
		load_drive(&saved->drives[i], &out->drives[i]);
	for (unsigned int i = 0; i < saved->net_count; i++)
		load_net(&saved->nets[i], &out->nets[i]);
	for (unsigned int i = 0; i < saved->pmem_count; i++)
		load_pmem(&saved->pmems[i], &out->pmems[i]);
}
