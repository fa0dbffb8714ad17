/*
 * Memory files put together: a copy of one, a layer (a diff) laid over one. What is data in a layer replaces what is below,
 * zeroes too; a hole changes nothing. All files are as long as the guest's memory. Where the filesystem can, blocks are
 * shared instead of copied (copy_file_range sees to it), so both take next to no time.
 */
#pragma once

#include "base/error.h"
#include "snapshot/progress.h"

/* Lays all that is data in `from` over what is in `to`: its `size` bytes. A copy, when `to` has nothing but holes. Each
 * piece adds to the progress (NULL: nobody asked). -errno. */
must_check int memory_layers_lay(int from, int to, uint64_t size, struct progress *progress);

/* About how many bytes that will be, by the blocks of `from`; 0 when nothing tells. */
uint64_t memory_layers_bytes(int from);

/* How many pages of `fd` are data to its filesystem, whose blocks may be larger than pages. -errno. */
int64_t memory_layers_data_pages(int fd, uint64_t size);
