/*
 * Which pages of guest memory the monitor itself has changed, a bit each, for snapshots of what has changed;
 * what vCPUs change KVM notes. Nothing is noted (mem->dirty is NULL) unless guest_dirty_start() was called.
 *
 * Why no change is missed: a device changes guest memory in three ways, and each is noted.
 *  - It fills a buffer that the driver gave it. It knows such a buffer from virtqueue_pop() alone, which
 *    notes all of its pages there and then, before the device has it: more than will be written,
 *    never less. It writes to it only until it hands the chain back. A save happens with all devices
 *    stopped, thus with every chain handed back or to be popped, and noted, again; and bits are cleared
 *    by a save alone. So no write to a buffer comes after the clearing of the bit that was set for it.
 *  - It writes into a ring: virtqueue_push(), virtqueue_publish() and the wishes for notifications, which note it.
 *  - The balloon drops pages, which are zeroes (or a file's) from then on, and notes them. What hinting and
 *    reporting drop was popped as a buffer, but may be dropped in many steps, so it is noted with each.
 * What else writes by guest_write() is noted there. What the kernel is loaded with before the start is not:
 * the first save of a machine that was booted is of everything.
 */
#pragma once

#include "base/guest_memory.h"

/* Begins to note. No vCPU and no device runs. -ENOMEM. A second call changes nothing. */
must_check int guest_dirty_start(struct guest_memory *mem, struct error *err);

/* Notes nothing more. As above. */
void guest_dirty_stop(struct guest_memory *mem);

/* All is as it was saved. Nothing runs that could change it. */
void guest_dirty_clear(const struct guest_memory *mem);

/* How many words of 64 pages there are: as the memory image has them, the regions one after the other. */
uint64_t guest_dirty_words(const struct guest_memory *mem);

/* Use guest_dirty(). */
void guest_dirty_note(const struct guest_memory *mem, const void *host, uint64_t len);

/* [host, host + len) in guest memory is or will be changed; other memory is let be. Any thread. */
static inline void guest_dirty(const struct guest_memory *mem, const void *host, uint64_t len)
{
	if (__builtin_expect(mem->dirty != NULL, false))
		guest_dirty_note(mem, host, len);
}
