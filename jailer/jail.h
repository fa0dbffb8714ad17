/*
 * A jail: options become a plan, a list of steps; the plan is checked as a whole, printed, or carried out.
 * A step that fails has the earlier ones undone, as far as that can still be, and what is left named.
 *
 * One thread, the program's only one. jail_run() does not return when all went well: the process is then
 * the jailed program.
 */
#pragma once

#include "jailer/jail_options.h"

/* In the program's environment if there are any: the names, between commas, of the taps with a policy. */
#define TAP_POLICIES_VARIABLE "MAYFLY_TAP_POLICIES"

/* What the plan depends on and the options do not say. */
struct jail_host {
	char cgroup2[64];      /* where it is mounted; empty: nowhere */
	char cgroup1[64];      /* the folder of version 1's mounts; empty: none */
	unsigned int version;  /* of the hierarchy with the controllers: 1, 2, or 0 */
	int userfaultfd_minor; /* of the misc device; -1: this host has none */
	char exec_path[4096];  /* --exec-file with its links followed */
	const char *exec_name; /* the last part of it */
	bool has_bpffs;	       /* at /sys/fs/bpf */
	uint64_t start_us;     /* CLOCK_MONOTONIC, when the jailer began */
	uint64_t start_cpu_us; /* CPU time of the process by then */
};

/* Looks at this host. */
must_check int jail_host_probe(struct jail_host *host, const struct jail_options *options,
			       struct error *err);

struct jail_plan;

/* Compiles and checks. Options and host must outlive the plan. Free with jail_plan_free(). */
must_check int jail_plan_make(struct jail_plan **out, const struct jail_options *options,
			      const struct jail_host *host, struct error *err);
void jail_plan_free(struct jail_plan *plan);

/* The steps as a table, on standard output. */
void jail_plan_print(const struct jail_plan *plan);

/* Carries it out. Returns only on failure: -errno and *err, everything undone or what is left named. */
int jail_run(struct jail_plan *plan, struct error *err);

/*
 * Removes what the instance with this id left: nothing that the jailer did not make. 0 also when there is
 * nothing. -EBUSY while it runs.
 */
must_check int jail_cleanup(const char *base, const char *exec_name, const char *id,
			    struct error *err);
