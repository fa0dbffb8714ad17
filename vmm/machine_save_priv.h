/* Private to vmm/machine_save*.c: a save under way. */
#pragma once

#include "snapshot/memory_image.h"
#include "snapshot/memory_write.h"
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
	bool merges; /* into what is there: a copy of it, or the file itself when it came as a descriptor */
	int there; /* that file; -1 when it is not a copy that is wanted */
};

/* Has KVM's map of changed pages, and begins it anew; for a diff, all that has changed is added to save->pages. */
must_check int save_take_dirty(struct save *save, struct error *err);

/* Before the memory file is opened: is there one that what has changed is merged into? */
must_check int save_find_base(struct save *save, struct error *err);

/* Between the opening of the new memory file and its first page: what it is a layer of, or what it starts from. */
must_check int save_begin_diff(struct save *save, struct error *err);

/* After its last page. -ENOTSUP where holes do not work as a layer needs them. */
must_check int save_end_diff(struct save *save, struct error *err);
