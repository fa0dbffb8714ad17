/* `mayfly run`'s command line, as data. */
#pragma once

#include "vmm/vm_config.h"

struct run_options {
	struct vm_config vm;
	const char *console;	/* "stdio", "none" or a path */
	const char *cpus, *mem; /* as given; vm has the numbers */
	bool timings;
	bool help;
};

/* Parses and cross-checks; opens nothing. Strings stay argv's, parts of which are cut up. */
must_check int run_options_parse(struct run_options *options, int argc, char **argv,
				 struct error *err);

void run_options_help(void);
