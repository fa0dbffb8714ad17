/* Which cgroups an instance gets: its limits', and one for its device policy. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jailer/jail_priv.h"

/* "cpu" of "cpu.shares". */
static int controller_length(const char *file)
{
	return (int)strcspn(file, ".");
}

static bool same_controller(const char *a, const char *b)
{
	return controller_length(a) == controller_length(b) &&
	       strncmp(a, b, (size_t)controller_length(a)) == 0;
}

/* The folder below a mount: PARENT/ID. */
static void relative_path(const struct jail *jail, char *text, size_t size)
{
	const char *parent = jail->options->parent_cgroup;

	snprintf(text, size, "%s/%s", parent ? parent : jail->host->exec_name, jail->options->id);
}

static void add_group(struct jail_plan *plan, const char *mount, unsigned int version)
{
	char path[JAIL_PATH_MAX_ALL];

	relative_path(&plan->jail, path, sizeof(path));
	jail_plan_add(plan, &jail_cgroup_step, mount, "%s", path)->number = version;
}

static void add_setting(struct jail_plan *plan, const char *mount,
			const struct jail_setting *setting)
{
	char path[JAIL_PATH_MAX_ALL], object[JAIL_PATH_MAX_ALL * 2];

	relative_path(&plan->jail, path, sizeof(path));
	snprintf(object, sizeof(object), "%s/%s/%s", mount, path, setting->file);
	jail_plan_add(plan, &jail_cgroup_set_step, object, "%s", setting->value);
}

static void add_join(struct jail_plan *plan, const char *mount, unsigned int version)
{
	char path[JAIL_PATH_MAX_ALL], object[JAIL_PATH_MAX_ALL * 2];

	relative_path(&plan->jail, path, sizeof(path));
	snprintf(object, sizeof(object), "%s/%s", mount, path);
	jail_plan_add(plan, &jail_cgroup_join_step, object, "this process")->number = version;
}

/* Version 1: a hierarchy for each controller, in the order of their first mention. */
static int add_version1(struct jail_plan *plan, struct error *err)
{
	const struct jail *jail = &plan->jail;
	const struct jail_setting *settings = jail->options->cgroup;
	unsigned int count = jail->options->cgroup_count;

	for (unsigned int i = 0; i < count; i++) {
		char mount[128];
		bool seen = false;

		for (unsigned int j = 0; j < i; j++)
			seen |= same_controller(settings[i].file, settings[j].file);
		if (seen)
			continue;
		snprintf(mount, sizeof(mount), "%s/%.*s", jail->host->cgroup1,
			 MIN(controller_length(settings[i].file), 48), settings[i].file);
		if (access(mount, F_OK) < 0)
			return error_set(err, ENOTSUP,
					 "--cgroup %s: this host has no such controller at %s",
					 settings[i].file, mount);
		add_group(plan, mount, 1);
		for (unsigned int j = i; j < count; j++)
			if (same_controller(settings[i].file, settings[j].file))
				add_setting(plan, mount, &settings[j]);
		add_join(plan, mount, 1);
	}
	return 0;
}

static void add_version2(struct jail_plan *plan, bool with_settings)
{
	const struct jail *jail = &plan->jail;
	const char *mount = jail->host->cgroup2;

	add_group(plan, mount, 2);
	for (unsigned int i = 0; with_settings && i < jail->options->cgroup_count; i++)
		add_setting(plan, mount, &jail->options->cgroup[i]);
	if (!jail->options->no_device_policy) {
		char path[JAIL_PATH_MAX_ALL], object[JAIL_PATH_MAX_ALL * 2];

		relative_path(jail, path, sizeof(path));
		snprintf(object, sizeof(object), "%s/%s", mount, path);
		jail_plan_add(plan, &jail_device_policy_step, object,
			      "a BPF program allows the nodes above alone");
	}
	add_join(plan, mount, 2);
}

static int add_devices1(struct jail_plan *plan, struct error *err)
{
	const struct jail *jail = &plan->jail;
	char path[JAIL_PATH_MAX_ALL], mount[128], object[JAIL_PATH_MAX_ALL * 2];

	snprintf(mount, sizeof(mount), "%s/devices", jail->host->cgroup1);
	if (!jail->host->cgroup1[0] || access(mount, F_OK) < 0)
		return error_set(err, ENOTSUP,
				 "this host has neither a cgroup2 mount nor version 1's devices "
				 "controller, so devices cannot be limited; --no-device-policy "
				 "does without");
	relative_path(jail, path, sizeof(path));
	snprintf(object, sizeof(object), "%s/%s", mount, path);
	add_group(plan, mount, 1);
	jail_plan_add(plan, &jail_cgroup_devices1_step, object, "the nodes above alone");
	add_join(plan, mount, 1);
	return 0;
}

static int check_version(const struct jail *jail, unsigned int version, struct error *err)
{
	bool has = version == 1 ? jail->host->cgroup1[0] : jail->host->version == 2;

	if (jail->options->cgroup_count == 0 && jail->options->cgroup_version == 0)
		return 0;
	if (version == 0)
		return error_set(err, ENOTSUP, "--cgroup: this host has no cgroup mounted");
	if (!has)
		return error_set(err, ENOTSUP,
				 "--cgroup-version %u: this host has no cgroup version %u with "
				 "controllers",
				 version, version);
	return 0;
}

int jail_plan_cgroups(struct jail_plan *plan, struct error *err)
{
	const struct jail *jail = &plan->jail;
	unsigned int version = jail->options->cgroup_version;
	bool policy = !jail->options->no_device_policy;
	int ret;

	if (!version)
		version = jail->host->version;
	ret = check_version(jail, version, err);
	if (ret < 0)
		return ret;
	if (version == 1)
		ret = add_version1(plan, err);
	if (ret < 0)
		return ret;
	if (jail->host->cgroup2[0] && (policy || (version == 2 && jail->options->cgroup_count) ||
				       (version == 2 && jail->options->parent_cgroup)))
		add_version2(plan, version == 2);
	else if (policy)
		ret = add_devices1(plan, err);
	return ret;
}
