#include "jailer/seccomp_policy.h"

#include <ctype.h>
#include <seccomp.h>
#include <string.h>

enum section { SECTION_NONE = -2, SECTION_ALL = -1 }; /* else an enum thread_kind */

struct parser {
	struct seccomp_policy *policy;
	const char *name;
	unsigned int line;
	int section;
	bool seen[THREAD_KINDS];
	char *at; /* the rest of the line */
	struct error *err;
};

static int complain(const struct parser *parser, const char *what, const char *word)
{
	return error_set(parser->err, EINVAL, "%s:%u: %s '%s'", parser->name, parser->line, what,
			 word);
}

/* The next word, or "" at the end. */
static const char *next_word(struct parser *parser)
{
	char *word = parser->at + strspn(parser->at, " \t\r");

	parser->at = word + strcspn(word, " \t\r");
	if (*parser->at)
		*parser->at++ = '\0';
	return word;
}

static int parse_value(struct parser *parser, const char *word, uint64_t *out)
{
	char *end;

	if (!isdigit((unsigned char)*word))
		return seccomp_constant(word, out) ? 0
						   : complain(parser, "no such constant:", word);
	errno = 0;
	*out = strtoull(word, &end, 0);
	return *end || errno ? complain(parser, "no number:", word) : 0;
}

/* argN == V, argN <= V, argN & M == V; the first word is given. */
static int parse_condition(struct parser *parser, const char *word, struct seccomp_rule *rule)
{
	struct seccomp_condition *condition = &rule->conditions[rule->count];
	const char *test;
	int ret;

	if (strncmp(word, "arg", 3) != 0 || word[3] < '0' || word[3] > '5' || word[4])
		return complain(parser, "expected argN, errno or rare, came", word);
	if (rule->count == SECCOMP_CONDITIONS_MAX)
		return complain(parser, "too many conditions at", word);
	*condition = (struct seccomp_condition){ .arg = (uint8_t)(word[3] - '0') };
	for (unsigned int i = 0; i < rule->count; i++)
		if (rule->conditions[i].arg == condition->arg)
			return complain(parser, "two conditions for", word);
	test = next_word(parser);
	if (strcmp(test, "&") == 0) {
		condition->test = SECCOMP_MASKED;
		ret = parse_value(parser, next_word(parser), &condition->mask);
		if (ret < 0)
			return ret;
		test = next_word(parser);
		if (strcmp(test, "==") != 0)
			return complain(parser, "expected == after the mask, came", test);
	} else if (strcmp(test, "==") == 0) {
		condition->test = SECCOMP_EQUAL;
	} else if (strcmp(test, "<=") == 0) {
		condition->test = SECCOMP_LESS_OR_EQUAL;
	} else {
		return complain(parser, "expected ==, <= or &, came", test);
	}
	rule->count++;
	return parse_value(parser, next_word(parser), &condition->value);
}

static int parse_errno(struct parser *parser, struct seccomp_rule *rule)
{
	uint64_t value = 0;
	const char *word = next_word(parser);
	int ret = parse_value(parser, word, &value);

	if (ret == 0 && (value == 0 || value > 4095))
		return complain(parser, "no error number:", word);
	rule->action = (struct seccomp_action){ SECCOMP_DO_ERRNO, (uint16_t)value };
	return ret;
}

static int parse_rest(struct parser *parser, struct seccomp_rule *rule)
{
	bool wants_condition = false;
	const char *word;
	int ret = 0;

	while (ret == 0 && *(word = next_word(parser))) {
		if (!wants_condition && strcmp(word, "rare") == 0) {
			rule->rare = true;
		} else if (!wants_condition && strcmp(word, "errno") == 0) {
			ret = parse_errno(parser, rule);
		} else if (rule->count && !wants_condition) {
			if (strcmp(word, "and") != 0)
				return complain(parser, "expected and, errno or rare, came", word);
			wants_condition = true;
		} else {
			ret = parse_condition(parser, word, rule);
			wants_condition = false;
		}
	}
	return ret == 0 && wants_condition ? complain(parser, "a condition is missing after", "and")
					   : ret;
}

static int add_rule(struct parser *parser, const struct seccomp_rule *rule)
{
	int ret = 0;

	for (int kind = 0; kind < THREAD_KINDS && ret == 0; kind++)
		if (parser->section == SECTION_ALL || parser->section == kind)
			ret = seccomp_list_add(&parser->policy->kinds[kind], rule);
	return ret < 0 ? error_set_errno(parser->err, ret, "%s:%u: no room for the rule",
					 parser->name, parser->line)
		       : 0;
}

static int parse_rule(struct parser *parser)
{
	struct seccomp_rule rule = { .line = parser->line };
	const char *word = next_word(parser);
	int ret;

	if (parser->section == SECTION_NONE)
		return complain(parser, "a rule outside of any section:", word);
	rule.syscall = seccomp_syscall_resolve_name(word);
	if (rule.syscall < 0)
		return complain(parser, "no such system call:", word);
	ret = parse_rest(parser, &rule);
	return ret < 0 ? ret : add_rule(parser, &rule);
}

static int parse_section(struct parser *parser)
{
	static const char *const names[] = { "[control]", "[io]", "[vcpu]" };
	const char *word = next_word(parser);

	if (*next_word(parser))
		return complain(parser, "more than a section's name after", word);
	parser->section = SECTION_NONE;
	if (strcmp(word, "[all]") == 0)
		parser->section = SECTION_ALL;
	for (int kind = 0; kind < THREAD_KINDS; kind++) {
		if (strcmp(word, names[kind]) != 0)
			continue;
		parser->section = kind;
		parser->seen[kind] = true;
	}
	return parser->section == SECTION_NONE ? complain(parser, "no such section:", word) : 0;
}

static bool is_blank(const char *text)
{
	return text[strspn(text, " \t\r")] == '\0';
}

static int parse_line(struct parser *parser, char *line)
{
	char *reason = strchr(line, '#');

	if (reason)
		*reason++ = '\0';
	if (is_blank(line))
		return 0;
	parser->at = line;
	if (line[strspn(line, " \t")] == '[')
		return parse_section(parser);
	if (!reason || is_blank(reason))
		return complain(parser, "a rule without a # reason:", line);
	return parse_rule(parser);
}

static int parse_lines(struct parser *parser, char *text)
{
	int ret = 0;

	for (char *line = text, *next; ret == 0 && line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		parser->line++;
		ret = parse_line(parser, line);
	}
	for (int kind = 0; kind < THREAD_KINDS && ret == 0; kind++)
		if (!parser->seen[kind])
			ret = error_set(parser->err, EINVAL,
					"%s: sections [control], [io] and [vcpu] must all be there",
					parser->name);
	return ret;
}

int seccomp_policy_parse(struct seccomp_policy *policy, const char *name, const char *text,
			 size_t len, struct error *err)
{
	struct parser parser = { policy, name, .section = SECTION_NONE, .err = err };
	char *copy cleanup_free = strndup(text, len);

	*policy = (struct seccomp_policy){ 0 };
	for (int kind = 0; kind < THREAD_KINDS; kind++)
		policy->kinds[kind].otherwise.what = SECCOMP_DO_TRAP;
	if (!copy)
		return error_set(err, ENOMEM, "out of memory");
	if (memchr(text, '\0', len))
		return error_set(
			err, EINVAL,
			"%s: it has a zero byte in it: no policy in text or JSON; compiled "
			"filters are not taken",
			name);
	return parse_lines(&parser, copy);
}

int seccomp_list_add(struct seccomp_list *list, const struct seccomp_rule *rule)
{
	struct seccomp_rule *rules;

	if (list->count == SECCOMP_RULES_MAX)
		return -E2BIG;
	if ((list->count & (list->count - 1)) == 0) {
		size_t room = list->count ? 2ul * list->count : 1;

		rules = reallocarray(list->rules, room, sizeof(*rules));
		if (!rules)
			return -ENOMEM;
		list->rules = rules;
	}
	list->rules[list->count++] = *rule;
	return 0;
}

void seccomp_policy_free(struct seccomp_policy *policy)
{
	for (int kind = 0; kind < THREAD_KINDS; kind++)
		free(policy->kinds[kind].rules);
	*policy = (struct seccomp_policy){ 0 };
}
