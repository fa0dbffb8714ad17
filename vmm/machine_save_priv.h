/* Private to vmm/machine_save*.c: a save under way. */
#pragma once

#include "snapshot/memory_image.h"
#include "snapshot/new_file.h"
#include "vmm/machine_snapshot_priv.h"

struct save {
	struct machine *machine;
	const struct save_request *request;
	struct snapshot_info info;
	struct state_writer writer;
	struct new_file state, memory;
	struct page_set pages;
	bool is_diff; /* only what has changed is written, */
	bool merges;  /* into a copy of what is there */
};

/* Has KVM's map of changed pages, and begins it anew; for a diff, all that has changed is added to save->pages. */
must_check int save_take_dirty(struct save *save, struct error *err);

/* Between the opening of the new memory file and its first page: what it is a layer of, or what it starts from. */
must_check int save_begin_diff(struct save *save, struct error *err);

/* After its last page. -ENOTSUP where holes do not work as a layer needs them. */
must_check int save_end_diff(struct save *save, struct error *err);
