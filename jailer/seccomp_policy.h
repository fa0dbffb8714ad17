/*
 * A seccomp policy as people write it, one line a rule, and as data. A file has a section for each kind of
 * thread, [control], [io] and [vcpu], and maybe [all], which is added to each of them:
 *
 *   SYSCALL [CONDITION [and CONDITION]...] [errno NAME] [rare]   # REASON
 *
 * CONDITION: argN == VALUE | argN <= VALUE | argN & MASK == VALUE, N from 0 to 5, values as numbers or by the
 * name that C has for them. What no line allows traps. `errno` lets the call fail instead; `rare` says that
 * the tests need not come by it (tests/jail/policy-used fails for any other that none uses). A reason is a must.
 */
#pragma once

#include "base/error.h"
#include "base/thread.h"

#define SECCOMP_CONDITIONS_MAX 6
#define SECCOMP_RULES_MAX 512 /* of a kind */

enum seccomp_test {
	SECCOMP_EQUAL,
	SECCOMP_NOT_EQUAL, /* the last five from Firecracker's files alone */
	SECCOMP_LESS,
	SECCOMP_LESS_OR_EQUAL,
	SECCOMP_GREATER,
	SECCOMP_GREATER_OR_EQUAL,
	SECCOMP_MASKED, /* (argument & mask) == value */
};

struct seccomp_condition {
	uint8_t arg;
	enum seccomp_test test;
	uint64_t mask, value;
};

enum seccomp_what {
	SECCOMP_DO_ALLOW,
	SECCOMP_DO_TRAP,
	SECCOMP_DO_ERRNO, /* with the number */
	SECCOMP_DO_LOG,	  /* allow, and the kernel writes a line */
	SECCOMP_DO_KILL,
};

struct seccomp_action {
	enum seccomp_what what;
	uint16_t number;
};

struct seccomp_rule {
	int syscall;
	struct seccomp_action action;
	unsigned int count; /* of conditions; all must hold */
	struct seccomp_condition conditions[SECCOMP_CONDITIONS_MAX];
	bool rare;
	unsigned int line;
};

struct seccomp_list {
	struct seccomp_rule *rules;
	unsigned int count;
	struct seccomp_action otherwise;
};

struct seccomp_policy {
	struct seccomp_list kinds[THREAD_KINDS];
};

/*
 * Parses our text. -EINVAL and *err with the line. The name is for messages. Free the policy in either case.
 */
must_check int seccomp_policy_parse(struct seccomp_policy *policy, const char *name,
				    const char *text, size_t len, struct error *err);

/* The same for Firecracker's JSON: its thread vmm is our control and io, its api is control too. */
must_check int seccomp_policy_parse_json(struct seccomp_policy *policy, const char *name,
					 const char *text, size_t len, struct error *err);

void seccomp_policy_free(struct seccomp_policy *policy);

/* Adds a copy of the rule. -ENOMEM, -E2BIG. */
must_check int seccomp_list_add(struct seccomp_list *list, const struct seccomp_rule *rule);

/* jailer/seccomp_names.c: the value of a C constant; false when the name is not known. */
bool seccomp_constant(const char *name, uint64_t *out);
