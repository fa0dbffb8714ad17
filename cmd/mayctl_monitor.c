#include "cmd/mayctl_monitor.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define START_PATIENCE_MS 5000
#define TRY_MS 2

/* The program ----------------------------------------------------------------------------------*/

/* The one that lies beside this program; else what PATH has. */
static void find_program(char *out, size_t size)
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	snprintf(out, size, "mayfly");
	if (len <= 0)
		return;
	self[len] = '\0';
	slash = strrchr(self, '/');
	if (slash && (size_t)(slash - self) + sizeof("/mayfly") <= size) {
		snprintf(out, size, "%.*s/mayfly", (int)(slash - self), self);
		if (access(out, X_OK) < 0)
			snprintf(out, size, "mayfly");
	}
}

/* In the child. Its console is ours by the socket; what it has to say is said here, but for the end that an agent's
 * command brings. */
static void exec_program(const char *sock, const struct run_options *options)
{
	const char *args[12] = { "mayfly", "--api-sock", sock, "--level", "Warning" };
	unsigned int count = 5;
	char program[PATH_MAX];
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	find_program(program, sizeof(program));
	if (options->no_seccomp)
		args[count++] = "--no-seccomp";
	if (options->seccomp_filter) {
		args[count++] = "--seccomp-filter";
		args[count++] = options->seccomp_filter;
	}
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (options->agent.path)
		dup2(null, STDERR_FILENO);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execvp(program, (char *const *)(uintptr_t)args);
}

static int start(struct ctl_monitor *monitor, const char *sock, const struct run_options *options)
{
	pid_t parent = getpid(), child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			exec_program(sock, options);
		_exit(CTL_NO_CONNECTION);
	}
	if (child < 0)
		return ctl_fail(CTL_NO_CONNECTION, "cannot start mayfly: %s",
				strerrordesc_np(errno));
	monitor->pid = child;
	return CTL_OK;
}

/* The socket ------------------------------------------------------------------------------------*/

static int try_connect(struct ctl *ctl, const char *sock)
{
	return mayfly_client_open_within(&ctl->client, sock,
					 ctl->timeout_ms > 0 ? (unsigned int)ctl->timeout_ms : 0);
}

static int wait_for_socket(struct ctl_monitor *monitor, struct ctl *ctl, const char *sock)
{
	int ret = -ENOENT;

	for (int waited = 0; ret < 0 && waited < START_PATIENCE_MS; waited += TRY_MS) {
		ret = try_connect(ctl, sock);
		if (ret == 0)
			break;
		poll(NULL, 0, TRY_MS);
		if (waitpid(monitor->pid, NULL, WNOHANG) != 0) {
			monitor->pid = 0;
			break;
		}
	}
	if (ret < 0)
		ctl_monitor_signal(monitor, SIGKILL);
	return ret < 0 ? ctl_fail(CTL_NO_CONNECTION, "mayfly does not start") : CTL_OK;
}

int ctl_monitor_open(struct ctl_monitor *monitor, struct ctl *ctl,
		     const struct run_options *options)
{
	const char *sock = ctl->sock;
	int ret = sock ? try_connect(ctl, sock) : -ENOENT;

	if (ret == 0 && (options->no_seccomp || options->seccomp_filter))
		return ctl_fail(CTL_BAD_ARGUMENTS,
				"the process behind %s has its system call filters already", sock);
	if (ret == 0)
		return CTL_OK;
	if (ret != -ENOENT)
		return ctl_fail(CTL_NO_CONNECTION, "%s: %s", sock, strerrordesc_np(-ret));
	if (!sock) {
		snprintf(monitor->folder, sizeof(monitor->folder), "/tmp/mayctl-XXXXXX");
		if (!mkdtemp(monitor->folder))
			return ctl_fail(CTL_NO_CONNECTION, "no folder for a socket: %s",
					strerrordesc_np(errno));
		snprintf(monitor->own, sizeof(monitor->own), "%s/api.sock", monitor->folder);
		sock = monitor->own;
	}
	monitor->sock = sock;
	ret = start(monitor, sock, options);
	return ret == CTL_OK ? wait_for_socket(monitor, ctl, sock) : ret;
}

/* The end ---------------------------------------------------------------------------------------*/

bool ctl_monitor_signal(const struct ctl_monitor *monitor, int number)
{
	return monitor->pid > 0 && kill(monitor->pid, number) == 0;
}

int ctl_monitor_wait(struct ctl_monitor *monitor)
{
	int status = 0;
	pid_t ended = monitor->pid;

	while (monitor->pid > 0 && (ended = waitpid(monitor->pid, &status, 0)) < 0)
		if (errno != EINTR)
			break;
	/* A process that was killed leaves it. */
	if (monitor->sock)
		unlink(monitor->sock);
	if (*monitor->folder)
		rmdir(monitor->folder);
	monitor->sock = NULL;
	*monitor->folder = '\0';
	if (monitor->pid <= 0 || ended < 0)
		return -1;
	monitor->pid = 0;
	return WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}
