#include "vmm/mmds/mmds.h"

static const struct state_field config_fields[] = {
	STATE_FIELD(struct mmds_config, v2, STATE_BOOL, 1),
	STATE_FIELD(struct mmds_config, imds_compat, STATE_BOOL, 1),
	STATE_FIELD(struct mmds_config, ipv4, STATE_BYTES, 1),
};

const struct state_desc mmds_config_desc = STATE_DESC("mmds", struct mmds_config, 1, config_fields);

bool mmds_address_ok(const uint8_t ipv4[4])
{
	return ipv4[0] == 169 && ipv4[1] == 254 && ipv4[2] >= 1 && ipv4[2] <= 254;
}

int mmds_create(struct mmds **out, size_t limit, struct error *err)
{
	struct mmds *mmds = calloc(1, sizeof(*mmds));
	int ret;

	if (!mmds)
		return error_set(err, ENOMEM, "metadata service: out of memory");
	mmds->config = (struct mmds_config){ .ipv4 = MMDS_ADDRESS_DEFAULT };
	ret = mmds_tokens_init(&mmds->tokens);
	if (!ret)
		ret = mmds_store_init(&mmds->store, limit);
	if (ret < 0) {
		free(mmds);
		return error_set_errno(err, ret, "metadata service");
	}
	*out = mmds;
	return 0;
}

void mmds_destroy(struct mmds *mmds)
{
	if (!mmds)
		return;
	mmds_store_fini(&mmds->store);
	free(mmds);
}
