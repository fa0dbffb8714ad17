#include "jailer/jail_policy.h"

#include <stdio.h>
#include <string.h>

#include "jailer/jail_text.h"

void jail_policy_help(void)
{
	printf("Usage: mayfly-jailer policy --id ID --tap NAME [OPTION]...\n"
	       "\n"
	       "Changes what the guest behind a tap may send, while it runs. Options act in their order:\n"
	       "\n"
	       "  --allow RULE, --deny RULE\n"
	       "                     RULE is PREFIX[,tcp/PORT[-PORT]] or with udp. The longest prefix that\n"
	       "                     matches a target decides, in it the first range of ports. A first\n"
	       "                     range turns the rest of its prefix into the opposite\n"
	       "  --remove PREFIX    forget the prefix with all its ports\n"
	       "  --default allow|deny\n"
	       "                     where no prefix matches (allow, until set)\n"
	       "  --ip A, --remove-ip A\n"
	       "                     one more, or one less, address to send from; before the first all may\n"
	       "  --show             print how many frames were dropped, by reason\n"
	       "\n"
	       "Example: mayfly-jailer policy --id a1 --tap tap0 --default deny --allow 10.0.0.0/8,tcp/443\n");
}

static int parse_change(struct jail_policy_change *change, const char *option, char *value,
			struct error *err)
{
	switch (change->verb) {
	case JAIL_POLICY_ADD_IP:
	case JAIL_POLICY_REMOVE_IP:
		return jail_parse_address(option, value, &change->address, err);
	case JAIL_POLICY_DEFAULT:
		change->deny = strcmp(value, "deny") == 0;
		if (!change->deny && strcmp(value, "allow") != 0)
			return error_set(err, EINVAL, "--default: '%s' is neither allow nor deny",
					 value);
		return 0;
	default:
		if (jail_parse_egress(option, value, &change->rule, err) < 0)
			return -EINVAL;
		change->rule.deny = change->verb == JAIL_POLICY_DENY;
		if (change->verb == JAIL_POLICY_REMOVE && change->rule.protocol)
			return error_set(err, EINVAL, "--remove: a prefix goes with all its ports");
		return 0;
	}
}

static int add_change(struct jail_policy *policy, const char *option, char *value,
		      struct error *err)
{
	static const char *const verbs[] = {
		[JAIL_POLICY_ALLOW] = "--allow",	 [JAIL_POLICY_DENY] = "--deny",
		[JAIL_POLICY_REMOVE] = "--remove",	 [JAIL_POLICY_ADD_IP] = "--ip",
		[JAIL_POLICY_REMOVE_IP] = "--remove-ip", [JAIL_POLICY_DEFAULT] = "--default",
	};
	struct jail_policy_change *change = &policy->changes[policy->count];

	if (policy->count == JAIL_POLICY_CHANGES_MAX)
		return error_set(err, E2BIG, "policy: at most %u changes at once",
				 JAIL_POLICY_CHANGES_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (strcmp(option, verbs[i]) != 0)
			continue;
		*change = (struct jail_policy_change){ .verb = (enum jail_policy_verb)i };
		policy->count++;
		return parse_change(change, option, value, err);
	}
	return error_set(err, EINVAL,
			 "policy: unknown option '%s' (see mayfly-jailer policy --help)", option);
}

static int parse_option(struct jail_policy *policy, const char *option, char *value,
			struct error *err)
{
	if (!value)
		return error_set(err, EINVAL, "policy: '%s' is unknown or wants a value", option);
	if (strcmp(option, "--id") == 0) {
		policy->id = value;
		return 0;
	}
	if (strcmp(option, "--tap") == 0) {
		policy->tap = value;
		return 0;
	}
	return add_change(policy, option, value, err);
}

int jail_policy_parse(struct jail_policy *policy, int argc, char **argv, struct error *err)
{
	int ret = 0;

	*policy = (struct jail_policy){ 0 };
	for (int i = 1; i < argc && ret == 0; i++) {
		if (strcmp(argv[i], "--help") == 0)
			policy->help = true;
		else if (strcmp(argv[i], "--show") == 0)
			policy->show = true;
		else {
			ret = parse_option(policy, argv[i], argv[i + 1], err);
			i++;
		}
	}
	if (ret < 0 || policy->help)
		return ret;
	if (!policy->id || !policy->tap)
		return error_set(err, EINVAL, "policy: --id and --tap are a must");
	ret = jail_check_id("--id", policy->id, err);
	return ret < 0 ? ret : jail_check_name("--tap", policy->tap, err);
}

static int apply_one(const struct jail_tap_maps *maps, const struct jail_policy_change *change,
		     struct error *err)
{
	switch (change->verb) {
	case JAIL_POLICY_ADD_IP:
		return jail_tap_add_source(maps, &change->address, err);
	case JAIL_POLICY_REMOVE_IP:
		return jail_tap_remove_source(maps, &change->address, err);
	case JAIL_POLICY_DEFAULT:
		return jail_tap_set_otherwise(maps, change->deny, err);
	case JAIL_POLICY_REMOVE:
		return jail_tap_remove_egress(maps, &change->rule, err);
	default:
		return jail_tap_add_egress(maps, &change->rule, err);
	}
}

int jail_policy_apply(const struct jail_policy *policy, struct error *err)
{
	struct jail_tap_maps maps;
	int ret;

	jail_bpf_quiet();
	ret = jail_tap_maps_open(&maps, policy->id, policy->tap, err);
	for (unsigned int i = 0; i < policy->count && ret == 0; i++)
		ret = apply_one(&maps, &policy->changes[i], err);
	if (ret == 0 && policy->show)
		ret = jail_tap_print_drops(&maps, err);
	jail_tap_maps_close(&maps);
	return ret;
}
