#include "jailer/jail_bpf.h"

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

int jail_bpf_detach_tap(const char *text)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1);
	char name[IF_NAMESIZE], netns[256];
	int fd cleanup_fd = -1;
	int ret;

	if (sscanf(text, "%15s %255s", name, netns) != 2)
		return 0;
	fd = strcmp(netns, "-") == 0 ? -1 : open(netns, O_RDONLY | O_CLOEXEC);
	if (strcmp(netns, "-") != 0 && (fd < 0 || setns(fd, CLONE_NEWNET) < 0))
		return errno == ENOENT ? 0 : -errno;
	jail_bpf_quiet();
	hook.ifindex = (int)if_nametoindex(name);
	ret = hook.ifindex ? bpf_tc_detach(&hook, &opts) : 0;
	return ret == -ENOENT || ret == -EINVAL ? 0 : ret;
}
