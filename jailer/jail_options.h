/*
 * What `mayfly-jailer` was asked for, as plain data: Firecracker's flags, and ours. Parsing opens nothing.
 * The strings are argv's.
 */
#pragma once

#include <netinet/in.h>
#include <sys/types.h>

#include "base/error.h"

#define JAIL_CGROUP_MAX 32
#define JAIL_BINDS_MAX 32
#define JAIL_DEVICES_MAX 16
#define JAIL_TAPS_MAX 8
#define JAIL_TAP_ADDRESSES_MAX 8
#define JAIL_NO_FILE_DEFAULT 2048 /* Firecracker's */
#define JAIL_BASE_DEFAULT "/srv/jailer"

struct jail_setting {
	const char *file, *value; /* "cpu.weight", "50" */
};

struct jail_bind {
	const char *source, *target; /* both absolute; the target as the jailed program sees it */
};

struct jail_device {
	const char *source, *target; /* as above; the source is a block device */
	bool read_only;
};

/* Of a tap: what the guest behind it may call itself. */
struct jail_tap {
	const char *name;
	uint8_t mac[6];
	struct in6_addr addresses[JAIL_TAP_ADDRESSES_MAX]; /* an IPv4 one as ::ffff:a.b.c.d */
	unsigned int address_count;
	bool deny; /* what goes nowhere that `policy` has a rule for */
};

struct jail_options {
	const char *id, *exec_file, *chroot_base, *netns, *parent_cgroup;
	uid_t uid;
	gid_t gid;
	unsigned int cgroup_version; /* 1, 2; 0: what the host has */
	struct jail_setting cgroup[JAIL_CGROUP_MAX];
	unsigned int cgroup_count;
	uint64_t file_size, no_file; /* bytes, 0 for no limit; descriptors */
	struct jail_bind binds[JAIL_BINDS_MAX];
	unsigned int bind_count;
	struct jail_device devices[JAIL_DEVICES_MAX];
	unsigned int device_count;
	struct jail_tap taps[JAIL_TAPS_MAX];
	unsigned int tap_count;
	uint64_t tmpfs_mib; /* the root is a tmpfs of that size; 0: a directory */
	bool daemonize, new_pid_ns, new_net_ns, new_user_ns, copy_exec, no_device_policy;
	bool dry_run, help, version;
	char *const *args; /* for the program, after -- */
	unsigned int arg_count;
};

/* argv[0] is the program's name. -EINVAL and *err; all that can be checked without looking is checked. */
must_check int jail_options_parse(struct jail_options *options, int argc, char **argv,
				  struct error *err);

void jail_options_help(void);

/* "NAME,mac=M[,ip=A]...[,default=deny]": cuts the text up. For `policy` too. */
must_check int jail_parse_tap(struct jail_tap *tap, char *text, struct error *err);
