/*
 * virtio-balloon (VIRTIO 1.2 section 5.5): pages that the guest does without are given back to the host, by
 * inflating, by reporting of free pages and by hints. What is given back reads as zeroes afterwards, or, where a
 * kernel image is mapped, as that file again: the guest has said that it does not care.
 */
#pragma once

#include "virtio/virtio_device.h"

struct virtio_balloon_params {
	const char *name;	   /* for messages */
	uint32_t target_mib;	   /* how much of the guest's memory the balloon is to take, MiB */
	bool deflate_on_oom;	   /* a guest short of memory may take pages back by itself */
	uint16_t stats_interval_s; /* 0: no statistics, ever */
	bool reporting;		   /* VIRTIO_BALLOON_F_REPORTING */
	bool hinting;		   /* VIRTIO_BALLOON_F_FREE_PAGE_HINT */
};

/* Control thread. Everything it is given outlives the device. -EINVAL: a target beyond the guest's memory. */
must_check int virtio_balloon_create(struct virtio_device **out,
				     const struct virtio_balloon_params *params,
				     struct guest_memory *mem, struct event_loop *loop,
				     struct irq_line *irq, struct error *err);

/* Live: any thread but a loop's, any state of the device; each takes a turn of its loop --------------------------*/

/* The guest is told and follows in its own time. -EINVAL beyond the guest's memory. */
must_check int virtio_balloon_set_target(struct virtio_device *dev, uint32_t mib,
					 struct error *err);

/* -EINVAL: from or to 0. Whether there are statistics is a feature, so fixed. */
must_check int virtio_balloon_set_stats_interval(struct virtio_device *dev, uint16_t seconds,
						 struct error *err);

/* Statistics by their tag (5.5.6.4, and those that Linux has added since). */
#define VIRTIO_BALLOON_TAGS 16u

struct virtio_balloon_stats {
	uint32_t target_pages, actual_pages; /* of 4 KiB: what we ask for, what the guest gave */
	uint32_t present;		     /* bit `tag`: the guest has said it */
	uint64_t values[VIRTIO_BALLOON_TAGS];
};

/* What the guest said last. -ENODATA when it was created without statistics. */
must_check int virtio_balloon_get_stats(struct virtio_device *dev, struct virtio_balloon_stats *out,
					struct error *err);

/* The name that Firecracker's API has for a tag below VIRTIO_BALLOON_TAGS. Static storage. */
const char *virtio_balloon_stat_name(unsigned int tag);

/* Where a run of hints is: ids of runs count from 2; 0 is "stop", 1 "done, take your pages back". */
struct virtio_balloon_hinting {
	uint32_t host_cmd;  /* what we have told the guest */
	uint32_t guest_cmd; /* what it has said last */
	bool has_guest_cmd; /* it has said something */
};

/*
 * Asks the guest to name its free pages, which are given back and which it holds until it is told that the run is
 * done: at the end of its list if `acknowledge_on_stop`, else by virtio_balloon_hinting_stop(). All: -ENOTSUP when
 * it was created without hinting.
 */
must_check int virtio_balloon_hinting_start(struct virtio_device *dev, bool acknowledge_on_stop,
					    struct error *err);
must_check int virtio_balloon_hinting_stop(struct virtio_device *dev, struct error *err);
must_check int virtio_balloon_hinting_status(struct virtio_device *dev,
					     struct virtio_balloon_hinting *out, struct error *err);
