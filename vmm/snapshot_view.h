/*
 * A snapshot's state file, opened to be looked at: what it is, what it needs, and whether this host has that.
 * No machine is made and the memory file is not touched. The file is untrusted.
 *
 * Any thread; a view belongs to its creator.
 */
#pragma once

#include "snapshot/state_file.h"
#include "vmm/config_state.h"
#include "vmm/snapshot_info.h"
#include "vmm/vcpu_state.h"

struct snapshot_view {
	struct state_file state; /* its name is the caller's path */
	struct snapshot_info info;
	struct saved_config config;
	struct cpuid cpuid;
	struct vcpu_state vcpu; /* the first */
};

/* -EINVAL or -EPROTONOSUPPORT for what the file is, -ENOENT for a section that it lacks, else the errno of
 * opening it. The path outlives the view. */
must_check int snapshot_view_open(struct snapshot_view **out, const char *path, struct error *err);
void snapshot_view_close(struct snapshot_view *view);

/*
 * Calls lacks() with a sentence for each thing that a load on this host, as this user, would miss; returns how many
 * there were. What a load can be told otherwise (files of drives) is among them; taps, which a load may make, are
 * not.
 */
unsigned int snapshot_check(const struct snapshot_view *view,
			    void (*lacks)(void *opaque, const char *sentence), void *opaque);
