/* `mayfly snapshot`: what a snapshot is, whether this host can run it, and layers of it laid together. */
#pragma once

#include "snapshot/state_file.h"
#include "vmm/snapshot_view.h"

/* argv[0] is "snapshot". The exit status. */
int snapshot_main(int argc, char **argv);

/* The same for `snapshot merge`; argv[0] is "merge". */
int snapshot_merge_main(int argc, char **argv);

/* --describe-snapshot and --snapshot-version: "v1.0.0", of the file and of what a save writes. */
must_check int snapshot_describe(const char *path, struct error *err);
void snapshot_print_version(void);

/* Private to cmd/snapshot*.c: for people, or with `json` for scripts. -ENOMEM, -EIO. */
must_check int snapshot_show(const struct snapshot_view *view, bool json);
