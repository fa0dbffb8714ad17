/* /mmds and /mmds/config: the metadata service. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "api-socket/methods.h"
#include "vmm/mmds/mmds.h"

#define ADDRESS_DEFAULT "169.254.169.254" /* MMDS_ADDRESS_DEFAULT as a text */

static const char *const versions[] = { "V1", "V2", NULL };

static int check_address(const char *text, char *why, size_t size)
{
	struct in_addr address;

	snprintf(why, size, "invalid IPv4 address syntax");
	return inet_pton(AF_INET, text, &address) == 1 ? 0 : -EINVAL;
}

static const struct field config_table[] = {
	FIELD(struct mmds_config_request, version, FIELD_CHOICE, FIELD_DEFAULTED,
	      .choices = versions, .help = "V2 wants a token for each session"),
	FIELD(struct mmds_config_request, network_interfaces, FIELD_STRINGS, FIELD_REQUIRED,
	      .help = "the interfaces that it answers on"),
	FIELD(struct mmds_config_request, ipv4_address, FIELD_STRING, FIELD_OPTIONAL,
	      .check = check_address, .check_early = true, .expected = "IPv4 address",
	      .help = "its address; default " ADDRESS_DEFAULT),
	FIELD(struct mmds_config_request, imds_compat, FIELD_BOOL, FIELD_DEFAULTED,
	      .help = "answer in text, whatever was asked for"),
};

const struct field_set mmds_config_fields = FIELD_SET("MmdsConfig", struct mmds_config_request,
						      config_table);

/* The body is the data. */
struct data_request {
	bool given;
	json_t *data;
};

static const struct field data_table[] = {
	FIELD(struct data_request, data, FIELD_ANY, FIELD_REQUIRED, .help = "any JSON value"),
};

static const struct field_set data_fields = FIELD_SET("Value", struct data_request, data_table,
						      .whole = true);

/* It is made when it is first needed. */
static int need_mmds(struct controller *controller, struct api_reply *reply)
{
	if (controller->mmds)
		return 0;
	return mmds_create(&controller->mmds, controller->mmds_max, &reply->err);
}

/* Configuration ---------------------------------------------------------------------------------*/

#define CONFIG_ERROR "MMMDS config error: "

static bool is_version_1(const void *data)
{
	const struct mmds_config_request *config = data;

	return config->version.value == MMDS_V1;
}

static int check_interfaces(const struct controller *controller, const struct opt_list *names,
			    struct api_reply *reply)
{
	if (names->count == 0)
		return reply_refuse(reply, CONFIG_ERROR
				    "The list of network interface IDs that allow forwarding MMDS "
				    "requests is empty.");
	for (uint32_t i = 0; i < names->count; i++)
		if (kept_find(controller->nets, controller->net_count,
			      ((const char *const *)names->items)[i]) == controller->net_count)
			return reply_refuse(reply, CONFIG_ERROR
					    "The list of network interface IDs provided contains "
					    "at least one ID that does not correspond to any "
					    "existing network interface.");
	return 0;
}

static int put_config(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	struct mmds_config_request *config = request->data;
	struct mmds_config to = { .v2 = config->version.value == MMDS_V2,
				  .imds_compat = config->imds_compat.value };
	int ret;

	if (!config->ipv4_address)
		config->ipv4_address = ADDRESS_DEFAULT;
	inet_pton(AF_INET, config->ipv4_address, to.ipv4);
	if ((ret = check_interfaces(controller, &config->network_interfaces, reply)) < 0)
		return ret;
	if (!mmds_address_ok(to.ipv4))
		return reply_refuse(reply, CONFIG_ERROR "The MMDS IPv4 address is not link local.");
	if ((ret = need_mmds(controller, reply)) < 0 ||
	    (ret = kept_take(&controller->mmds_config, &mmds_config_fields, request, &reply->err)) <
		    0)
		return ret;
	controller->mmds->config = to;
	return 0;
}

bool controller_serves_mmds(const struct controller *controller, const char *iface_id)
{
	const struct mmds_config_request *config = controller->mmds_config.data;

	for (uint32_t i = 0; config && i < config->network_interfaces.count; i++)
		if (strcmp(((const char *const *)config->network_interfaces.items)[i], iface_id) ==
		    0)
			return true;
	return false;
}

/* Data ------------------------------------------------------------------------------------------*/

/* A microVM that was started without it has none. */
static int check_served(struct controller *controller, struct api_reply *reply)
{
	if (controller->phase != PHASE_NOT_STARTED && !controller->mmds_config.set)
		return reply_refuse(reply, "MMDS error: " MMDS_TEXT_NOT_INITIALIZED);
	return need_mmds(controller, reply);
}

static int finish(struct api_reply *reply, int ret)
{
	switch (ret) {
	case 0:
		return 0;
	case -EMSGSIZE:
		reply->too_large = true;
		return reply_refuse(reply, "MMDS limit exceeded error: " MMDS_TEXT_LIMIT);
	case -ENOENT:
		return reply_refuse(reply, "MMDS error: " MMDS_TEXT_NOT_INITIALIZED);
	case -E2BIG:
		return reply_refuse(reply, "MMDS error: The data is nested too deeply.");
	default:
		return reply_refuse(reply, "MMDS error: out of memory");
	}
}

static int put_data(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	const struct data_request *put = request->data;
	int ret = check_served(controller, reply);

	return ret < 0 ? ret : finish(reply, mmds_store_put(&controller->mmds->store, put->data));
}

static int patch_data(struct controller *controller, struct api_request *request,
		      struct api_reply *reply)
{
	const struct data_request *patch = request->data;
	int ret = check_served(controller, reply);

	return ret < 0 ? ret
		       : finish(reply, mmds_store_patch(&controller->mmds->store, patch->data));
}

static int get_data(struct controller *controller, struct api_request *request,
		    struct api_reply *reply)
{
	int ret = check_served(controller, reply);

	(void)request;
	return ret < 0 ? ret : reply_with(reply, mmds_store_document(&controller->mmds->store));
}

static const struct method methods[] = {
	{
		.name = "mmds.config",
		.metric = "mmds",
		.verb = API_PUT,
		.path = "mmds/config",
		.phases = PHASES_BEFORE,
		.fields = &mmds_config_fields,
		.is_deprecated = is_version_1,
		.handle = put_config,
		.help = "Lets the guest reach the metadata service",
	},
	{
		.name = "mmds.get",
		.metric = "mmds",
		.verb = API_GET,
		.path = "mmds",
		.phases = PHASES_ALL,
		.handle = get_data,
		.help = "The metadata",
	},
	{
		.name = "mmds.put",
		.metric = "mmds",
		.verb = API_PUT,
		.path = "mmds",
		.exact = true,
		.phases = PHASES_ALL,
		.fields = &data_fields,
		.handle = put_data,
		.help = "Sets the metadata",
	},
	{
		.name = "mmds.patch",
		.metric = "mmds",
		.verb = API_PATCH,
		.path = "mmds",
		.phases = PHASES_ALL,
		.fields = &data_fields,
		.handle = patch_data,
		.help = "Changes some of the metadata (RFC 7396)",
	},
};

const struct method_group mmds_methods = METHOD_GROUP(methods);
