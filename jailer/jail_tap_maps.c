/* The maps of a tap's program, by their pins: changed while the guest runs. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>

#include "jailer/bpf/tap.h"
#include "jailer/jail_bpf.h"

static int open_map(const char *id, const char *tap, const char *name, struct error *err)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), JAIL_BPF_DIR "/%s/%s/%s", id, tap, name);
	fd = bpf_obj_get(path);
	if (fd < 0)
		return error_set_errno(err, fd, "id %s: the tap %s has no policy at %s", id, tap,
				       path);
	return fd;
}

int jail_tap_maps_open(struct jail_tap_maps *maps, const char *id, const char *tap,
		       struct error *err)
{
	*maps = (struct jail_tap_maps){ -1, -1, -1, -1 };
	if ((maps->config = open_map(id, tap, "config", err)) < 0 ||
	    (maps->sources = open_map(id, tap, "sources", err)) < 0 ||
	    (maps->egress = open_map(id, tap, "egress", err)) < 0 ||
	    (maps->drops = open_map(id, tap, "drops", err)) < 0) {
		jail_tap_maps_close(maps);
		return err->code;
	}
	return 0;
}

void jail_tap_maps_close(struct jail_tap_maps *maps)
{
	close_fd(&maps->config);
	close_fd(&maps->sources);
	close_fd(&maps->egress);
	close_fd(&maps->drops);
}

static int set_config(const struct jail_tap_maps *maps, const struct tap_config *config,
		      struct error *err)
{
	const uint32_t index = 0;
	int ret = bpf_map_update_elem(maps->config, &index, config, BPF_ANY);

	return ret < 0 ? error_set_errno(err, ret, "cannot set the policy of a tap") : 0;
}

int jail_tap_set_config(const struct jail_tap_maps *maps, const uint8_t *mac, bool check_sources,
			bool deny_otherwise, struct error *err)
{
	struct tap_config config = { .check_sources = check_sources,
				     .otherwise = deny_otherwise ? TAP_DENY : TAP_ALLOW };

	memcpy(config.mac, mac, sizeof(config.mac));
	return set_config(maps, &config, err);
}

static int get_config(const struct jail_tap_maps *maps, struct tap_config *config,
		      struct error *err)
{
	const uint32_t index = 0;
	int ret = bpf_map_lookup_elem(maps->config, &index, config);

	return ret < 0 ? error_set_errno(err, ret, "cannot read the policy of a tap") : 0;
}

int jail_tap_set_otherwise(const struct jail_tap_maps *maps, bool deny, struct error *err)
{
	struct tap_config config;
	int ret = get_config(maps, &config, err);

	config.otherwise = deny ? TAP_DENY : TAP_ALLOW;
	return ret < 0 ? ret : set_config(maps, &config, err);
}

/* Sources ---------------------------------------------------------------------------------------*/

int jail_tap_add_source(const struct jail_tap_maps *maps, const struct in6_addr *address,
			struct error *err)
{
	const uint8_t yes = 1;
	struct tap_config config;
	int ret = bpf_map_update_elem(maps->sources, address, &yes, BPF_ANY);

	if (ret < 0)
		return error_set_errno(err, ret,
				       "cannot add an address to a tap, which has at most %u",
				       TAP_SOURCES_MAX);
	ret = get_config(maps, &config, err);
	if (ret < 0 || config.check_sources)
		return ret;
	config.check_sources = 1;
	return set_config(maps, &config, err);
}

int jail_tap_remove_source(const struct jail_tap_maps *maps, const struct in6_addr *address,
			   struct error *err)
{
	int ret = bpf_map_delete_elem(maps->sources, address);

	return ret < 0 ? error_set_errno(err, ret, "the tap has no such address") : 0;
}

/* Egress ----------------------------------------------------------------------------------------*/

static struct tap_prefix key_of(const struct jail_egress *rule)
{
	struct tap_prefix key = { .length = 8 + rule->length, .family = rule->is_ipv4 ? 4 : 6 };

	memcpy(key.address.bytes, &rule->address, sizeof(key.address.bytes));
	return key;
}

/* A range of ports adds to what the prefix has; without any, the rest of the prefix is as the default says,
 * turned round: allowing a port alone means that the others are not. */
static int add_ports(struct tap_rule *rule, bool is_new, const struct jail_egress *egress)
{
	if (is_new)
		rule->verdict = egress->deny ? TAP_ALLOW : TAP_DENY;
	if (rule->count == TAP_PORTS_MAX)
		return -E2BIG;
	rule->ports[rule->count++] = (struct tap_ports){
		.low = egress->low,
		.high = egress->high,
		.protocol = egress->protocol,
		.verdict = egress->deny ? TAP_DENY : TAP_ALLOW,
	};
	return 0;
}

/* The trie finds the longest prefix, so look for exactly this one. */
static bool find_exactly(const struct jail_tap_maps *maps, const struct tap_prefix *key,
			 struct tap_rule *rule)
{
	struct tap_prefix at, *previous = NULL, next;

	while (bpf_map_get_next_key(maps->egress, previous, &next) == 0) {
		if (memcmp(&next, key, sizeof(next)) == 0)
			return bpf_map_lookup_elem(maps->egress, key, rule) == 0;
		at = next;
		previous = &at;
	}
	return false;
}

int jail_tap_add_egress(const struct jail_tap_maps *maps, const struct jail_egress *egress,
			struct error *err)
{
	const struct tap_prefix key = key_of(egress);
	struct tap_rule rule = { 0 };
	bool is_new = !find_exactly(maps, &key, &rule);
	int ret = 0;

	if (egress->protocol)
		ret = add_ports(&rule, is_new, egress);
	else
		rule.verdict = egress->deny ? TAP_DENY : TAP_ALLOW;
	if (ret < 0)
		return error_set(err, E2BIG, "a prefix has at most %u ranges of ports",
				 TAP_PORTS_MAX);
	ret = bpf_map_update_elem(maps->egress, &key, &rule, BPF_ANY);
	return ret < 0 ? error_set_errno(err, ret,
					 "cannot add a prefix to a tap, which has at most "
					 "%u",
					 TAP_PREFIXES_MAX)
		       : 0;
}

int jail_tap_remove_egress(const struct jail_tap_maps *maps, const struct jail_egress *egress,
			   struct error *err)
{
	const struct tap_prefix key = key_of(egress);
	int ret = bpf_map_delete_elem(maps->egress, &key);

	return ret < 0 ? error_set_errno(err, ret, "the tap has no such prefix") : 0;
}

int jail_tap_print_drops(const struct jail_tap_maps *maps, struct error *err)
{
	static const char *const names[] = TAP_DROP_NAMES;
	int cpus = libbpf_num_possible_cpus();
	uint64_t *counts cleanup_free = calloc(cpus > 0 ? (size_t)cpus : 1, sizeof(*counts));

	if (cpus <= 0 || !counts)
		return error_set(err, ENOMEM, "cannot count the drops");
	for (uint32_t reason = 0; reason < TAP_DROPS; reason++) {
		uint64_t sum = 0;
		int ret = bpf_map_lookup_elem(maps->drops, &reason, counts);

		if (ret < 0)
			return error_set_errno(err, ret, "cannot count the drops");
		for (int cpu = 0; cpu < cpus; cpu++)
			sum += counts[cpu];
		printf("%s %lu\n", names[reason], sum);
	}
	return 0;
}
