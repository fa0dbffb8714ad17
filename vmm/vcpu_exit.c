/* What brings a vCPU back from the guest, and what becomes of it. */
#include <stdio.h>
#include <sys/ioctl.h>

#include "base/clock.h"
#include "vmm/vcpu_priv.h"

/* An access that began at `start` is served. */
static void count_exit(struct vcpu *vcpu, enum vcpu_exit exit, uint64_t start)
{
	const uint64_t took = clock_now_ns(CLOCK_MONOTONIC) - start;

	vcpu_count(&vcpu->exits[exit]);
	latency_add(&vcpu->exit_times[exit], took, took, took);
}

static void handle_pio(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);
	uint8_t *data = (uint8_t *)vcpu->run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(vcpu->host->pio, run->io.port, data, run->io.size);
		else
			bus_write(vcpu->host->pio, run->io.port, data, run->io.size);
	}
	count_exit(vcpu, run->io.direction == KVM_EXIT_IO_IN ? VCPU_EXIT_IO_IN : VCPU_EXIT_IO_OUT,
		   start);
}

static void handle_mmio(struct vcpu *vcpu)
{
	const uint64_t start = clock_now_ns(CLOCK_MONOTONIC);
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		bus_write(vcpu->host->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(vcpu->host->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	count_exit(vcpu, run->mmio.is_write ? VCPU_EXIT_MMIO_WRITE : VCPU_EXIT_MMIO_READ, start);
}

static size_t format_registers(const struct vcpu *vcpu, char *text, size_t size)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu->fd, KVM_GET_REGS, &r) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
		return 0;
	return (size_t)snprintf(text, size,
				"\n  rip %016llx  rsp %016llx  rflags %08llx"
				"\n  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx"
				"\n  rsi %016llx  rdi %016llx  rbp %016llx  r8  %016llx"
				"\n  r9  %016llx  r10 %016llx  r11 %016llx  r12 %016llx"
				"\n  r13 %016llx  r14 %016llx  r15 %016llx"
				"\n  cr0 %08llx  cr2 %016llx  cr3 %016llx  cr4 %08llx  efer %08llx"
				"\n  cs %04x base %llx  ss %04x  gdt %llx+%x  idt %llx+%x",
				r.rip, r.rsp, r.rflags, r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi,
				r.rbp, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, s.cr0,
				s.cr2, s.cr3, s.cr4, s.efer, s.cs.selector, s.cs.base,
				s.ss.selector, s.gdt.base, s.gdt.limit, s.idt.base, s.idt.limit);
}

static void describe_kvm_error(const struct vcpu *vcpu, char *text, size_t size)
{
	const struct kvm_run *run = vcpu->run;
	int used;

	switch (run->exit_reason) {
	case KVM_EXIT_INTERNAL_ERROR:
		used = snprintf(text, size, "vCPU %u: KVM internal error, suberror %u%s",
				vcpu->index, run->internal.suberror,
				run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
					? " (an instruction it cannot emulate)"
					: "");
		break;
	case KVM_EXIT_FAIL_ENTRY:
		used = snprintf(text, size,
				"vCPU %u: KVM cannot enter the guest, hardware reason %#llx",
				vcpu->index, run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		used = snprintf(text, size, "vCPU %u: unexpected KVM exit %u", vcpu->index,
				run->exit_reason);
		break;
	}
	format_registers(vcpu, text + used, size - (size_t)used);
}

static enum machine_end end_by_exit(const struct vcpu *vcpu, char *text, size_t size)
{
	const struct kvm_run *run = vcpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		snprintf(text, size, "vCPU %u: triple fault", vcpu->index);
		return MACHINE_TRIPLE_FAULT;
	case KVM_EXIT_SYSTEM_EVENT:
		snprintf(text, size, "vCPU %u: system event %u", vcpu->index,
			 run->system_event.type);
		return run->system_event.type == KVM_SYSTEM_EVENT_SHUTDOWN ? MACHINE_POWERED_OFF
									   : MACHINE_RESET;
	default:
		describe_kvm_error(vcpu, text, size);
		return MACHINE_KVM_ERROR;
	}
}

/* Returns MACHINE_RUNNING when the guest can go on. */
static enum machine_end handle_exit(struct vcpu *vcpu, char *text, size_t size)
{
	switch (vcpu->run->exit_reason) {
	case KVM_EXIT_IO:
		handle_pio(vcpu);
		return MACHINE_RUNNING;
	case KVM_EXIT_MMIO:
		handle_mmio(vcpu);
		return MACHINE_RUNNING;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_IOAPIC_EOI: /* only for level-triggered routes, of which we make none */
		vcpu_count(&vcpu->other_exits);
		return MACHINE_RUNNING;
	default:
		return end_by_exit(vcpu, text, size);
	}
}

static enum machine_end handle_failure(const struct vcpu *vcpu, int code, char *text, size_t size)
{
	switch (code) {
	case EINTR:
	case EAGAIN: /* a vCPU that waits for its start-up call was woken */
		return MACHINE_RUNNING;
	case EFAULT: /* a page of guest memory that the host cannot provide */
	case EHWPOISON:
		snprintf(text, size, "vCPU %u: a page of guest memory cannot be read", vcpu->index);
		return MACHINE_MEMORY_LOST;
	default: {
		int used = snprintf(text, size, "vCPU %u: KVM_RUN: %s", vcpu->index,
				    strerrordesc_np(code));

		format_registers(vcpu, text + used, size - (size_t)used);
		return MACHINE_KVM_ERROR;
	}
	}
}

enum machine_end vcpu_enter(struct vcpu *vcpu, char *text, size_t size)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0) < 0) {
		int code = errno;

		vcpu_count(&vcpu->other_exits);
		return handle_failure(vcpu, code, text, size);
	}
	return handle_exit(vcpu, text, size);
}

/*
 * The KVM documentation of KVM_RUN: for KVM_EXIT_IO and KVM_EXIT_MMIO the operations are complete, and the
 * state is consistent, only after userspace has entered the kernel again; with immediate_exit set the
 * kernel completes them and returns EINTR. An access in several pieces comes back for the next piece
 * instead, at most a thousand times (a string instruction).
 */
enum machine_end vcpu_settle(struct vcpu *vcpu, char *text, size_t size)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
	while (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
		enum machine_end end = handle_exit(vcpu, text, size);

		if (end != MACHINE_RUNNING)
			return end;
	}
	return handle_failure(vcpu, errno, text, size);
}
