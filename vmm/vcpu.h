/*
 * One virtual CPU and its thread. The thread alternates between the guest (KVM_RUN) and handling
 * the exit that brought it back. It ends when it is told to, or when an exit ends the machine;
 * then it says so through vcpu_host.ended, once, and leaves.
 */
#pragma once

#include <pthread.h>
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
	const struct bus *pio, *mmio;
	/* vCPU thread: the first KVM_RUN is next. May be NULL. */
	void (*first_run)(void *opaque);
	/* vCPU thread: this exit ends the machine. text is for people and may have several lines. */
	void (*ended)(void *opaque, enum machine_end end, const char *text);
	void *opaque;
};

struct vcpu {
	int fd;
	unsigned int index;
	struct kvm_run *run;
	size_t run_size;
	const struct vcpu_host *host;
	pthread_t thread;
	bool has_thread;
	atomic_bool stop;
};

/* Makes the vCPU and gives it its CPUID. Call in order of index, which is the APIC id. */
must_check int vcpu_create(struct vcpu *vcpu, const struct kvm *kvm, unsigned int index,
			   struct cpuid *cpuid, struct error *err);

/* Sets the registers a boot protocol wants; only the first vCPU, the others wait for its call. */
must_check int vcpu_set_boot_state(struct vcpu *vcpu, const struct boot_cpu *cpu,
				   struct error *err);

/* Memory type and fast-string registers as firmware leaves them, every vCPU. */
must_check int vcpu_set_msrs(struct vcpu *vcpu, struct error *err);

/* Once per process, before any vCPU starts: makes the signal that kicks them harmless. */
void vcpu_setup_kick_signal(void);

must_check int vcpu_start(struct vcpu *vcpu, const struct vcpu_host *host, struct error *err);

/* Makes the thread leave the guest and end; vcpu_join() waits for it. Any thread but a vCPU's. */
void vcpu_stop(struct vcpu *vcpu);
void vcpu_join(struct vcpu *vcpu);

/* After the thread has ended. */
void vcpu_destroy(struct vcpu *vcpu);
