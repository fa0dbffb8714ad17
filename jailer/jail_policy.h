/* `mayfly-jailer policy`: changes what a running instance's tap lets through, without touching the instance. */
#pragma once

#include "jailer/jail_bpf.h"

#define JAIL_POLICY_CHANGES_MAX 64

enum jail_policy_verb {
	JAIL_POLICY_ALLOW,
	JAIL_POLICY_DENY,
	JAIL_POLICY_REMOVE,
	JAIL_POLICY_ADD_IP,
	JAIL_POLICY_REMOVE_IP,
	JAIL_POLICY_DEFAULT,
};

struct jail_policy_change {
	enum jail_policy_verb verb;
	struct jail_egress rule;
	struct in6_addr address;
	bool deny; /* of DEFAULT */
};

struct jail_policy {
	const char *id, *tap;
	struct jail_policy_change changes[JAIL_POLICY_CHANGES_MAX];
	unsigned int count;
	bool show, help;
};

/* argv[0] is "policy". -EINVAL and *err; nothing is opened. */
must_check int jail_policy_parse(struct jail_policy *policy, int argc, char **argv,
				 struct error *err);

/* Makes the changes in their order, then shows the drops if asked to. What came before a failure stays. */
must_check int jail_policy_apply(const struct jail_policy *policy, struct error *err);

void jail_policy_help(void);
