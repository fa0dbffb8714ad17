/* Namespaces, and the processes that a new one needs. */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "jailer/jail_priv.h"

static int unshare_always(struct jail *jail, struct jail_step *step, struct error *err)
{
	(void)step;
	/* Everything that is looked up from here on is in our own copy of the mounts. */
	if (unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS) < 0)
		return error_set_errno(err, errno, "cannot make namespaces (is this root?)");
	if (mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
		return error_set_errno(err, errno, "cannot make the mounts private");
	jail->proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (jail->proc < 0)
		return error_set_errno(err, errno, "cannot open /proc");
	return 0;
}

const struct jail_step_ops jail_namespaces_step = { "namespaces", unshare_always, NULL };

static int enter_network(struct jail *jail, struct jail_step *step, struct error *err)
{
	int fd cleanup_fd = -1;

	(void)jail;
	if (step->number == JAIL_NETWORK_HOST)
		return 0;
	if (step->number == JAIL_NETWORK_NEW)
		return unshare(CLONE_NEWNET) < 0
			       ? error_set_errno(err, errno, "cannot make a network namespace")
			       : 0;
	fd = open(step->object, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return error_set_errno(err, errno, "--netns: cannot join %s", step->object);
	return 0;
}

const struct jail_step_ops jail_network_step = { "network", enter_network, NULL };

static int unshare_cgroup(struct jail *jail, struct jail_step *step, struct error *err)
{
	(void)jail;
	(void)step;
	if (unshare(CLONE_NEWCGROUP) < 0)
		return error_set_errno(err, errno, "cannot make a cgroup namespace");
	return 0;
}

const struct jail_step_ops jail_cgroup_namespace_step = { "cgroup-ns", unshare_cgroup, NULL };

/* Processes -------------------------------------------------------------------------------------*/

#define WENT_WELL 'k' /* the last byte that a jail's processes write of how its building ended */

/* For whoever waits for the first process of several. All close it with the program's execution, or their own end. */
static int open_report(struct jail *jail, struct error *err)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "cannot make a pipe");
	jail->report = ends[1];
	return ends[0];
}

void jail_report(const struct jail *jail, bool well)
{
	const char byte = well ? WENT_WELL : 'x';

	if (jail->report >= 0 && write(jail->report, &byte, 1) < 0)
		return; /* nobody waits */
}

/* The end of a process that another goes on for: at once, or, of the first, with how all ended. */
static noreturn void end_parent(struct jail *jail, int report)
{
	char byte, last = report < 0 ? WENT_WELL : 0;

	close_fd(&jail->report);
	while (report >= 0 && retry_eintr(read(report, &byte, 1)) == 1)
		last = byte;
	_exit(last == WENT_WELL ? EXIT_SUCCESS : EXIT_FAILURE);
}

/* Twice: the grandchild leads no session and so never gets a terminal. The record gets its number before
 * the parent, whose number it has, is gone. */
static int fork_on(struct jail *jail, int report, struct error *err)
{
	pid_t pid = fork();

	if (pid < 0)
		return error_set_errno(err, errno, "cannot fork");
	if (pid > 0) {
		if (jail_record_process(jail->record, jail->proc, pid) < 0)
			kill(pid, SIGKILL);
		end_parent(jail, report);
	}
	return 0;
}

/* The streams go to /dev/null with the program's execution: until then there may be something to say. */
static int daemonize(struct jail *jail, struct jail_step *step, struct error *err)
{
	int report cleanup_fd = open_report(jail, err);
	int ret = report < 0 ? report : 0;

	(void)step;
	jail->null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (ret == 0 && jail->null < 0)
		ret = error_set_errno(err, errno, "--daemonize: cannot open /dev/null");
	if (ret == 0)
		ret = fork_on(jail, report, err);
	if (ret < 0)
		return ret;
	setsid();
	return fork_on(jail, -1, err);
}

const struct jail_step_ops jail_daemon_step = { "daemon", daemonize, NULL };

static int write_pid_file(struct jail *jail, const char *name, pid_t pid)
{
	char text[16];
	int fd cleanup_fd = -1;
	int len = snprintf(text, sizeof(text), "%d", pid);

	if (!jail->made_dir) {
		char path[300];

		snprintf(path, sizeof(path), "root/%s", name);
		if (jail_record_add(jail->record, "made", path) < 0)
			return -EIO;
	}
	/* No newline: Firecracker writes none. */
	fd = openat(jail->root, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	return write(fd, text, (size_t)len) == len ? 0 : -EIO;
}

static pid_t host_pid(const struct jail *jail)
{
	char text[16];
	ssize_t len = readlinkat(jail->proc, "self", text, sizeof(text) - 1);

	if (len <= 0)
		return getpid();
	text[len] = '\0';
	return (pid_t)strtol(text, NULL, 10);
}

/* The child is process 1 of a new namespace; it waits until its number is written down. The parent ends,
 * as Firecracker's does: the file has the number. */
static int enter_pid_namespace(struct jail *jail, struct jail_step *step, struct error *err)
{
	int report cleanup_fd = jail->report < 0 ? open_report(jail, err) : -1;
	int ready[2];
	char byte = 0;
	pid_t pid;

	if (jail->report < 0)
		return err->code;
	if (unshare(CLONE_NEWPID) < 0 || pipe2(ready, O_CLOEXEC) < 0)
		return error_set_errno(err, errno, "--new-pid-ns: cannot make the namespace");
	pid = fork();
	if (pid < 0)
		return error_set_errno(err, errno, "cannot fork");
	if (pid == 0) {
		close(ready[1]);
		if (read(ready[0], &byte, 1) != 1)
			_exit(1);
		close(ready[0]);
		return 0;
	}
	if (jail_record_process(jail->record, jail->proc, pid) < 0 ||
	    write_pid_file(jail, step->object, pid) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return error_set(err, EIO, "--new-pid-ns: cannot write down the number %d", pid);
	}
	if (write(ready[1], &byte, 1) != 1)
		kill(pid, SIGKILL);
	end_parent(jail, report);
}

const struct jail_step_ops jail_pid_namespace_step = { "pid-ns", enter_pid_namespace, NULL };

static int make_pid_file(struct jail *jail, struct jail_step *step, struct error *err)
{
	int ret = write_pid_file(jail, step->object, host_pid(jail));

	return ret < 0 ? error_set_errno(err, ret, "cannot write /%s in the jail", step->object)
		       : 0;
}

const struct jail_step_ops jail_pid_file_step = { "pid-file", make_pid_file, NULL };
