/*
 * One virtual CPU and its thread. The thread makes the vCPU, then alternates between the guest
 * (KVM_RUN) and handling the exit that brought it back. It ends when it is told to, or when an exit ends the machine;
 * then it says so through vcpu_host.ended, once, and leaves.
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

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
	/* vCPU thread: the first KVM_RUN is next. May be NULL. */
	void (*first_run)(void *opaque);
	/* vCPU thread: this exit ends the machine. text is for people and may have several lines. */
	void (*ended)(void *opaque, enum machine_end end, const char *text);
	void *opaque;
};

struct vcpu {
	unsigned int index; /* the APIC id too */
	const struct vcpu_host *host;
	pthread_t thread;
	bool has_thread, has_answered;
	atomic_bool stop;

	sem_t create; /* the VM is there */

	/* The thread's until it has posted `ready`. */
	int fd;
	struct kvm_run *run;
	struct error error; /* why it could not be made */
	sem_t ready;

	/* The control thread's until it has posted `go`. */
	const struct boot_cpu *boot;
	sem_t go;
};

/* Once per process, before any vCPU starts: makes the signal that kicks them harmless. */
void vcpu_setup_kick_signal(void);

/*
 * Starts the thread, which works out the vCPU's CPUID beside whatever the caller does meanwhile, then
 * waits for vcpu_create(). After kvm_open(); host outlives the vCPU.
 */
must_check int vcpu_start(struct vcpu *vcpu, unsigned int index, const struct vcpu_host *host,
			  struct error *err);

/* Has the thread make the vCPU, then wait for vcpu_run(). After kvm_create_irqchip(). */
void vcpu_create(struct vcpu *vcpu);

/* 0 when the vCPU is there, else why it could not be made. */
must_check int vcpu_wait_ready(struct vcpu *vcpu, struct error *err);

/* Lets it enter the guest: in the state `boot` (which stays valid), or, with NULL, waiting for the
 * call of another vCPU. Ready vCPUs only. */
void vcpu_run(struct vcpu *vcpu, const struct boot_cpu *boot);

/* Makes the thread leave the guest and end; vcpu_join() waits for it. Control thread. */
void vcpu_stop(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

/* After the thread has ended. */
void vcpu_destroy(struct vcpu *vcpu);
