/* The options of `mayfly-jailer cleanup`. The strings are argv's. */
#pragma once

#include "base/error.h"

struct jail_clean_options {
	const char *id, *base, *exec_name;
};

/* argv[0] is "cleanup". -EINVAL and *err. */
must_check int jail_clean_options_parse(struct jail_clean_options *options, int argc, char **argv,
					struct error *err);
