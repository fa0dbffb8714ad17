#include "jailer/jail_bpf.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "jailer/jail_tree.h"

void jail_bpf_quiet(void)
{
	libbpf_set_print(NULL);
}

int jail_bpf_remove_pins(const char *path)
{
	int dir cleanup_fd = open(JAIL_BPF_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret;

	if (dir < 0)
		return errno == ENOENT ? 0 : -errno;
	if (strncmp(path, JAIL_BPF_DIR "/", sizeof(JAIL_BPF_DIR)) != 0)
		return -EINVAL;
	ret = jail_tree_remove(dir, path + sizeof(JAIL_BPF_DIR));
	rmdir(JAIL_BPF_DIR); /* others may be in it */
	return ret;
}

static uint32_t pinned_program(const char *id, const char *tap)
{
	struct bpf_prog_info info = { 0 };
	uint32_t size = sizeof(info);
	char path[512];
	int fd cleanup_fd = -1;

	snprintf(path, sizeof(path), JAIL_BPF_DIR "/%s/%s/program", id, tap);
	fd = bpf_obj_get(path);
	return fd >= 0 && bpf_obj_get_info_by_fd(fd, &info, &size) == 0 ? info.id : 0;
}

/* Another's on a tap of the same name, in another namespace say, is not ours to take off. */
static int detach(const char *id, const char *tap)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, there, .handle = 1, .priority = 1);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);
	int ret;

	hook.ifindex = (int)if_nametoindex(tap);
	if (!hook.ifindex || bpf_tc_query(&hook, &there) < 0 || !there.prog_id ||
	    there.prog_id != pinned_program(id, tap))
		return 0;
	ret = bpf_tc_detach(&hook, &opts);
	return ret == -ENOENT || ret == -EINVAL ? 0 : ret;
}

int jail_bpf_detach_tap(const char *id, const char *text)
{
	char name[IF_NAMESIZE];
	const char *netns = strchr(text, ' ');
	int fd cleanup_fd = -1;

	if (!netns || (size_t)(netns - text) >= sizeof(name))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)(netns - text), text);
	if (strcmp(++netns, "-") != 0) {
		fd = open(netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
			return errno == ENOENT ? 0 : -errno;
	}
	jail_bpf_quiet();
	return detach(id, name);
}
