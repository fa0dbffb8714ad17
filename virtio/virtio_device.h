/*
 * The core of a virtio device: what every device has and no transport and no device does itself.
 *
 *   vCPU threads -> transport -> register file (dev->lock)
 *                                     | DRIVER_OK: start       | reset: stop
 *   loop thread                  queues, requests in flight, watches: no lock
 *
 * A start or a stop is a transition: the vCPU marks it, lets go of the lock, runs it on the loop
 * and waits. Whoever else wants the register file meanwhile waits for the transition, not for
 * the lock, so the loop (which takes the lock for moments, to say "needs reset") never waits for
 * a vCPU, and two vCPUs that race on the registers are served one after the other.
 *
 * "The loop" is its thread, or a vCPU's that has borrowed it (virtio_here.c): never two at once.
 *
 * A device is a constant `struct virtio_ops` and a struct with a `struct virtio_device` in it.
 */
#pragma once

#include <linux/virtio_config.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/event_loop.h"
#include "base/irq_line.h"
#include "base/latency.h"
#include "base/log.h"
#include "snapshot/state_desc.h"
#include "virtio/virtqueue.h"

struct virtio_device;

/* What a queue knows of how its requests come (virtio_gather.c). */
struct virtio_gather {
	struct loop_delay delay;
	bool waits;
	bool large;	  /* there was a large request in this batch */
	uint16_t target;  /* chains that are worth waiting for; 1: no wait */
	uint16_t had;	  /* when the wait began */
	uint16_t skip;	  /* chances to let go by */
	uint16_t penalty; /* how many after the next wait in vain */
	uint32_t gap_ns;  /* from one chain to the next, lately */
	uint64_t since;	  /* ns, when the wait began */
};

/* Whether a vCPU that notifies serves the queue itself (virtio_here.c). */
struct virtio_here {
	bool now;	 /* one does */
	uint16_t alone;	 /* turns of the loop's in a row that found one small chain each */
	uint16_t wanted; /* how many of them it takes */
	uint16_t left;	 /* times until the loop is to have a look again */
	bool is_past;	 /* notifications go past the vCPU, to notify_fd: virtio_bell.bind() */
	uint16_t turns;	 /* that speak for the opposite */
};

/*
 * Of the owner of devices whose vCPUs may serve them: the ways that notifications can take. bind() has the queue's go
 * straight to its notify_fd, or come with an exit to virtio_mmio_write(), as they do at first. On the device's loop's
 * thread; may wait a moment for vCPUs. -errno: it is as before.
 */
struct virtio_bell {
	int (*bind)(struct virtio_bell *bell, struct virtio_device *dev, unsigned int queue,
		    bool to_fd);
};

/* One queue of a device: the ring and how it is woken. Loop thread only, but for notify_fd. */
struct virtio_queue {
	struct virtqueue ring;
	struct virtio_device *dev;
	unsigned int index;
	struct loop_watch
		notified; /* its fd: an eventfd that each notification of the guest writes */
	struct loop_defer publish; /* shows a batch of pushed chains at the end of the turn */
	struct virtio_gather gather;
	struct virtio_here here;
};

#define VIRTIO_LATENCIES 2u

struct virtio_ops {
	uint32_t id; /* VIRTIO_ID_* */

	/* Everything here runs on the device's loop, and not at the same time as anything else. */

	/* The driver is ready and the rings are enabled. May be NULL. -errno: the device will need
	 * a reset. */
	int (*start)(struct virtio_device *dev);
	/* There may be chains in this queue. Bounded work: virtio_queue_serve() does it right. */
	void (*notify)(struct virtio_queue *queue);
	/* No notify() will come. Returns when nothing is in flight and no watch of the device's
	 * own is armed: waits by event_loop_run_once(). What completes is pushed as ever. May be
	 * NULL where notify() leaves nothing behind. */
	void (*stop)(struct virtio_device *dev);

	/* The driver writes its configuration space: vCPU threads, under the lock; `offset` and `len` are
	 * whatever it likes. NULL where nothing in it is the driver's. */
	void (*write_config)(struct virtio_device *dev, uint64_t offset, const void *data,
			     unsigned int len);

	/* The driver begins anew: what it had set is forgotten. The device is stopped. Under the lock,
	 * vCPU thread. May be NULL. */
	void (*reset)(struct virtio_device *dev);

	/* Frees the device: stopped and fini'd by now. Control thread. */
	void (*free)(struct virtio_device *dev);

	/*
	 * What a snapshot holds of the device beside registers and queues: `state` describes the
	 * structure that save() fills in and load() takes; load() trusts none of it. Both run on the
	 * control thread while the device is paused. All NULL for a device that has no more.
	 */
	const struct state_desc *state;
	void (*save)(struct virtio_device *dev, void *state);
	int (*load)(struct virtio_device *dev, const void *state, struct error *err);

	/* Would notify() serve what comes into this queue next before it returns, and wait for nothing? NULL: no. */
	bool (*at_once)(const struct virtio_queue *queue);

	bool gathers; /* its queues wait a moment for more when more is likely */

	/* What it counts, by the names that Firecracker's metrics use; virtio_count() takes the index
	 * into this. May be none. */
	const char *const *counter_names;
	unsigned int counter_count;

	/* What it times, likewise; NULL: nothing (more). */
	const char *latency_names[VIRTIO_LATENCIES];
};

/* The register file, and what a saved device consists of beside its queues. */
struct virtio_registers {
	uint64_t driver_features; /* what the driver accepted; fixed once FEATURES_OK is set */
	uint32_t features_beyond; /* what it accepted past bit 63, where nothing is offered */
	uint32_t device_features_sel;
	uint32_t driver_features_sel;
	uint32_t queue_sel;
	uint32_t status;	    /* VIRTIO_CONFIG_S_* */
	uint32_t config_generation; /* changes with each change of the configuration space */
};

struct virtio_device {
	/* Fixed at creation. */
	const struct virtio_ops *ops;
	char name[32]; /* for messages: "vda" */
	const struct guest_memory *mem;
	struct event_loop *loop;
	struct irq_line *irq;
	uint64_t features; /* offered */
	unsigned int queue_count;
	uint16_t queue_size_max;
	const void *config; /* the device's configuration space, in itself */
	size_t config_size; /* bytes */
	struct virtio_bell
		*bell; /* of a device that serves_here; NULL: notifications stay as they are */
	bool serves_here; /* notifications come to virtio_mmio_write(), not to the eventfds; has ops->at_once */
	int notice_fd; /* an eventfd: something has happened that others want to know; 0: nobody does */

	/* Under the lock. */
	pthread_mutex_t lock;
	pthread_cond_t settled; /* no transition is in progress any more */
	bool in_transition;
	bool paused; /* by virtio_device_pause() */
	struct virtio_registers regs;
	struct virtqueue_layout *layouts; /* [queue_count] */
	char why_broken[96];		  /* when it last needed a reset */

	/* Since creation; read by any thread. */
	_Atomic uint64_t *counters;	 /* [ops->counter_count] */
	_Atomic uint64_t breaks;	 /* virtio_device_break() was called so often */
	_Atomic uint64_t activate_fails; /* the driver was ready and the device could not start */
	_Atomic uint64_t config_fails;	 /* of what the driver asked by its configuration */
	struct latency latencies[VIRTIO_LATENCIES]; /* by ops->latency_names; the loop's */

	/* VIRTIO_MMIO_INT_*; in the page below, or the word here. */
	_Atomic uint32_t *interrupt_status, own_interrupt_status;
	struct log_limit warnings;

	/* Where a driver reads the registers without us (virtio_mmio_show()); NULL: nowhere. What makes it true again
	 * runs under the lock, by virtio_device_refresh(). */
	uint8_t *page;
	void (*refresh)(struct virtio_device *dev);

	/* The loop's. */
	struct virtio_queue *queues; /* [queue_count] */
	uint64_t active_features;    /* negotiated, while running */
	bool running; /* changes in transitions only, so under the lock it may be read */
	bool broken;  /* needs a reset: serve nothing */
};

/* What virtio_device_init() wants to know. */
struct virtio_device_params {
	const struct virtio_ops *ops;
	const char *name;
	uint64_t features; /* VERSION_1 and the ring features are added by the core */
	unsigned int queue_count;
	uint16_t queue_size_max; /* power of 2, at most VIRTQUEUE_SIZE_MAX */
	const void *config;	 /* lives as long as the device */
	size_t config_size;
	const struct guest_memory *mem;
	struct event_loop *loop;
	struct irq_line *irq;
};

/* For the monitor: control thread ----------------------------------------------------------------*/

/* Stops the device, however busy, and frees it. No vCPU may be inside it. NULL is fine. */
void virtio_device_destroy(struct virtio_device *dev);

/* Stops a running device with its state intact, until virtio_device_resume(); vCPUs are paused. */
void virtio_device_pause(struct virtio_device *dev);
void virtio_device_resume(struct virtio_device *dev);

/* Any thread; fixed at creation. The eventfd is the device's: whatever writes it notifies. */
unsigned int virtio_device_queue_count(const struct virtio_device *dev);
int virtio_device_notify_fd(const struct virtio_device *dev, unsigned int queue);

/* For devices ------------------------------------------------------------------------------------*/

/* Control thread. On failure nothing is left to undo. */
must_check int virtio_device_init(struct virtio_device *dev,
				  const struct virtio_device_params *params, struct error *err);
/* Undoes it; for creations that failed later, and for virtio_device_destroy(). */
void virtio_device_fini(struct virtio_device *dev);

/* Adds to one of the device's counters. Any thread. */
static inline void virtio_count(struct virtio_device *dev, unsigned int counter, uint64_t n)
{
	atomic_fetch_add_explicit(&dev->counters[counter], n, memory_order_relaxed);
}

/* The driver has asked for what its configuration does not have. Any thread. */
static inline void virtio_config_failed(struct virtio_device *dev)
{
	atomic_fetch_add_explicit(&dev->config_fails, 1, memory_order_relaxed);
}

/* Has a driver taken it, whether or not it is paused? Any thread. */
bool virtio_device_is_driven(struct virtio_device *dev);

/* Loop thread, while running: was this feature (a bit number) negotiated? */
bool virtio_device_has(const struct virtio_device *dev, unsigned int feature);

/* Loop thread. The configuration space is about to be changed by change(dev, arg), which runs
 * under the lock; the driver is told. */
void virtio_device_change_config(struct virtio_device *dev,
				 void (*change)(struct virtio_device *dev, const void *arg),
				 const void *arg);

/* Under the lock: what a driver may read of it has changed. */
static inline void virtio_device_refresh(struct virtio_device *dev)
{
	if (dev->page)
		dev->refresh(dev);
}

/* Any thread: what is counted of the device has changed so that others want to know. */
void virtio_device_tell(const struct virtio_device *dev);

/* Loop thread. The driver broke the protocol (or we cannot go on): status NEEDS_RESET, a
 * configuration interrupt, a warning; no queue is served until the driver resets us. */
void virtio_device_break(struct virtio_device *dev, const char *why);

/*
 * Loop thread; the body of most notify()s. Calls serve() until it finds no chain (0), the ring is
 * broken (negative: the device then is), or `budget` chains were taken; then the others have
 * their turn and notify() is called again in the next. serve() returns 1 for a chain.
 * VIRTIO_SERVE_WAITS: there is a chain, put back (virtqueue_unpop()), that cannot be served now;
 * the driver is not asked for notifications and the device calls virtio_queue_resume() in time.
 */
#define VIRTIO_SERVE_WAITS 2
void virtio_queue_serve(struct virtio_queue *queue, int (*serve)(struct virtio_queue *queue),
			unsigned int budget);

/* Loop thread. Serves a queue again that was left waiting; does nothing if that is over (reset). */
void virtio_queue_resume(struct virtio_queue *queue);

/* Any thread. notify() is called in the loop's next turn, after everyone else has had theirs. */
void virtio_queue_serve_later(struct virtio_queue *queue);

/* Loop thread, from serve(): this chain takes longer than an interrupt costs the guest; of a device
 * that gathers, its queue is not to wait for more of that kind. */
static inline void virtio_queue_is_large(struct virtio_queue *queue)
{
	queue->gather.large = true;
}

/* Loop thread. Hands a chain back; published, with one interrupt a batch, at the turn's end. */
void virtio_queue_push(struct virtio_queue *queue, uint16_t head, uint32_t written);

/* Loop thread. Publishes what was pushed at once: for the first of a batch whose rest takes time. */
void virtio_queue_publish(struct virtio_queue *queue);

/* For transports: vCPU threads -------------------------------------------------------------------*/

/* The driver notifies a queue: serves it or wakes the loop for that. Without the lock. */
void virtio_device_notify(struct virtio_device *dev, uint32_t queue);

/* Takes the lock when no transition is in progress. */
void virtio_device_lock(struct virtio_device *dev);
void virtio_device_unlock(struct virtio_device *dev);

/* These three are called with it held, and let go of it while the loop works. */

/* The driver writes the status register. 0: reset, nothing is in flight when it returns. */
void virtio_device_set_status(struct virtio_device *dev, uint32_t status);
/* The driver says that its ring is ready (refused unless it is sound) or resets a live one. */
void virtio_device_enable_queue(struct virtio_device *dev, unsigned int queue);
void virtio_device_reset_queue(struct virtio_device *dev, unsigned int queue);

/* With the lock held: may the driver change this queue's registers now? */
bool virtio_device_queue_is_open(const struct virtio_device *dev, unsigned int queue);
