#include "cmd/run_agent.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/log.h"
#include "cmd/agent_protocol.h"
#include "cmd/exit_codes.h"
#include "cmd/options.h"

/* Ends ------------------------------------------------------------------------------------------*/

static void give_up(struct run_agent *agent, const char *why)
{
	agent->run->give_up(agent->run, why);
}

static bool is_complete(const struct run_agent *agent)
{
	return agent->status >= 0 && agent->out.ended && agent->err.ended;
}

/* All is here: the agent may end the guest. */
void agent_stream_ended(struct run_agent *agent)
{
	if (is_complete(agent))
		shutdown(agent->control.fd, SHUT_WR);
}

/* The control channel ----------------------------------------------------------------------------*/

static void handle_line(struct run_agent *agent)
{
	static const char prefix[] = "status ";
	struct error ignored = { 0 };
	unsigned long status = 0;

	if (strncmp(agent->line, prefix, strlen(prefix)) == 0 &&
	    parse_number("status", agent->line + strlen(prefix), 0, 255, &status, &ignored) == 0) {
		agent->status = (int)status;
		agent_stream_ended(agent);
	} else if (strcmp(agent->line, "off") == 0) {
		give_up(agent, "the command has ended");
	}
}

static void send_args(struct run_agent *agent)
{
	while (agent->args_sent < agent->args_size) {
		const ssize_t len = send(agent->control.fd, agent->args_text + agent->args_sent,
					 agent->args_size - agent->args_sent,
					 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (len < 0)
			return; /* the watch tells when there is room, or an end */
		agent->args_sent += (size_t)len;
	}
}

static void on_control(struct loop_watch *watch)
{
	struct run_agent *agent = container_of(watch, struct run_agent, control);
	ssize_t len;
	char byte;

	send_args(agent);
	while ((len = recv(watch->fd, &byte, 1, MSG_DONTWAIT)) == 1) {
		if (byte == '\n') {
			agent->line[agent->line_len] = '\0';
			agent->line_len = 0;
			handle_line(agent);
		} else if (agent->line_len < sizeof(agent->line) - 1) {
			agent->line[agent->line_len++] = byte;
		}
	}
	if (len == 0 && !is_complete(agent))
		give_up(agent, "the guest's agent is gone");
}

static void start_control(struct run_agent *agent, int fd)
{
	agent->control = (struct loop_watch){ .fd = fd, .ready = on_control, .writable = true };
	loop_timer_disarm(&agent->patience);
	if (event_loop_watch(agent->run->control, &agent->control) < 0)
		give_up(agent, "cannot watch the guest's agent");
	else
		on_control(&agent->control);
}

/* Connections ------------------------------------------------------------------------------------*/

static void start_channel(struct run_agent *agent, int fd, char name)
{
	if (name == AGENT_CONTROL && agent->control.fd < 0)
		start_control(agent, fd);
	else if (name == AGENT_STDIN && !agent->in.started)
		agent_stream_start(&agent->in, agent, fd, STDIN_FILENO, true);
	else if (name == AGENT_STDOUT && !agent->out.started)
		agent_stream_start(&agent->out, agent, fd, STDOUT_FILENO, false);
	else if (name == AGENT_STDERR && !agent->err.started)
		agent_stream_start(&agent->err, agent, fd, STDERR_FILENO, false);
	else
		close(fd);
}

/* The first byte. */
static void on_unnamed(struct loop_watch *watch)
{
	struct agent_unnamed *unnamed = container_of(watch, struct agent_unnamed, watch);
	const int fd = watch->fd;
	char name = 0;

	if (recv(fd, &name, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN)
		return;
	event_loop_unwatch(unnamed->agent->run->control, watch);
	watch->fd = -1;
	start_channel(unnamed->agent, fd, name);
}

static void welcome(struct run_agent *agent, int fd)
{
	for (size_t i = 0; i < ARRAY_SIZE(agent->unnamed); i++) {
		struct agent_unnamed *unnamed = &agent->unnamed[i];

		if (unnamed->watch.fd >= 0)
			continue;
		*unnamed = (struct agent_unnamed){ .agent = agent,
						   .watch = { .fd = fd, .ready = on_unnamed } };
		if (event_loop_watch(agent->run->control, &unnamed->watch) == 0)
			return;
		unnamed->watch.fd = -1;
		break;
	}
	close(fd);
}

static void on_listener(struct loop_watch *watch)
{
	struct run_agent *agent = container_of(watch, struct run_agent, listener);
	int fd;

	while ((fd = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		welcome(agent, fd);
}

static void on_silence(struct loop_timer *timer)
{
	give_up(container_of(timer, struct run_agent, patience),
		"the guest's agent has not called in time");
}

/* Life ------------------------------------------------------------------------------------------*/

/* What the guest's init would have been given is for the agent to run. */
static int pack_args(struct run_agent *agent, struct error *err)
{
	size_t size = 4;
	uint32_t word = agent->arg_count;
	char *at;

	for (unsigned int i = 0; i < agent->arg_count; i++)
		size += 4 + strlen(agent->args[i]);
	if (size > AGENT_ARGS_MAX)
		return error_set(err, EINVAL, "--agent: %zu bytes of arguments are more than %u",
				 size, AGENT_ARGS_MAX);
	at = agent->args_text = malloc(size);
	if (!at)
		return error_set(err, ENOMEM, "--agent: out of memory");
	agent->args_size = size;
	memcpy(at, &word, 4);
	at += 4;
	for (unsigned int i = 0; i < agent->arg_count; i++) {
		word = (uint32_t)strlen(agent->args[i]);
		memcpy(at, &word, 4);
		memcpy(at + 4, agent->args[i], word);
		at += 4 + word;
	}
	return 0;
}

static int make_vsock(struct run_agent *agent, struct vm_config *vm, struct error *err)
{
	const char *tmp = getenv("TMPDIR");
	const int len = snprintf(agent->folder, sizeof(agent->folder) - 16, "%s/mayfly-XXXXXX",
				 tmp && *tmp ? tmp : "/tmp");

	if ((size_t)len >= sizeof(agent->folder) - 16)
		return error_set(err, EINVAL, "--agent: TMPDIR is too long for a socket: %s", tmp);
	if (!mkdtemp(agent->folder)) {
		int ret = error_set_errno(err, errno, "--agent: cannot make the folder %s",
					  agent->folder);

		*agent->folder = '\0';
		return ret;
	}
	snprintf(agent->vsock, sizeof(agent->vsock), "%s/v", agent->folder);
	vm->has_vsock = true;
	vm->vsock = (struct vsock_config){ .path = agent->vsock, .cid = VM_VSOCK_CID_MIN };
	return 0;
}

static int make_listener(struct run_agent *agent, const char *vsock, struct error *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *path = addr.sun_path;

	if (strlen(vsock) > VM_VSOCK_PATH_MAX)
		return error_set(err, EINVAL, "--agent: too long for a vsock, of %u bytes: %s",
				 VM_VSOCK_PATH_MAX, vsock);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s_%u", vsock, AGENT_PORT);
	agent->listener.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (agent->listener.fd < 0)
		return error_set_errno(err, errno, "--agent: cannot make a socket");
	if (bind(agent->listener.fd, (struct sockaddr *)&addr, sizeof(addr)) < 0)
		return error_set_errno(err, errno, "--agent: cannot make the socket %s", path);
	memcpy(agent->address, path, strlen(path) + 1);
	if (listen(agent->listener.fd, 8) < 0)
		return error_set_errno(err, errno, "--agent: cannot listen at %s", path);
	return 0;
}

int run_agent_create(struct run *run, struct error *err)
{
	struct vm_config *vm = &run->options.vm;
	struct run_agent *agent = calloc(1, sizeof(*agent));
	int ret;

	if (!agent)
		return error_set(err, ENOMEM, "--agent: out of memory");
	run->agent = agent;
	agent->run = run;
	agent->status = -1;
	agent->listener.fd = agent->control.fd = agent->patience.watch.fd = -1;
	for (size_t i = 0; i < ARRAY_SIZE(agent->unnamed); i++)
		agent->unnamed[i].watch.fd = -1;
	agent->args = vm->init_args;
	agent->arg_count = vm->init_arg_count;
	vm->init_arg_count = 0;
	ret = pack_args(agent, err);
	if (ret == 0 && !vm->has_vsock)
		ret = make_vsock(agent, vm, err);
	return ret < 0 ? ret : make_listener(agent, vm->vsock.path, err);
}

int run_agent_start(struct run *run, struct error *err)
{
	struct run_agent *agent = run->agent;
	int ret = loop_timer_init(&agent->patience, run->control, on_silence);

	agent->listener.ready = on_listener;
	if (ret == 0)
		ret = event_loop_watch(run->control, &agent->listener);
	if (ret < 0)
		return error_set_errno(err, ret, "--agent: cannot await the guest's agent");
	loop_timer_arm(&agent->patience, run->options.agent.patience_s * 1000000000ull);
	return 0;
}

int run_agent_report(struct run *run, const char *text)
{
	if (is_complete(run->agent))
		return run->agent->status;
	fprintf(stderr, "mayfly: error: the guest ended before its command did: %s\n", text);
	return EXIT_AGENT;
}

static void close_watch(struct run *run, struct loop_watch *watch)
{
	event_loop_unwatch(run->control, watch);
	close_fd(&watch->fd);
}

void run_agent_destroy(struct run *run)
{
	struct run_agent *agent = run->agent;

	if (!agent)
		return;
	close_watch(run, &agent->listener);
	close_watch(run, &agent->control);
	for (size_t i = 0; i < ARRAY_SIZE(agent->unnamed); i++)
		close_watch(run, &agent->unnamed[i].watch);
	loop_timer_fini(&agent->patience);
	agent_stream_stop(&agent->in);
	agent_stream_stop(&agent->out);
	agent_stream_stop(&agent->err);
	if (*agent->address)
		unlink(agent->address);
	if (*agent->folder)
		rmdir(agent->folder);
	free(agent->args_text);
	free(agent);
	run->agent = NULL;
}
