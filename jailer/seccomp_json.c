/* Firecracker's filter files: {"vmm": {default_action, filter_action, filter: [{syscall, args}]}, ...}. */
#include <jansson.h>
#include <seccomp.h>
#include <string.h>

#include "jailer/seccomp_policy.h"

/* Its api thread does what our control thread does too; its vmm thread what control and io do. */
static const struct {
	const char *name;
	enum thread_kind kinds[2];
	unsigned int count;
} threads[] = {
	{ "vmm", { THREAD_CONTROL, THREAD_IO }, 2 },
	{ "api", { THREAD_CONTROL }, 1 },
	{ "vcpu", { THREAD_VCPU }, 1 },
};

struct json_parser {
	struct seccomp_policy *policy;
	const char *name, *thread;
	struct error *err;
};

static int complain(const struct json_parser *parser, const char *what, const char *word)
{
	return error_set(parser->err, EINVAL, "%s: %s: %s '%s'", parser->name, parser->thread, what,
			 word ? word : "");
}

static int parse_action(const struct json_parser *parser, const json_t *json,
			struct seccomp_action *action)
{
	static const struct {
		const char *name;
		enum seccomp_what what;
	} known[] = { { "allow", SECCOMP_DO_ALLOW },
		      { "trap", SECCOMP_DO_TRAP },
		      { "kill_process", SECCOMP_DO_KILL },
		      { "kill_thread", SECCOMP_DO_KILL },
		      { "log", SECCOMP_DO_LOG } };
	const char *word = json_string_value(json);
	json_int_t number;

	for (size_t i = 0; word && i < ARRAY_SIZE(known); i++) {
		if (strcmp(word, known[i].name) != 0)
			continue;
		*action = (struct seccomp_action){ known[i].what, 0 };
		return 0;
	}
	number = json_integer_value(json_object_get(json, "errno"));
	if (number <= 0 || number > 4095)
		return complain(parser, "an action that is not known:", word);
	*action = (struct seccomp_action){ SECCOMP_DO_ERRNO, (uint16_t)number };
	return 0;
}

static int parse_masked(const struct json_parser *parser, const json_t *op,
			struct seccomp_condition *condition)
{
	const json_t *mask = json_object_get(op, "masked_eq");

	if (!json_is_integer(mask))
		return complain(parser, "a test that is not known:", json_string_value(op));
	condition->test = SECCOMP_MASKED;
	condition->mask = (uint64_t)json_integer_value(mask);
	condition->value &= condition->mask;
	return 0;
}

/* Of a dword the kernel looks at the lower half, a filter of libseccomp's at the whole: what demands little of
 * the value could be got around by way of the upper half. */
static bool is_sound(const struct seccomp_condition *condition, bool is_dword)
{
	return !is_dword ||
	       (condition->test != SECCOMP_NOT_EQUAL && condition->test != SECCOMP_GREATER &&
		condition->test != SECCOMP_GREATER_OR_EQUAL);
}

static int parse_arg(const struct json_parser *parser, const json_t *json,
		     struct seccomp_condition *condition)
{
	static const char *const tests[] = { "eq", "ne", "lt", "le", "gt", "ge" };
	const json_t *index = json_object_get(json, "index"), *value = json_object_get(json, "val");
	const json_t *op = json_object_get(json, "op");
	const char *type = json_string_value(json_object_get(json, "type"));
	const char *test = json_string_value(op);
	bool is_dword = type && strcmp(type, "dword") == 0;
	int ret = -1;

	if (!json_is_integer(index) || json_integer_value(index) < 0 ||
	    json_integer_value(index) > 5 || !json_is_integer(value) ||
	    (!is_dword && (!type || strcmp(type, "qword") != 0)))
		return complain(parser, "an argument without index, type or val of op", test);
	*condition = (struct seccomp_condition){ .arg = (uint8_t)json_integer_value(index),
						 .value = (uint64_t)json_integer_value(value) };
	for (size_t i = 0; test && i < ARRAY_SIZE(tests); i++) {
		if (strcmp(test, tests[i]) != 0)
			continue;
		condition->test = (enum seccomp_test)i;
		ret = 0;
	}
	if (ret < 0)
		ret = parse_masked(parser, op, condition);
	if (ret == 0 && !is_sound(condition, is_dword))
		return complain(parser,
				"a dword can be tested with eq, lt, le and masked_eq, not with",
				test);
	return ret;
}

static int parse_args(const struct json_parser *parser, const json_t *args,
		      struct seccomp_rule *rule)
{
	for (size_t i = 0; i < json_array_size(args); i++) {
		int ret;

		if (rule->count == SECCOMP_CONDITIONS_MAX)
			return complain(parser, "too many arguments", "");
		ret = parse_arg(parser, json_array_get(args, i), &rule->conditions[rule->count]);
		if (ret < 0)
			return ret;
		for (unsigned int j = 0; j < rule->count; j++)
			if (rule->conditions[j].arg == rule->conditions[rule->count].arg)
				return complain(parser, "two tests of one argument", "");
		rule->count++;
	}
	return 0;
}

static int parse_rule(const struct json_parser *parser, const json_t *json,
		      struct seccomp_action action, struct seccomp_rule *rule)
{
	const char *word = json_string_value(json_object_get(json, "syscall"));
	const json_t *args = json_object_get(json, "args");

	*rule = (struct seccomp_rule){ .action = action };
	rule->syscall = word ? seccomp_syscall_resolve_name(word) : -1;
	if (rule->syscall < 0)
		return complain(parser, "no such system call:", word);
	if (args && !json_is_array(args))
		return complain(parser, "args is no list, of", word);
	return parse_args(parser, args, rule);
}

static int parse_thread(struct json_parser *parser, const json_t *json,
			const enum thread_kind *kinds, unsigned int kind_count)
{
	const json_t *filter = json_object_get(json, "filter");
	struct seccomp_action otherwise, action;
	int ret = parse_action(parser, json_object_get(json, "default_action"), &otherwise);

	if (ret == 0)
		ret = parse_action(parser, json_object_get(json, "filter_action"), &action);
	if (ret == 0 && !json_is_array(filter))
		ret = complain(parser, "there is no list", "filter");
	for (unsigned int k = 0; k < kind_count && ret == 0; k++)
		parser->policy->kinds[kinds[k]].otherwise = otherwise;
	for (size_t i = 0; ret == 0 && i < json_array_size(filter); i++) {
		struct seccomp_rule rule;

		ret = parse_rule(parser, json_array_get(filter, i), action, &rule);
		rule.line = (unsigned int)i + 1;
		for (unsigned int k = 0; k < kind_count && ret == 0; k++)
			if (seccomp_list_add(&parser->policy->kinds[kinds[k]], &rule) < 0)
				ret = complain(parser, "no room for the rules", "");
	}
	return ret;
}

int seccomp_policy_parse_json(struct seccomp_policy *policy, const char *name, const char *text,
			      size_t len, struct error *err)
{
	struct json_parser parser = { policy, name, "", err };
	json_error_t problem;
	json_t *json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &problem);
	int ret = 0;

	*policy = (struct seccomp_policy){ 0 };
	if (!json)
		return error_set(err, EINVAL, "%s:%d: %s", name, problem.line, problem.text);
	for (size_t i = 0; i < ARRAY_SIZE(threads) && ret == 0; i++) {
		const json_t *thread = json_object_get(json, threads[i].name);

		parser.thread = threads[i].name;
		ret = json_is_object(thread)
			      ? parse_thread(&parser, thread, threads[i].kinds, threads[i].count)
			      : complain(&parser, "there is no object", "");
	}
	json_decref(json);
	return ret;
}
