/*
 * Which rules of the seccomp policy anybody used:
 *
 *   witness POLICY OUT COMMAND [ARG...]
 *
 * runs the command, watches the armed threads of all its processes, and writes to OUT a line "KIND LINE" for each
 * rule of the policy, by its line there, that let a call of a thread of that kind through. Its status is the
 * command's. The monitor knows nothing of it. A kernel without BTF or tracepoints runs the command alone, without OUT.
 */
#include <bpf/bpf.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/read_file.h"
#include "jailer/seccomp_compile.h"
#include "tests/jail/witness.h"
#include "tests/jail/witness.skel.h"

static const char *const kind_names[] = { "control", "io", "vcpu" };

static int fail(const char *text)
{
	fprintf(stderr, "witness: %s\n", text);
	return 1;
}

static int load_policy(struct seccomp_policy *policy, const char *path, struct error *err)
{
	size_t len;
	char *text cleanup_free = read_file(path, 1, &len, err);

	return text ? seccomp_policy_parse(policy, path, text, len, err) : err->code;
}

/* Kinds whose filters are of one length cannot be told apart: what one of them used both have used. */
static int describe(const struct seccomp_policy *policy, struct witness_config *config,
		    struct error *err)
{
	for (int kind = 0; kind < THREAD_KINDS; kind++) {
		const struct seccomp_list *list = &policy->kinds[kind];
		struct sock_filter *filter;
		unsigned int count;
		int ret = seccomp_compile(list, &filter, &count, err);

		if (ret < 0)
			return ret;
		free(filter);
		config->lengths[kind] = (uint16_t)count;
		for (unsigned int i = 0; i < list->count; i++)
			for (unsigned int j = 0; j < list->rules[i].count; j++)
				config->arguments[list->rules[i].syscall] |=
					(uint8_t)(1u << list->rules[i].conditions[j].arg);
	}
	return 0;
}

static bool holds(const struct seccomp_condition *condition, uint64_t value)
{
	switch (condition->test) {
	case SECCOMP_EQUAL:
		return value == condition->value;
	case SECCOMP_LESS_OR_EQUAL:
		return value <= condition->value;
	case SECCOMP_MASKED:
		return (value & condition->mask) == condition->value;
	default:
		return false; /* our text has no others */
	}
}

static bool matches(const struct seccomp_rule *rule, const struct witness_call *call)
{
	if (rule->syscall != (int)call->number)
		return false;
	for (unsigned int i = 0; i < rule->count; i++)
		if (!holds(&rule->conditions[i], call->arguments[rule->conditions[i].arg]))
			return false;
	return true;
}

/* All that was seen so far. */
static size_t collect(int seen, struct witness_call *calls)
{
	size_t count = 0;

	while (count < WITNESS_SEEN_MAX &&
	       bpf_map_get_next_key(seen, count ? &calls[count - 1] : NULL, &calls[count]) == 0)
		count++;
	return count;
}

static bool was_used(const struct seccomp_rule *rule, int kind, const struct witness_call *calls,
		     size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (calls[i].kinds & 1u << kind && matches(rule, &calls[i]))
			return true;
	return false;
}

static int report(const struct seccomp_policy *policy, int seen, const char *path)
{
	static struct witness_call calls[WITNESS_SEEN_MAX];
	size_t count = collect(seen, calls);
	FILE *out = fopen(path, "we");

	if (!out)
		return fail("cannot write what was seen");
	for (int kind = 0; kind < THREAD_KINDS; kind++)
		for (unsigned int i = 0; i < policy->kinds[kind].count; i++)
			if (was_used(&policy->kinds[kind].rules[i], kind, calls, count))
				fprintf(out, "%s %u\n", kind_names[kind],
					policy->kinds[kind].rules[i].line);
	return fclose(out) == 0 ? 0 : fail("cannot write what was seen");
}

static int watch(const struct witness_bpf *skeleton, const struct witness_config *config)
{
	const uint32_t index = 0, self = (uint32_t)gettid(), no_kind = 0;
	int ret = bpf_map_update_elem(bpf_map__fd(skeleton->maps.config), &index, config, BPF_ANY);

	if (ret == 0)
		ret = bpf_map_update_elem(bpf_map__fd(skeleton->maps.threads), &self, &no_kind,
					  BPF_ANY);
	return ret;
}

/* Reports now and then: in the lab its whole host may die. */
static int run(char **command, const struct seccomp_policy *policy, int seen, const char *path)
{
	const struct timespec period = { .tv_sec = 10 };
	sigset_t child_ends;
	int status = 0;
	pid_t pid;

	sigemptyset(&child_ends);
	sigaddset(&child_ends, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child_ends, NULL);
	pid = fork();
	if (pid == 0) {
		sigprocmask(SIG_UNBLOCK, &child_ends, NULL);
		execvp(command[0], command);
		_exit(127);
	}
	/* Who ends us means the command. */
	signal(SIGINT, SIG_IGN);
	while (pid > 0 && waitpid(pid, &status, WNOHANG) == 0) {
		sigtimedwait(&child_ends, NULL, &period);
		if (report(policy, seen, path) != 0)
			break;
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
	struct witness_config config = { 0 };
	struct seccomp_policy policy;
	struct error err = { 0 };
	struct witness_bpf *skeleton;
	int status;

	if (argc < 4)
		return fail("usage: witness POLICY OUT COMMAND [ARG...]");
	if (load_policy(&policy, argv[1], &err) < 0 || describe(&policy, &config, &err) < 0)
		return fail(err.text);
	skeleton = witness_bpf__open_and_load();
	if (!skeleton || watch(skeleton, &config) < 0 || witness_bpf__attach(skeleton) < 0) {
		fail("this kernel cannot be watched; what is used is not told");
		execvp(argv[3], argv + 3);
		return fail(strerrordesc_np(errno));
	}
	status = run(argv + 3, &policy, bpf_map__fd(skeleton->maps.seen), argv[2]);
	witness_bpf__destroy(skeleton);
	seccomp_policy_free(&policy);
	return status;
}
