/* mayctl run: a microVM from a configuration file, in a process of its own, until it ends. */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd/mayctl.h"

#define START_PATIENCE_MS 5000
#define TRY_MS 2

static volatile sig_atomic_t monitor; /* its process id; 0: there is none */

static void pass_on(int signal)
{
	if (monitor > 0)
		kill(monitor, signal);
}

/* The one that lies beside this program; else what PATH has. */
static void find_monitor(char *out, size_t size)
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

/* It has our terminal, and ends when we do. */
static int start_monitor(const char *sock)
{
	char program[PATH_MAX];
	pid_t parent = getpid(), child;

	find_monitor(program, sizeof(program));
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == parent)
			execlp(program, "mayfly", "--api-sock", sock, "--level", "Error",
			       (char *)NULL);
		_exit(CTL_NO_CONNECTION);
	}
	monitor = child;
	return child;
}

static int connect_to(struct ctl *ctl, const char *sock)
{
	int ret = -ENOENT;

	for (int waited = 0; ret < 0 && waited < START_PATIENCE_MS; waited += TRY_MS) {
		ret = mayfly_client_open(&ctl->client, sock);
		if (ret < 0)
			poll(NULL, 0, TRY_MS);
		if (ret < 0 && waitpid(monitor, NULL, WNOHANG) != 0) {
			monitor = 0;
			break;
		}
	}
	return ret < 0 ? ctl_fail(CTL_NO_CONNECTION, "mayfly does not start") : CTL_OK;
}

/* As a shell says it. */
static int wait_for_end(void)
{
	int status = 0;

	while (waitpid(monitor, &status, 0) < 0)
		if (errno != EINTR)
			return CTL_NO_CONNECTION;
	monitor = 0;
	return WIFSIGNALED(status) ? EXIT_SIGNAL_BASE + WTERMSIG(status) : WEXITSTATUS(status);
}

static int configure(struct ctl *ctl, json_t *config)
{
	int ret = mayfly_client_call(ctl->client, "vm.configure_and_start", config, NULL);

	return ret < 0 ? ctl_fail_call(ctl, ret) : CTL_OK;
}

static int run_behind(struct ctl *ctl, const char *sock, json_t *config)
{
	const struct sigaction action = { .sa_handler = pass_on };
	int status;

	if (start_monitor(sock) < 0)
		return ctl_fail(CTL_NO_CONNECTION, "cannot start mayfly: %s",
				strerrordesc_np(errno));
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	status = connect_to(ctl, sock);
	if (status == CTL_OK) {
		status = configure(ctl, config);
		mayfly_client_close(ctl->client);
	}
	if (status == CTL_OK)
		return wait_for_end();
	if (monitor > 0) {
		kill(monitor, SIGTERM);
		wait_for_end();
	}
	return status;
}

int ctl_run_command(struct ctl *ctl, int argc, char **argv)
{
	char folder[] = "/tmp/mayctl-XXXXXX", sock[sizeof(folder) + 10];
	json_error_t why;
	json_t *config;
	int status;

	if (argc != 1)
		return ctl_fail(CTL_BAD_ARGUMENTS, "run which configuration file?");
	config = json_load_file(argv[0], JSON_REJECT_DUPLICATES, &why);
	if (!config)
		return ctl_fail(CTL_BAD_ARGUMENTS, "%s: line %d: %s", argv[0], why.line, why.text);
	if (!json_is_object(config) || !mkdtemp(folder)) {
		json_decref(config);
		return ctl_fail(CTL_BAD_ARGUMENTS, "%s: no object, or no folder for a socket",
				argv[0]);
	}
	snprintf(sock, sizeof(sock), "%s/api.sock", folder);
	status = run_behind(ctl, sock, config);
	unlink(sock);
	rmdir(folder);
	json_decref(config);
	return status;
}
