/* The command line of `mayfly` without a command word: Firecracker's flags. */
#pragma once

#include "base/error.h"

struct api_options {
	const char *api_sock;		    /* where the API socket is made */
	const char *id;			    /* the instance's name */
	const char *config_file, *metadata; /* NULL: none */
	const char *log_path, *level, *module, *metrics_path;
	const char *seccomp_filter;
	uint64_t payload_max; /* bytes of a request's body */
	uint64_t mmds_max;    /* bytes; payload_max unless given */
	uint64_t start_time_us, start_time_cpu_us, parent_cpu_time_us;
	bool no_api, boot_timer, show_level, show_log_origin, no_seccomp, enable_pci;
	bool version, help, snapshot_version;
	const char *describe_snapshot;
};

/* Both `--name value` and `--name=value`; opens nothing. Strings stay argv's. */
must_check int api_options_parse(struct api_options *options, int argc, char **argv,
				 struct error *err);

/* The list of them. */
void api_options_help(void);
