/* Private to jailer/jail*.c: steps, and what they hand on to each other. */
#pragma once

#include <net/if.h>

#include "jailer/jail.h"
#include "jailer/jail_record.h"

#define JAIL_STEPS_MAX 160
#define JAIL_PATH_MAX_ALL 640 /* bytes of a path put together from options */

/* What is held while a plan is carried out. Descriptors are -1 while there is none; all are close-on-exec. */
struct jail {
	const struct jail_options *options;
	const struct jail_host *host;
	int program;	   /* what will be executed */
	int dir, root;	   /* BASE/PROGRAM/ID and its root */
	int record;	   /* open for adding; jail_record.h */
	bool made_dir;	   /* else it was there and is the user's */
	int proc;	   /* O_PATH of /proc, from before the root changed */
	int report;	   /* to the process that was started, where others go on for it */
	int null;	   /* /dev/null, where the program's streams go there */
	bool unprivileged; /* nothing can be undone any more */
};

struct jail_step;

struct jail_step_ops {
	const char *name;
	int (*act)(struct jail *jail, struct jail_step *step, struct error *err);
	/* After act() said 0. NULL: it ends with the process, or the folder's removal covers it. */
	void (*undo)(struct jail *jail, struct jail_step *step);
};

struct jail_step {
	const struct jail_step_ops *ops;
	char *object, *detail; /* words for act() and for people; the plan's */
	uint64_t number;       /* act()'s alone */
	const void *data;      /* a part of the options */
	int held;	       /* act()'s, for undo() */
};

struct jail_plan {
	struct jail jail;
	struct jail_step steps[JAIL_STEPS_MAX];
	unsigned int count;
	int full; /* -errno if a step could not be added */
};

/* Adds a step and returns it for number and data; both strings are copied. A full plan is remembered. */
struct jail_step *jail_plan_add(struct jail_plan *plan, const struct jail_step_ops *ops,
				const char *object, const char *fmt, ...) printf_like(4, 5);

/* jail_begin.c */
extern const struct jail_step_ops jail_close_step, jail_environment_step, jail_program_step,
	jail_limit_step;

/* jail_namespaces.c */
extern const struct jail_step_ops jail_namespaces_step, jail_network_step,
	jail_cgroup_namespace_step, jail_daemon_step, jail_pid_namespace_step, jail_pid_file_step;
/* Tells the first process, if others went on for it, how the building of the jail ended; the last time counts. */
void jail_report(const struct jail *jail, bool well);
#define JAIL_NETWORK_HOST 0
#define JAIL_NETWORK_NEW 1
#define JAIL_NETWORK_GIVEN 2

/* jail_folder.c */
extern const struct jail_step_ops jail_directory_step, jail_root_step, jail_folder_step,
	jail_node_step, jail_device_step, jail_copy_step, jail_pivot_step;

/* jail_bind.c */
extern const struct jail_step_ops jail_bind_step;
/* Records what will be made for a path of the jail's, relative to its root. -errno. */
must_check int jail_record_target(struct jail *jail, const char *path);

/* jail_cgroup.c */
extern const struct jail_step_ops jail_cgroup_step, jail_cgroup_set_step, jail_cgroup_join_step,
	jail_cgroup_devices1_step;
must_check int jail_plan_cgroups(struct jail_plan *plan,
				 struct error *err); /* jail_cgroup_plan.c */

/* jail_devices.c: the cgroup device program. The nodes that the plan makes, and no other. */
extern const struct jail_step_ops jail_device_policy_step;

/* jail_taps.c */
extern const struct jail_step_ops jail_tap_policy_step;

/* jail_taps.c: the variable that tells the program which taps have a policy; NULL: none has. */
#define JAIL_TAPS_VARIABLE_MAX (sizeof(TAP_POLICIES_VARIABLE) + 1 + JAIL_TAPS_MAX * IF_NAMESIZE)
char *jail_taps_variable(const struct jail_options *options, char text[JAIL_TAPS_VARIABLE_MAX]);

/* jail_exec.c */
extern const struct jail_step_ops jail_privileges_step, jail_user_namespace_step, jail_exec_step;

/* A device node of the jail. */
struct jail_node {
	unsigned int major, minor;
	bool is_block, read_only;
};

/* All of them; returns how many. */
unsigned int jail_nodes(const struct jail_plan *plan, struct jail_node *nodes, unsigned int max);

/* jail_bind.c: opens the folder of `path` (relative, below dir), making what is not there, following no
 * link; *name is its last part. -errno. */
int jail_open_parent(int dir, const char *path, uid_t uid, gid_t gid, const char **name);
