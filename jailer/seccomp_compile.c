#include "jailer/seccomp_compile.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>

static uint32_t action_of(struct seccomp_action action)
{
	switch (action.what) {
	case SECCOMP_DO_ALLOW:
		return SCMP_ACT_ALLOW;
	case SECCOMP_DO_ERRNO:
		return SCMP_ACT_ERRNO(action.number);
	case SECCOMP_DO_LOG:
		return SCMP_ACT_LOG;
	case SECCOMP_DO_KILL:
		return SCMP_ACT_KILL_PROCESS;
	default:
		return SCMP_ACT_TRAP;
	}
}

static struct scmp_arg_cmp comparison(const struct seccomp_condition *condition)
{
	static const enum scmp_compare tests[] = {
		[SECCOMP_EQUAL] = SCMP_CMP_EQ,	       [SECCOMP_NOT_EQUAL] = SCMP_CMP_NE,
		[SECCOMP_LESS] = SCMP_CMP_LT,	       [SECCOMP_LESS_OR_EQUAL] = SCMP_CMP_LE,
		[SECCOMP_GREATER] = SCMP_CMP_GT,       [SECCOMP_GREATER_OR_EQUAL] = SCMP_CMP_GE,
		[SECCOMP_MASKED] = SCMP_CMP_MASKED_EQ,
	};
	bool masked = condition->test == SECCOMP_MASKED;

	return (struct scmp_arg_cmp){ .arg = condition->arg,
				      .op = tests[condition->test],
				      .datum_a = masked ? condition->mask : condition->value,
				      .datum_b = masked ? condition->value : 0 };
}

static int add_rules(scmp_filter_ctx context, const struct seccomp_list *list, struct error *err)
{
	for (unsigned int i = 0; i < list->count; i++) {
		const struct seccomp_rule *rule = &list->rules[i];
		struct scmp_arg_cmp comparisons[SECCOMP_CONDITIONS_MAX];
		int ret;

		/* A rule that does what is done anyway is no rule to libseccomp. */
		if (action_of(rule->action) == action_of(list->otherwise))
			continue;
		for (unsigned int j = 0; j < rule->count; j++)
			comparisons[j] = comparison(&rule->conditions[j]);
		ret = seccomp_rule_add_array(context, action_of(rule->action), rule->syscall,
					     rule->count, comparisons);
		if (ret < 0 && ret != -EEXIST)
			return error_set_errno(err, ret, "seccomp: the rule of line %u",
					       rule->line);
	}
	return 0;
}

static int read_back(int fd, struct sock_filter **filter, unsigned int *count)
{
	struct stat info;

	if (fstat(fd, &info) < 0)
		return -errno;
	*filter = malloc((size_t)info.st_size + 1);
	if (!*filter)
		return -ENOMEM;
	*count = (unsigned int)((size_t)info.st_size / sizeof(**filter));
	if (pread(fd, *filter, (size_t)info.st_size, 0) == info.st_size)
		return 0;
	free(*filter);
	return -EIO;
}

int seccomp_compile(const struct seccomp_list *list, struct sock_filter **filter,
		    unsigned int *count, struct error *err)
{
	scmp_filter_ctx context = seccomp_init(action_of(list->otherwise));
	int fd cleanup_fd = memfd_create("seccomp", MFD_CLOEXEC);
	int ret = -ENOMEM;

	if (context && fd >= 0) {
		/* Another machine's calls have other numbers: no rule is meant for them. 2: a search tree. */
		seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
		seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2);
		ret = add_rules(context, list, err);
		if (ret < 0)
			goto out;
		ret = seccomp_export_bpf(context, fd);
		if (ret == 0)
			ret = read_back(fd, filter, count);
	}
	if (ret < 0)
		error_set_errno(err, ret, "seccomp: cannot compile a filter");
out:
	if (context)
		seccomp_release(context);
	return ret;
}
