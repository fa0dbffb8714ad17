/* Options become steps. The order is the whole design of the jail; where it matters a comment says why. */
#include "jailer/jail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "jailer/jail_priv.h"

#define MISC_MAJOR 10

struct jail_step *jail_plan_add(struct jail_plan *plan, const struct jail_step_ops *ops,
				const char *object, const char *fmt, ...)
{
	static struct jail_step nowhere;
	struct jail_step *step = &plan->steps[plan->count];
	va_list args;
	int len;

	if (plan->count == JAIL_STEPS_MAX) {
		plan->full = -E2BIG;
		return &nowhere;
	}
	*step = (struct jail_step){ .ops = ops, .object = strdup(object), .held = -1 };
	va_start(args, fmt);
	len = vasprintf(&step->detail, fmt, args);
	va_end(args);
	if (len < 0)
		step->detail = NULL;
	if (!step->object || !step->detail)
		plan->full = -ENOMEM;
	plan->count++;
	return step;
}

static void add_limit(struct jail_plan *plan, const char *name, uint64_t value)
{
	jail_plan_add(plan, &jail_limit_step, name, "%lu", value)->number = value;
}

static void add_network(struct jail_plan *plan)
{
	const struct jail_options *options = plan->jail.options;

	if (options->netns)
		jail_plan_add(plan, &jail_network_step, options->netns, "joined")->number =
			JAIL_NETWORK_GIVEN;
	else if (options->new_net_ns)
		jail_plan_add(plan, &jail_network_step, "a new one", "with nothing in it")->number =
			JAIL_NETWORK_NEW;
	else
		jail_plan_add(plan, &jail_network_step, "the host's",
			      "kept, so that its taps are found; --new-net-ns makes an empty one")
			->number = JAIL_NETWORK_HOST;
}

static void add_process(struct jail_plan *plan)
{
	const struct jail_options *options = plan->jail.options;

	jail_plan_add(plan, &jail_close_step, "3 and up", "closed");
	char taps[JAIL_TAPS_VARIABLE_MAX];
	const char *kept = jail_taps_variable(options, taps);

	jail_plan_add(plan, &jail_environment_step, "all variables", "cleared%s%s",
		      kept ? "; the program's: " : "", kept ? kept : "");
	jail_plan_add(plan, &jail_program_step, plan->jail.host->exec_path,
		      "opened, to be executed by descriptor");
	/* Before the first path is looked up: a mount belongs to the namespace it was found in. */
	jail_plan_add(plan, &jail_namespaces_step, "mount ipc uts", "new");
	add_network(plan);
	add_limit(plan, "no-file", options->no_file);
	if (options->file_size)
		add_limit(plan, "fsize", options->file_size);
	add_limit(plan, "core", 0);
}

static void add_node(struct jail_plan *plan, const char *path, unsigned int major,
		     unsigned int minor)
{
	jail_plan_add(plan, &jail_node_step, path, "%u:%u", major, minor)->number = makedev(major,
											    minor);
}

static void add_root(struct jail_plan *plan)
{
	const struct jail *jail = &plan->jail;
	static const char *const folders[] = { "/", "/dev", "/dev/net", "/run" };

	jail_plan_add(plan, &jail_directory_step, jail->options->chroot_base,
		      "%s/%s, the id's own: a second one is refused", jail->host->exec_name,
		      jail->options->id);
	if (jail->options->tmpfs_mib)
		jail_plan_add(plan, &jail_root_step, "a tmpfs", "of %lu MiB",
			      jail->options->tmpfs_mib);
	else
		jail_plan_add(plan, &jail_root_step, "its root/", "mounted nosuid%s",
			      jail->options->copy_exec ? "" : ", noexec");
	for (size_t i = 0; i < ARRAY_SIZE(folders); i++)
		jail_plan_add(plan, &jail_folder_step, folders[i], "0700, of %u:%u",
			      jail->options->uid, jail->options->gid);
	add_node(plan, "/dev/net/tun", MISC_MAJOR, 200);
	add_node(plan, "/dev/kvm", MISC_MAJOR, 232);
	add_node(plan, "/dev/urandom", 1, 9);
	if (jail->host->userfaultfd_minor >= 0)
		add_node(plan, "/dev/userfaultfd", MISC_MAJOR,
			 (unsigned int)jail->host->userfaultfd_minor);
}

static void add_files(struct jail_plan *plan)
{
	const struct jail *jail = &plan->jail;
	char path[300];

	for (unsigned int i = 0; i < jail->options->bind_count; i++)
		jail_plan_add(plan, &jail_bind_step, jail->options->binds[i].target,
			      "%s, read-only", jail->options->binds[i].source)
			->data = &jail->options->binds[i];
	for (unsigned int i = 0; i < jail->options->device_count; i++) {
		const struct jail_device *device = &jail->options->devices[i];

		jail_plan_add(plan, &jail_device_step, device->target, "%s%s", device->source,
			      device->read_only ? ", read-only" : "")
			->data = device;
	}
	snprintf(path, sizeof(path), "/%s", jail->host->exec_name);
	if (jail->options->copy_exec)
		jail_plan_add(plan, &jail_copy_step, path, "copied, and the copy is executed");
}

static void add_processes(struct jail_plan *plan)
{
	const struct jail *jail = &plan->jail;
	char name[300];

	snprintf(name, sizeof(name), "%s.pid", jail->host->exec_name);
	if (jail->options->daemonize)
		jail_plan_add(plan, &jail_daemon_step, "own session",
			      "standard streams to /dev/null");
	if (jail->options->new_pid_ns)
		jail_plan_add(plan, &jail_pid_namespace_step, name,
			      "a child is process 1; its number in this file");
	else
		jail_plan_add(plan, &jail_pid_file_step, name, "the process's number");
}

static void add_end(struct jail_plan *plan)
{
	const struct jail *jail = &plan->jail;

	jail_plan_add(plan, &jail_cgroup_namespace_step, "cgroup", "new");
	jail_plan_add(plan, &jail_pivot_step, "/", "the jail's root; the host's is gone");
	if (jail->options->new_user_ns)
		jail_plan_add(plan, &jail_user_namespace_step, "a new one",
			      "with %u:%u alone in it", jail->options->uid, jail->options->gid);
	jail_plan_add(plan, &jail_privileges_step, "all",
		      "user %u, group %u, no capability, no_new_privs", jail->options->uid,
		      jail->options->gid);
	jail_plan_add(plan, &jail_exec_step, jail->host->exec_name, "by descriptor");
}

static int add_taps(struct jail_plan *plan, struct error *err)
{
	const struct jail *jail = &plan->jail;

	for (unsigned int i = 0; i < jail->options->tap_count; i++) {
		const struct jail_tap *tap = &jail->options->taps[i];
		const uint8_t *mac = tap->mac;

		if (!jail->host->has_bpffs)
			return error_set(err, ENOTSUP,
					 "--tap %s: there is no BPF filesystem at /sys/fs/bpf to "
					 "keep its policy in",
					 tap->name);
		jail_plan_add(plan, &jail_tap_policy_step, tap->name,
			      "sends as %02x:%02x:%02x:%02x:%02x:%02x and from %u addresses%s",
			      mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], tap->address_count,
			      tap->deny ? ", to nobody" : "")
			->data = tap;
	}
	return 0;
}

static int check(const struct jail_plan *plan, struct error *err)
{
	const struct jail *jail = &plan->jail;
	size_t length = strlen(jail->options->chroot_base) + strlen(jail->host->exec_name) +
			strlen(jail->options->id) + sizeof("//root/run/");

	if (plan->full < 0)
		return error_set_errno(err, plan->full, "a plan of more than %u steps",
				       JAIL_STEPS_MAX);
	/* A Unix socket's path has 107 bytes; a longer jail could not be talked to from outside. */
	if (length > 4000)
		return error_set(err, ENAMETOOLONG, "the jail's path is too long");
	return 0;
}

int jail_plan_make(struct jail_plan **out, const struct jail_options *options,
		   const struct jail_host *host, struct error *err)
{
	struct jail_plan *plan = calloc(1, sizeof(*plan));
	int ret;

	if (!plan)
		return error_set(err, ENOMEM, "out of memory");
	plan->jail = (struct jail){ .options = options,
				    .host = host,
				    .program = -1,
				    .dir = -1,
				    .root = -1,
				    .record = -1,
				    .proc = -1,
				    .report = -1,
				    .null = -1 };
	add_process(plan);
	add_root(plan);
	add_files(plan);
	/* Before the cgroup: /dev/null is none of the instance's devices. */
	add_processes(plan);
	ret = add_taps(plan, err);
	/* After the nodes: with the device policy on, none can be made. */
	if (ret == 0)
		ret = jail_plan_cgroups(plan, err);
	add_end(plan);
	if (ret == 0)
		ret = check(plan, err);
	if (ret < 0)
		jail_plan_free(plan);
	else
		*out = plan;
	return ret;
}

void jail_plan_free(struct jail_plan *plan)
{
	if (!plan)
		return;
	for (unsigned int i = 0; i < plan->count; i++) {
		free(plan->steps[i].object);
		free(plan->steps[i].detail);
		close_fd(&plan->steps[i].held);
	}
	close_fd(&plan->jail.program);
	close_fd(&plan->jail.dir);
	close_fd(&plan->jail.root);
	close_fd(&plan->jail.record);
	close_fd(&plan->jail.proc);
	close_fd(&plan->jail.report);
	close_fd(&plan->jail.null);
	free(plan);
}

void jail_plan_print(const struct jail_plan *plan)
{
	for (unsigned int i = 0; i < plan->count; i++)
		printf("%3u  %-11s  %-36s  %s\n", i + 1, plan->steps[i].ops->name,
		       plan->steps[i].object, plan->steps[i].detail);
}

unsigned int jail_nodes(const struct jail_plan *plan, struct jail_node *nodes, unsigned int max)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < plan->count && count < max; i++) {
		const struct jail_step *step = &plan->steps[i];
		const struct jail_bind *bind = step->data;
		struct stat info;

		if (step->ops == &jail_node_step)
			nodes[count++] = (struct jail_node){ .major = major(step->number),
							     .minor = minor(step->number) };
		else if (step->ops == &jail_device_step)
			nodes[count++] = (struct jail_node){
				.major = major(step->number),
				.minor = minor(step->number),
				.is_block = true,
				.read_only = ((const struct jail_device *)step->data)->read_only
			};
		else if (step->ops == &jail_bind_step && stat(bind->source, &info) == 0 &&
			 S_ISBLK(info.st_mode))
			nodes[count++] = (struct jail_node){ .major = major(info.st_rdev),
							     .minor = minor(info.st_rdev),
							     .is_block = true,
							     .read_only = true };
	}
	return count;
}
