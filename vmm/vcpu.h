/*
 * One virtual CPU and its thread. The thread makes the vCPU and parks; once it may run it alternates
 * between the guest (KVM_RUN) and handling the exit that brought it back. Asked to pause, it finishes
 * what the guest is in the middle of and parks again: then the vCPU's state is whole and still. It ends
 * when it is told to, or when an exit ends the machine; then it says so through vcpu_host.ended, once,
 * and leaves.
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/latency.h"
#include "vmm/boot/cpu_state.h"
#include "vmm/bus.h"
#include "vmm/cpuid.h"
#include "vmm/kvm.h"

/* Why a machine ended. Every one but MACHINE_STOPPED is the guest's or the host's doing. */
enum machine_end {
	MACHINE_RUNNING, /* it has not */
	MACHINE_POWERED_OFF,
	MACHINE_RESET,
	MACHINE_TRIPLE_FAULT,
	MACHINE_KVM_ERROR,   /* KVM could not go on: text has the reason and the registers */
	MACHINE_MEMORY_LOST, /* a page of guest memory cannot be had any more */
	MACHINE_STOPPED,     /* from outside */
};

/* What a vCPU needs of its machine; constant while it runs. */
struct vcpu_host {
	const struct kvm *kvm;
	struct cpuid_source *cpuid;
	const struct bus *pio, *mmio;
	bool ahead; /* its vCPUs are made long before they run: what is slow once is done then */
	/* vCPU thread: the first KVM_RUN is next. May be NULL. */
	void (*first_run)(void *opaque);
	/* vCPU thread: memory was lost. True: it may be there again (something has changed since *seen, the
	 * vCPU's own), so enter the guest anew. */
	bool (*repair)(void *opaque, unsigned int *seen);
	/* vCPU thread: this exit ends the machine. text is for people and may have several lines. */
	void (*ended)(void *opaque, enum machine_end end, const char *text);
	void *opaque;
};

struct vcpu;

/* Work for a parked vCPU's thread. */
typedef int vcpu_task(struct vcpu *vcpu, void *arg, struct error *err);

/* What brought a vCPU back. */
enum vcpu_exit {
	VCPU_EXIT_IO_IN,
	VCPU_EXIT_IO_OUT,
	VCPU_EXIT_MMIO_READ,
	VCPU_EXIT_MMIO_WRITE,
	VCPU_EXITS,
};

struct vcpu {
	unsigned int index;		       /* the APIC id too */
	_Atomic uint64_t exits[VCPU_EXITS];    /* since it was made; the thread's, read by anyone */
	struct latency exit_times[VCPU_EXITS]; /* how long the guest waited for us; likewise */
	_Atomic uint64_t failures;	/* KVM could not go on, or memory was lost; likewise */
	_Atomic uint64_t pauses_untold; /* the guest's clock could not be told of one; likewise */
	_Atomic uint64_t other_exits;	/* the same for every other reason */
	const struct vcpu_host *host;
	pthread_t thread;
	bool has_thread, has_answered;
	unsigned int repairs_seen; /* the thread's: for vcpu_host.repair() */
	atomic_bool stop;	   /* to end */
	atomic_bool pause;	   /* to park; changes under the lock */

	sem_t create; /* the VM is there */

	/* The thread's until it has posted `ready`. */
	int fd;
	struct kvm_run *run;
	int tsc_khz;	    /* as it was made; 0 or less where KVM does not say */
	struct error error; /* why it could not be made */
	sem_t ready;

	/* Under the lock; `changed` is told of every change. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool parked; /* it touches neither guest nor vCPU until told to; true for good once it ended */
	bool ended;
	uint64_t awake_until; /* ns of CLOCK_MONOTONIC: until then neither side sleeps */
	bool has_run;	      /* it was in the guest */
	vcpu_task *task;      /* what it is to do where it is parked; NULL: nothing */
	void *task_arg;
	struct error *task_error;
	int task_result;
};

/* Once per process, before any vCPU starts: makes the signal that kicks them harmless. */
void vcpu_setup_kick_signal(void);

/*
 * Starts the thread, which works out the vCPU's CPUID beside whatever the caller does meanwhile, then
 * waits for vcpu_create(). After kvm_open(); host outlives the vCPU.
 */
must_check int vcpu_start(struct vcpu *vcpu, unsigned int index, const struct vcpu_host *host,
			  struct error *err);

/* Has the thread make the vCPU, then park. After kvm_create_irqchip(). */
void vcpu_create(struct vcpu *vcpu);

/* 0 when the vCPU is there, else why it could not be made. */
must_check int vcpu_wait_ready(struct vcpu *vcpu, struct error *err);

/*
 * Gives a parked vCPU the state of a boot protocol (boot stays valid until it has run); does not wait. A
 * failure ends the machine. Of the others, in the state that they are made in, KVM lets none into the
 * guest before another vCPU calls it. Control thread.
 */
void vcpu_set_boot(struct vcpu *vcpu, struct boot_cpu *boot);

/* Lets a parked vCPU enter the guest. Ready vCPUs only. Control thread. */
void vcpu_run(struct vcpu *vcpu);

/*
 * Brings it out of the guest to where it parks: all are asked before any is waited for, since a
 * parked vCPU may be what another one waits for. Harmless when it is parked or has ended. Control
 * thread.
 */
void vcpu_ask_pause(struct vcpu *vcpu);
void vcpu_wait_paused(struct vcpu *vcpu);

/*
 * Runs task(vcpu, arg, err) on the thread of a parked vCPU, which is where KVM wants a vCPU's ioctls to
 * come from; vcpu_wait_task() returns what it returned. One at a time; -ECANCELED when the thread ends
 * or has ended without it. Control thread.
 */
void vcpu_start_task(struct vcpu *vcpu, vcpu_task *task, void *arg, struct error *err);
must_check int vcpu_wait_task(struct vcpu *vcpu);

/*
 * For half a millisecond the thread of a parked vCPU, and who waits for its task, do not sleep: a task and the vCPU's run
 * are about to come, and each wake-up in between would cost what the task itself does. Control thread.
 */
void vcpu_keep_awake(struct vcpu *vcpu);

/* Makes the thread leave the guest and end; vcpu_join() waits for it. Control thread. */
void vcpu_stop(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

/* After the thread has ended. */
void vcpu_destroy(struct vcpu *vcpu);
