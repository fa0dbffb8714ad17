/* Private to vmm/vcpu*.c. Everything here runs on the vCPU's own thread. */
#pragma once

#include <signal.h>

#include "vmm/vcpu.h"

/* What brings the thread out of KVM_RUN. */
static inline int vcpu_kick_signal(void)
{
	return SIGRTMIN;
}

/* Only this thread writes it: an addition that need not be one operation. */
static inline void vcpu_count(_Atomic uint64_t *count)
{
	uint64_t old = atomic_load_explicit(count, memory_order_relaxed);

	atomic_store_explicit(count, old + 1, memory_order_relaxed);
}

/* vmm/vcpu_setup.c: makes the vCPU, gives it its CPUID and the MSRs that firmware would set. */
must_check int vcpu_setup(struct vcpu *vcpu, struct cpuid *cpuid, struct error *err);

/* The registers that a boot protocol wants. */
must_check int vcpu_set_boot_state(struct vcpu *vcpu, const struct boot_cpu *cpu,
				   struct error *err);

/* vmm/vcpu_exit.c: enters the guest once and handles what brought it back. MACHINE_RUNNING when it
 * can go on; else text says what happened. */
enum machine_end vcpu_enter(struct vcpu *vcpu, char *text, size_t size);

/* Has KVM finish the instruction whose I/O brought it back, without entering the guest: only then are the
 * registers those of an instruction boundary. MACHINE_RUNNING when done. */
enum machine_end vcpu_settle(struct vcpu *vcpu, char *text, size_t size);
