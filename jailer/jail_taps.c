/* A tap's policy: loaded, filled, attached and pinned while there are privileges. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "jailer/bpf/tap.skel.h"
#include "jailer/jail_bpf.h"
#include "jailer/jail_priv.h"

/* linux/bpf.h of Debian 12 is older than this; Linux 6.6 has it. */
#define ATTACH_TCX_INGRESS 46

char *jail_taps_variable(const struct jail_options *options, char text[JAIL_TAPS_VARIABLE_MAX])
{
	size_t used = (size_t)snprintf(text, JAIL_TAPS_VARIABLE_MAX, TAP_POLICIES_VARIABLE "=");

	for (unsigned int i = 0; i < options->tap_count; i++)
		used += (size_t)snprintf(text + used, JAIL_TAPS_VARIABLE_MAX - used, "%s%s",
					 i ? "," : "", options->taps[i].name);
	return options->tap_count ? text : NULL;
}

/* A clean-up of the last other instance may take the folder of all away between the two. */
static int make_shared(const char *path)
{
	int ret;

	for (unsigned int tries = 0; tries < 16; tries++) {
		if (mkdir(JAIL_BPF_DIR, 0700) < 0 && errno != EEXIST)
			return -1;
		ret = mkdir(path, 0700);
		if (ret == 0 || errno != ENOENT)
			break;
	}
	return ret;
}

/* The id's folder is shared by its taps; the first one records and makes it. */
static int make_folders(struct jail *jail, const char *tap, struct error *err)
{
	char path[512];

	snprintf(path, sizeof(path), JAIL_BPF_DIR "/%s", jail->options->id);
	if (jail->options->taps[0].name == tap) {
		struct stat info;

		if (lstat(path, &info) == 0)
			return error_set(err, EEXIST, "--tap %s: %s is there already", tap, path);
		if (jail_record_add(jail->record, "pin", path) < 0)
			return error_set(err, EIO, "--tap %s: cannot record its pins", tap);
		if (make_shared(path) < 0)
			return error_set_errno(err, errno, "--tap %s: cannot make %s", tap, path);
	}
	snprintf(path, sizeof(path), JAIL_BPF_DIR "/%s/%s", jail->options->id, tap);
	return mkdir(path, 0700) < 0
		       ? error_set_errno(err, errno, "--tap %s: cannot make %s", tap, path)
		       : 0;
}

static int pin(const struct jail *jail, const char *tap, int fd, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), JAIL_BPF_DIR "/%s/%s/%s", jail->options->id, tap, name);
	return bpf_obj_pin(fd, path);
}

static int pin_all(const struct jail *jail, const char *tap, const struct tap_bpf *skeleton)
{
	int ret = pin(jail, tap, bpf_map__fd(skeleton->maps.config), "config");

	if (ret == 0)
		ret = pin(jail, tap, bpf_map__fd(skeleton->maps.sources), "sources");
	if (ret == 0)
		ret = pin(jail, tap, bpf_map__fd(skeleton->maps.egress), "egress");
	if (ret == 0)
		ret = pin(jail, tap, bpf_map__fd(skeleton->maps.drops), "drops");
	return ret == 0 ? pin(jail, tap, bpf_program__fd(skeleton->progs.tap), "program") : ret;
}

static int fill(const struct jail_tap *tap, const struct tap_bpf *skeleton, struct error *err)
{
	const struct jail_tap_maps maps = {
		.config = bpf_map__fd(skeleton->maps.config),
		.sources = bpf_map__fd(skeleton->maps.sources),
		.egress = bpf_map__fd(skeleton->maps.egress),
		.drops = bpf_map__fd(skeleton->maps.drops),
	};
	int ret = jail_tap_set_config(&maps, tap->mac, tap->address_count > 0, tap->deny, err);

	for (unsigned int i = 0; i < tap->address_count && ret == 0; i++)
		ret = jail_tap_add_source(&maps, &tap->addresses[i], err);
	return ret;
}

/* tcx: a link, whose pin is what holds it on the tap. -EINVAL: the kernel is older. */
static int attach_tcx(const struct jail *jail, const char *tap, int program, int ifindex)
{
	int link cleanup_fd = bpf_link_create(program, ifindex,
					      (enum bpf_attach_type)ATTACH_TCX_INGRESS, NULL);

	return link < 0 ? link : pin(jail, tap, link, "link");
}

/* clsact: the tap itself holds it. */
static int attach_clsact(struct jail *jail, const char *tap, int program, int ifindex)
{
	LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = ifindex, .attach_point = BPF_TC_INGRESS);
	LIBBPF_OPTS(bpf_tc_opts, opts, .handle = 1, .priority = 1, .prog_fd = program);
	const char *netns = jail->options->netns ? jail->options->netns : "-";
	char here[1024] = "", text[2048];
	int ret;

	/* As a cleanup will find it, wherever it is run. */
	if (jail->options->netns && *netns != '/' && !getcwd(here, sizeof(here)))
		return -errno;
	snprintf(text, sizeof(text), "%s %s%s%s", tap, here, *here ? "/" : "", netns);
	ret = jail_record_add(jail->record, "tap", text);
	if (ret == 0)
		ret = bpf_tc_hook_create(&hook);
	if (ret == -EEXIST || ret == 0)
		ret = bpf_tc_attach(&hook, &opts);
	return ret;
}

static int attach(struct jail *jail, const char *tap, int program, struct error *err)
{
	int ifindex = (int)if_nametoindex(tap);
	int ret;

	if (!ifindex)
		return error_set_errno(err, errno, "--tap %s: there is no such interface", tap);
	ret = attach_tcx(jail, tap, program, ifindex);
	if (ret == -EINVAL)
		ret = attach_clsact(jail, tap, program, ifindex);
	return ret < 0 ? error_set_errno(err, ret, "--tap %s: cannot attach its policy", tap) : 0;
}

static int set_policy(struct jail *jail, struct jail_step *step, struct error *err)
{
	const struct jail_tap *tap = step->data;
	struct tap_bpf *skeleton;
	int ret;

	jail_bpf_quiet();
	ret = make_folders(jail, tap->name, err);
	if (ret < 0)
		return ret;
	step->held = dup(jail->dir); /* there is something to undo */
	skeleton = tap_bpf__open_and_load();
	if (!skeleton)
		return error_set_errno(err, errno, "--tap %s: cannot load its policy", tap->name);
	ret = fill(tap, skeleton, err);
	if (ret == 0 && (ret = pin_all(jail, tap->name, skeleton)) < 0)
		error_set_errno(err, ret, "--tap %s: cannot pin its policy", tap->name);
	if (ret == 0)
		ret = attach(jail, tap->name, bpf_program__fd(skeleton->progs.tap), err);
	tap_bpf__destroy(skeleton);
	return ret;
}

static void remove_policy(struct jail *jail, struct jail_step *step)
{
	const struct jail_tap *tap = step->data;
	char text[512];

	snprintf(text, sizeof(text), "%s -", tap->name); /* its namespace is ours by now */
	jail_bpf_detach_tap(jail->options->id, text);
	snprintf(text, sizeof(text), JAIL_BPF_DIR "/%s", jail->options->id);
	jail_bpf_remove_pins(text);
}

const struct jail_step_ops jail_tap_policy_step = { "tap", set_policy, remove_policy };
