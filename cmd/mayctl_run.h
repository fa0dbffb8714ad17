/* mayctl run's parts. One thread. */
#pragma once

#include "cmd/mayctl.h"
#include "cmd/run_options.h"

/* Descriptors to pass along: ours to close. */
struct ctl_run_files {
	bool by_descriptor; /* files are opened here: the microVM's process may be where their names mean nothing */
	int fds[MAYFLY_CLIENT_FDS_MAX];
	unsigned int count;
};

/*
 * What vm.configure_and_start takes for these options. A file beyond the descriptors that go with a request is named by
 * its whole path. NULL and *err.
 */
json_t *ctl_run_config(const struct run_options *options, struct ctl_run_files *files,
		       struct error *err);
void ctl_run_close_files(struct ctl_run_files *files);
