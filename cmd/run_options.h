/* `mayfly run`'s command line, as data. */
#pragma once

#include "cmd/metadata.h"
#include "vmm/vm_config.h"

/* One for everything that can be limited. */
#define RUN_RATES_MAX (VM_DRIVES_MAX + 2 * VM_NETS_MAX + VM_PMEMS_MAX + 1)

#define AGENT_PATIENCE_DEFAULT_S 60u

/* The guest's agent that runs a command: tests/guest/agent. */
struct agent_config {
	const char *path;	 /* its initrd; NULL: none */
	unsigned int patience_s; /* how long the guest may take to start it */
};

struct run_options {
	struct vm_config vm;
	struct metadata_options metadata; /* what every interface of vm serves */
	struct agent_config agent;
	const char *console;	    /* "stdio", "stderr" (output only), "none" or a path */
	const char *cpus, *mem;	    /* as given; vm has the numbers */
	char *rates[RUN_RATES_MAX]; /* as given; vm has the numbers */
	unsigned int rate_count;
	const char *seccomp_filter; /* a path; NULL: the one built in */
	bool no_seccomp;
	bool timings;
	bool help;
};

/* Parses and cross-checks; opens nothing. Strings stay argv's, parts of which are cut up. */
must_check int run_options_parse(struct run_options *options, int argc, char **argv,
				 struct error *err);

void run_options_help(void);

/* The index-th option's name, without dashes; NULL behind the last. Has it a value? */
const char *run_option_name(unsigned int index, bool *has_value);
