/* /network-interfaces/{id}. */
#include <ctype.h>
#include <linux/if.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/methods.h"
#include "virtio/virtio_net.h"

#define CREATE_ERROR "Network config error: Could not create the network device: "
#define PATCH_ERROR "Network config error: Unable to update the net device: "

int parse_mac(const char *text, uint8_t mac[static 6])
{
	for (unsigned int i = 0; i < 6; i++) {
		const char *digits = text + i * 3;
		char byte[3] = "";

		/* One after the other: the text may end anywhere. */
		if (!isxdigit((unsigned char)digits[0]) || !isxdigit((unsigned char)digits[1]) ||
		    digits[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		memcpy(byte, digits, 2);
		mac[i] = (uint8_t)strtoul(byte, NULL, 16);
	}
	return 0;
}

int check_mac(const char *text, char *why, size_t size)
{
	uint8_t mac[6];

	snprintf(why, size, "The provided MAC address is invalid.");
	return parse_mac(text, mac);
}

static const struct field put_table[] = {
	FIELD(struct net_request, iface_id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
	FIELD(struct net_request, host_dev_name, FIELD_FILE, FIELD_REQUIRED,
	      .help = "the tap's name on the host"),
	FIELD(struct net_request, guest_mac, FIELD_STRING, FIELD_OPTIONAL, .check = check_mac,
	      .help = "its MAC address; one is made up when none is given"),
	FIELD(struct net_request, mtu, FIELD_U16, FIELD_OPTIONAL,
	      .help = "the MTU that the guest is told, 68 to 65535 bytes"),
	FIELD(struct net_request, rx_rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "how fast the guest may receive"),
	FIELD(struct net_request, tx_rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "how fast the guest may send"),
	FIELD(struct net_request, antispoof, FIELD_BOOL, FIELD_OPTIONAL, .silent = true,
	      .ours = true, .help = "drop what the guest sends from another MAC address"),
	FIELD(struct net_request, queue_pairs, FIELD_U8, FIELD_OPTIONAL, .silent = true,
	      .ours = true, .help = "of a tap that has as many, up to 8; 1 when not given"),
};

const struct field_set net_fields = FIELD_SET("NetworkInterfaceConfig", struct net_request,
					      put_table);

static const struct field patch_table[] = {
	FIELD(struct net_patch_request, iface_id, FIELD_ID, FIELD_REQUIRED, .help = "its name"),
	FIELD(struct net_patch_request, rx_rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "what changes of how fast the guest may receive"),
	FIELD(struct net_patch_request, tx_rate_limiter, FIELD_STRUCT, FIELD_OPTIONAL,
	      .sub = &rate_fields, .help = "what changes of how fast the guest may send"),
};

static const struct field_set patch_fields = FIELD_SET("NetworkInterfaceUpdateConfig",
						       struct net_patch_request, patch_table);

static const struct field name_table[] = {
	{ .name = "iface_id",
	  .type = FIELD_ID,
	  .need = FIELD_REQUIRED,
	  .offset = offsetof(struct name_request, id),
	  .help = "its name" },
};

static const struct field_set name_fields = FIELD_SET("NetworkInterface", struct name_request,
						      name_table);

/* Two interfaces, two addresses, two taps. */
static int check_unique(struct controller *controller, const struct net_request *net,
			unsigned int place, struct api_reply *reply)
{
	for (unsigned int i = 0; i < controller->net_count; i++) {
		const struct net_request *other = controller->nets[i].data;

		if (i == place)
			continue;
		if (net->guest_mac && other->guest_mac &&
		    strcasecmp(net->guest_mac, other->guest_mac) == 0)
			return reply_refuse(
				reply,
				"Network config error: The MAC address is already in use: %s",
				net->guest_mac);
		if (net->host_dev_name.path && other->host_dev_name.path &&
		    strcmp(net->host_dev_name.path, other->host_dev_name.path) == 0)
			return reply_refuse(
				reply,
				CREATE_ERROR
				"Open tap device failed: Error while creating ifreq structure: "
				"Device or resource busy (os error 16). Invalid TUN/TAP Backend "
				"provided by %s. Check our documentation on setting up the network "
				"devices.",
				net->host_dev_name.path);
	}
	return 0;
}

static int check_net(const struct net_request *net, struct api_reply *reply)
{
	if (net->host_dev_name.path && strlen(net->host_dev_name.path) >= IFNAMSIZ)
		return reply_refuse(reply,
				    CREATE_ERROR "Open tap device failed: Invalid interface name");
	if (net->mtu.given && net->mtu.value < 68)
		return reply_refuse(reply, CREATE_ERROR "MTU %lu is out of range [68, 65535]",
				    net->mtu.value);
	return 0;
}

static int put_net(struct controller *controller, struct api_request *request,
		   struct api_reply *reply)
{
	struct net_request *net = request->data;
	unsigned int place = kept_find(controller->nets, controller->net_count, net->iface_id);
	int ret;

	if (controller->phase != PHASE_NOT_STARTED)
		return reply_refuse(reply, "PCI is not enabled");
	if (place == VM_NETS_MAX)
		return reply_refuse(reply, CREATE_ERROR "more than %u interfaces.", VM_NETS_MAX);
	if ((ret = check_net(net, reply)) < 0 ||
	    (ret = check_unique(controller, net, place, reply)) < 0 ||
	    (ret = kept_take(&controller->nets[place], &net_fields, request, &reply->err)) < 0)
		return ret;
	compose_rate_kept(&net->rx_rate_limiter);
	compose_rate_kept(&net->tx_rate_limiter);
	if (place == controller->net_count)
		controller->net_count++;
	controller_judge_tap(controller, net->host_dev_name.path, net->host_dev_name.fd, true,
			     reply);
	return 0;
}

static int patch_net(struct controller *controller, struct api_request *request,
		     struct api_reply *reply)
{
	const struct net_patch_request *patch = request->data;
	unsigned int index = kept_find(controller->nets, controller->net_count, patch->iface_id);
	struct rate_update rx, tx;
	struct net_request *net;
	struct net_config *live;
	struct net_rates rates;
	struct error err;

	if (index == controller->net_count)
		return reply_refuse(reply, PATCH_ERROR
				    "Failed perform action on device: Device not found");
	compose_rate_update(&patch->rx_rate_limiter, &rx);
	compose_rate_update(&patch->tx_rate_limiter, &tx);
	rates = (struct net_rates){ rx.new_bytes, rx.new_ops, tx.new_bytes, tx.new_ops };
	if (virtio_net_set_rates(controller_device(controller, VIRTIO_ID_NET, index), &rates,
				 &err) < 0)
		return reply_refuse(reply, PATCH_ERROR "%s", err.text);
	net = controller->nets[index].data;
	live = &controller->live->nets[index];
	compose_rate_patched(&patch->rx_rate_limiter, &net->rx_rate_limiter, &live->rx_rate);
	compose_rate_patched(&patch->tx_rate_limiter, &net->tx_rate_limiter, &live->tx_rate);
	return 0;
}

static const struct method methods[] = {
	{
		.name = "net.put",
		.metric = "network",
		.verb = API_PUT,
		.path = "network-interfaces",
		.id_field = "iface_id",
		.names_ids = true,
		.phases = PHASES_ALL,
		.fields = &net_fields,
		.handle = put_net,
		.help = "Adds a network interface, or sets the one of this name anew",
	},
	{
		.name = "net.patch",
		.metric = "network",
		.verb = API_PATCH,
		.path = "network-interfaces",
		.id_field = "iface_id",
		.names_ids = true,
		.phases = PHASES_AFTER,
		.fields = &patch_fields,
		.calls_devices = true,
		.handle = patch_net,
		.help = "Gives a running interface other limits",
	},
	{
		.name = "net.delete",
		.verb = API_DELETE,
		.path = "network-interfaces",
		.id_field = "iface_id",
		.phases = PHASES_AFTER,
		.fields = &name_fields,
		.handle = refuse_unplug,
		.help = "Refused: there is no PCI to unplug from",
	},
};

const struct method_group net_methods = METHOD_GROUP(methods);
