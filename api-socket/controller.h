/*
 * The microVM as the control plane sees it: what has been asked for so far, the phase it is in, and
 * the machine once it runs. Front ends reach it through methods (api-socket/method.h) alone.
 *
 * Control thread. One in a process, but nothing here is global.
 */
#pragma once

#include "api-socket/method.h"
#include "base/event_loop.h"
#include "vmm/machine.h"

/* What the program around it does at the turns of a microVM's life. */
struct controller_host {
	/* The machine is built and about to run. -errno and *err: it must not. */
	int (*built)(void *opaque, struct machine *machine, struct error *err);
	/* It runs. */
	void (*started)(void *opaque);
	/* It is about to go, as at a start that failed after built(). May come without that. */
	void (*gone)(void *opaque);
	/* It has gone, and nothing of it runs any more. As often. */
	void (*freed)(void *opaque);
	/* A load is to wait for a page-fault handler. A descriptor that is readable while the process is to end and has
	 * not begun to, the load's; -errno and *err. NULL: there is none. */
	int (*load_waits)(void *opaque, struct error *err);
	void *opaque;
};

struct controller_params {
	struct event_loop *loop; /* the control loop */
	const struct controller_host *host;
	struct timeline *timeline;
	const char *id;	 /* the instance's; borrowed */
	size_t mmds_max; /* bytes of metadata */
	const char *
		tap_policies; /* names, between commas, of the taps that the jailer set a policy for;
				   * NULL: nobody jailed this process; borrowed */
	bool boot_timer;      /* log how long the guest took to boot */
	uint64_t startup_us, startup_cpu_us; /* what the start of this process took; 0: not known */
};

must_check int controller_create(struct controller **out, const struct controller_params *params,
				 struct error *err);

/* The machine goes first, if there is one. NULL is fine. */
void controller_destroy(struct controller *controller);

/* The machine has ended by itself: tells everybody who listens how. */
void controller_tell_end(struct controller *controller);

/* This signal ends the process: in order, or (async-signal-safe, any thread) where it stands. The metrics say so. */
void controller_note_signal(struct controller *controller, int signal);
void controller_tell_crash(const struct controller *controller, int signal);

/* Is it the name of a level for /logger? Pure. */
bool controller_knows_level(const char *name);
