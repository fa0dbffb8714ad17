/* The end: fewer rights, one after the other, then the program. */
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "jailer/jail_priv.h"

/* The user namespace ----------------------------------------------------------------------------*/

static int write_at(int proc, const char *pid, const char *name, unsigned int id)
{
	char path[64], text[64];
	int fd cleanup_fd = -1;
	int len = snprintf(text, sizeof(text), "%u %u 1\n", id, id);

	snprintf(path, sizeof(path), "%s/%s", pid, name);
	fd = openat(proc, path, O_WRONLY | O_CLOEXEC);
	return fd >= 0 && write(fd, text, (size_t)len) == len ? 0 : -errno;
}

/* In a child that stays outside: only from there may others' ids be mapped. */
static void map_from_outside(const struct jail *jail, const char *pid, int go)
{
	char byte;

	if (read(go, &byte, 1) != 1)
		_exit(1);
	_exit(write_at(jail->proc, pid, "uid_map", jail->options->uid) < 0 ||
	      write_at(jail->proc, pid, "gid_map", jail->options->gid) < 0);
}

/* Last of all namespaces: the others belong to the host, so nothing in here has rights over them. */
static int enter_user_namespace(struct jail *jail, struct jail_step *step, struct error *err)
{
	int go[2], status = -1;
	char pid[16] = "";
	pid_t child;

	(void)step;
	if (setgroups(0, NULL) < 0 || readlinkat(jail->proc, "self", pid, sizeof(pid) - 1) < 0 ||
	    pipe2(go, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "--new-user-ns");
	child = fork();
	if (child < 0)
		return error_set_errno(err, errno, "--new-user-ns: cannot fork");
	if (child == 0)
		map_from_outside(jail, pid, go[0]);
	close(go[0]);
	if (unshare(CLONE_NEWUSER) < 0)
		error_set_errno(err, errno, "--new-user-ns: cannot make a user namespace");
	else if (write(go[1], "", 1) != 1)
		error_set_errno(err, errno, "--new-user-ns");
	close(go[1]);
	waitpid(child, &status, 0);
	if (err->code < 0)
		return err->code;
	jail->unprivileged = true;
	return status == 0 ? 0 : error_set(err, EPERM, "--new-user-ns: cannot map the ids");
}

const struct jail_step_ops jail_user_namespace_step = { "user-ns", enter_user_namespace, NULL };

/* Privileges ------------------------------------------------------------------------------------*/

static int drop_bounding(void)
{
	for (int capability = 0; capability < 64; capability++) {
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
			continue;
		/* EINVAL: the kernel knows no more. */
		return errno == EINVAL ? 0 : -errno;
	}
	return 0;
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct none[2] = { 0 };

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, none) < 0)
		return -errno;
	return 0;
}

static int change_user(const struct jail *jail)
{
	const struct jail_options *options = jail->options;

	/* In a user namespace of its own the groups are gone already, and changing them is not ours. */
	if (!options->new_user_ns && setgroups(0, NULL) < 0)
		return -errno;
	return setresgid(options->gid, options->gid, options->gid) < 0 ||
			       setresuid(options->uid, options->uid, options->uid) < 0
		       ? -errno
		       : 0;
}

static int drop_privileges(struct jail *jail, struct jail_step *step, struct error *err)
{
	int ret = drop_bounding();

	(void)step;
	if (ret < 0)
		return error_set_errno(err, ret, "cannot empty the capability bounding set");
	ret = change_user(jail);
	if (ret < 0)
		return error_set_errno(err, ret, "cannot become user %u and group %u",
				       jail->options->uid, jail->options->gid);
	jail->unprivileged = true;
	ret = drop_capabilities();
	if (ret == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		ret = -errno;
	return ret < 0 ? error_set_errno(err, ret, "cannot drop capabilities") : 0;
}

const struct jail_step_ops jail_privileges_step = { "privileges", drop_privileges, NULL };

/* The program -----------------------------------------------------------------------------------*/

/* -1: none are given away. Else the last of them, kept for a message if there is no program. */
static int give_streams_away(const struct jail *jail)
{
	int messages = jail->null < 0 ? -1 : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

	for (int fd = STDIN_FILENO; jail->null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(jail->null, fd);
	return messages;
}

/* Firecracker's order: when this program began, by the wall's clock and by its own CPU time, and how much CPU
 * time it took. The program that follows has a CPU clock that goes on only if it is the same process. */
static int execute(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_host *host = jail->host;
	char start[24], start_cpu[24], parent_cpu[24];
	const char *fixed[] = {
		host->exec_name,       "--id",	  jail->options->id,	  "--start-time-us", start,
		"--start-time-cpu-us", start_cpu, "--parent-cpu-time-us", parent_cpu
	};
	const char **argv cleanup_free = calloc(ARRAY_SIZE(fixed) + jail->options->arg_count + 1,
						sizeof(*argv));
	char taps[JAIL_TAPS_VARIABLE_MAX];
	int messages;
	char *const environment[] = { jail_taps_variable(jail->options, taps), NULL };

	(void)step;
	if (!argv)
		return error_set(err, ENOMEM, "out of memory");
	snprintf(start, sizeof(start), "%lu", host->start_us);
	snprintf(start_cpu, sizeof(start_cpu), "%lu", host->start_cpu_us);
	snprintf(parent_cpu, sizeof(parent_cpu), "%lu",
		 clock_now_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000 - host->start_cpu_us);
	memcpy(argv, fixed, sizeof(fixed));
	for (unsigned int i = 0; i < jail->options->arg_count; i++)
		argv[ARRAY_SIZE(fixed) + i] = jail->options->args[i];
	messages = give_streams_away(jail);
	jail_report(jail, true);
	execveat(jail->program, "", (char *const *)(uintptr_t)argv, environment, AT_EMPTY_PATH);
	error_set_errno(err, errno, "cannot execute %s%s", host->exec_path,
			errno == ENOENT ? " (it needs an interpreter: link it statically)" : "");
	if (messages >= 0)
		dup2(messages, STDERR_FILENO);
	return err->code;
}

const struct jail_step_ops jail_exec_step = { "exec", execute, NULL };
