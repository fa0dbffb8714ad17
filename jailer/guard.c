#include "jailer/guard.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "base/read_file.h"
#include "base/thread.h"
#include "jailer/landlock.h"
#include "jailer/privileges.h"
#include "jailer/seccomp_builtin.h"
#include "jailer/seccomp_compile.h"

#define POLICY_FILE_MAX_MIB 1u
#define COMPILE_SECONDS 2u /* of processor time; a policy that somebody wrote takes milliseconds */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#endif
#ifndef HAS_SANITIZER
#define HAS_SANITIZER 0
#endif

/* Written once, before threads exist. A file's filters live as long as the process. */
static struct sock_fprog filters[THREAD_KINDS] = {
	[THREAD_CONTROL] = { ARRAY_SIZE(builtin_control),
			     (struct sock_filter *)(uintptr_t)builtin_control },
	[THREAD_IO] = { ARRAY_SIZE(builtin_io), (struct sock_filter *)(uintptr_t)builtin_io },
	[THREAD_VCPU] = { ARRAY_SIZE(builtin_vcpu), (struct sock_filter *)(uintptr_t)builtin_vcpu },
};

static bool has_filters;

/* The filter last: it lets none of the others through. */
static int arm(enum thread_kind kind, struct error *err)
{
	int ret = kind == THREAD_CONTROL ? 0 : landlock_confine_to_nothing(err);

	if (ret == 0)
		ret = privileges_drop(kind, err);
	if (ret < 0 || !has_filters)
		return ret;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filters[kind]) < 0)
		return error_set_errno(err, errno, "seccomp: cannot arm the thread %s",
				       thread_name());
	return 0;
}

static bool is_json(const char *text, size_t len)
{
	size_t at = 0;

	while (at < len && (text[at] == ' ' || text[at] == '\t' || text[at] == '\n'))
		at++;
	return at < len && text[at] == '{';
}

/* What a child has compiled, in memory that both see. */
struct compiled {
	struct error err;
	struct {
		unsigned int count;
		struct sock_filter filter[BPF_MAXINSNS];
	} kinds[THREAD_KINDS];
};

static int compile_one(const struct seccomp_list *list, struct compiled *out, int kind)
{
	struct sock_filter *filter;
	unsigned int count = 0;
	int ret = seccomp_compile(list, &filter, &count, &out->err);

	if (ret < 0)
		return ret;
	if (count > BPF_MAXINSNS)
		ret = error_set(&out->err, E2BIG,
				"seccomp: the filter has %u instructions, the kernel takes %u",
				count, BPF_MAXINSNS);
	else
		memcpy(out->kinds[kind].filter, filter, count * sizeof(*filter));
	out->kinds[kind].count = count;
	free(filter);
	return ret;
}

static void compile_in_child(const struct seccomp_policy *policy, struct compiled *out)
{
	const struct rlimit seconds = { COMPILE_SECONDS, COMPILE_SECONDS };
	int ret = setrlimit(RLIMIT_CPU, &seconds) < 0 ? -errno : 0;

	for (int kind = 0; kind < THREAD_KINDS && ret == 0; kind++)
		ret = compile_one(&policy->kinds[kind], out, kind);
	_exit(ret < 0);
}

/* libseccomp may be busy for ever with a few rules that test one call's arguments this way and that: a child does it,
 * for so long and no longer. */
static int compile_all(const struct seccomp_policy *policy, struct error *err)
{
	struct compiled *out = mmap(NULL, sizeof(*out), PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid;

	if (out == MAP_FAILED || (pid = fork()) < 0)
		return error_set_errno(err, errno, "seccomp: cannot compile a filter");
	if (pid == 0)
		compile_in_child(policy, out);
	if (retry_eintr(waitpid(pid, &status, 0)) < 0 || WIFSIGNALED(status))
		return error_set(
			err, E2BIG,
			"seccomp: the rules are not compiled after %u s of processor time: "
			"too many ways to test the arguments of one call",
			COMPILE_SECONDS);
	if (status != 0) {
		*err = out->err;
		return err->code;
	}
	for (int kind = 0; kind < THREAD_KINDS; kind++)
		filters[kind] = (struct sock_fprog){ (unsigned short)out->kinds[kind].count,
						     out->kinds[kind].filter };
	return mprotect(out, sizeof(*out), PROT_READ) < 0
		       ? error_set_errno(err, errno, "seccomp: cannot keep a filter")
		       : 0;
}

static int use_file(const char *path, struct error *err)
{
	struct seccomp_policy policy;
	size_t len;
	char *text cleanup_free = read_file(path, POLICY_FILE_MAX_MIB, &len, err);
	int ret;

	if (!text)
		return error_prefix(err, "--seccomp-filter");
	ret = is_json(text, len) ? seccomp_policy_parse_json(&policy, path, text, len, err)
				 : seccomp_policy_parse(&policy, path, text, len, err);
	if (ret == 0)
		ret = compile_all(&policy, err);
	seccomp_policy_free(&policy);
	return ret;
}

/* An exec would undo it, so a jailer cannot do it for us. */
static int harden_process(struct error *err)
{
	/* Nothing that is executed from here on, by whatever means, has more rights than this process. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "cannot set no_new_privs");
	/* No core with a guest's memory in it, no tracing by the same user. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return error_set_errno(err, errno, "cannot make the process non-dumpable");
	return 0;
}

int guard_setup(const struct guard_options *options, struct error *err)
{
	int ret = options->policy ? use_file(options->policy, err) : 0;

	if (ret < 0)
		return ret;
	if (HAS_SANITIZER) {
		log_info("no seccomp: this build has a sanitizer, which needs more system calls");
		return 0;
	}
	has_filters = !options->no_seccomp;
	ret = harden_process(err);
	if (ret == 0)
		ret = landlock_confine(err);
	if (ret == 0)
		thread_set_guard(arm);
	return ret;
}

const char *guard_syscall_name(int number)
{
	const char *name = number >= 0 && number < (int)ARRAY_SIZE(syscall_names)
				   ? syscall_names[number]
				   : NULL;

	return name ? name : "unknown";
}
