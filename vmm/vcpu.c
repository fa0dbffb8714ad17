#include "vmm/vcpu.h"

#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/thread.h"

#define MSR_IA32_MISC_ENABLE 0x1a0
#define MISC_ENABLE_FAST_STRING 1
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLE_WRITE_BACK (1u << 11 | 6)

/* Creation -------------------------------------------------------------------------------------*/

static int set_cpuid(const struct vcpu *vcpu, struct cpuid *cpuid, struct error *err)
{
	cpuid_set_vcpu(cpuid, vcpu->index);
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		return error_set_errno(err, errno, "vCPU %u: KVM_SET_CPUID2", vcpu->index);
	return 0;
}

int vcpu_create(struct vcpu *vcpu, const struct kvm *kvm, unsigned int index, struct cpuid *cpuid,
		struct error *err)
{
	int ret;

	*vcpu = (struct vcpu){ .index = index, .run_size = kvm->run_size };
	vcpu->fd = ioctl(kvm->vm, KVM_CREATE_VCPU, index);
	if (vcpu->fd < 0)
		return error_set_errno(err, errno, "cannot create vCPU %u (KVM_CREATE_VCPU)",
				       index);
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		ret = error_set_errno(err, errno, "vCPU %u: cannot map its state", index);
		goto err_close;
	}
	ret = set_cpuid(vcpu, cpuid, err);
	if (ret < 0)
		goto err_unmap;
	return 0;

err_unmap:
	munmap(vcpu->run, vcpu->run_size);
err_close:
	close_fd(&vcpu->fd);
	return ret;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	close_fd(&vcpu->fd);
}

static struct kvm_segment kvm_segment_of(const struct boot_segment *segment)
{
	return (struct kvm_segment){
		.base = segment->base,
		.limit = segment->limit,
		.selector = segment->selector,
		.type = segment->type,
		.present = segment->present,
		.dpl = segment->dpl,
		.db = segment->db,
		.s = segment->s,
		.l = segment->l,
		.g = segment->g,
	};
}

static void fill_sregs(struct kvm_sregs *sregs, const struct boot_cpu *cpu)
{
	sregs->cs = kvm_segment_of(&cpu->cs);
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = kvm_segment_of(&cpu->data);
	sregs->tr = kvm_segment_of(&cpu->tr);
	sregs->gdt = (struct kvm_dtable){ .base = cpu->gdt.base, .limit = cpu->gdt.limit };
	sregs->idt = (struct kvm_dtable){ .base = cpu->idt.base, .limit = cpu->idt.limit };
	sregs->cr0 = cpu->cr0;
	sregs->cr3 = cpu->cr3;
	sregs->cr4 = cpu->cr4;
	sregs->efer = cpu->efer;
}

int vcpu_set_boot_state(struct vcpu *vcpu, const struct boot_cpu *cpu, struct error *err)
{
	struct kvm_regs regs = {
		.rip = cpu->rip,
		.rsp = cpu->rsp,
		.rsi = cpu->rsi,
		.rbx = cpu->rbx,
		.rflags = cpu->rflags,
	};
	struct kvm_sregs sregs;

	/* Read first: the APIC base and the interrupt bitmap in it are KVM's. */
	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return error_set_errno(err, errno, "vCPU %u: KVM_GET_SREGS", vcpu->index);
	fill_sregs(&sregs, cpu);
	if (ioctl(vcpu->fd, KVM_SET_SREGS, &sregs) < 0)
		return error_set_errno(err, errno, "vCPU %u: KVM_SET_SREGS", vcpu->index);
	if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
		return error_set_errno(err, errno, "vCPU %u: KVM_SET_REGS", vcpu->index);
	return 0;
}

/* Linux takes all memory for uncached when firmware has not enabled the MTRRs. */
int vcpu_set_msrs(struct vcpu *vcpu, struct error *err)
{
	struct {
		uint32_t nmsrs;
		uint32_t pad;
		struct kvm_msr_entry entries[2];
	} msrs = {
		.nmsrs = 2,
		.entries = {
			{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLE_WRITE_BACK },
			{ .index = MSR_IA32_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
		},
	};

	/* It says how many it set; a software KVM may know none of them and do without. */
	if (ioctl(vcpu->fd, KVM_SET_MSRS, &msrs) < 0)
		return error_set_errno(err, errno, "vCPU %u: KVM_SET_MSRS", vcpu->index);
	return 0;
}

/* Exits ----------------------------------------------------------------------------------------*/

static void handle_pio(const struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)vcpu->run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(vcpu->host->pio, run->io.port, data, run->io.size);
		else
			bus_write(vcpu->host->pio, run->io.port, data, run->io.size);
	}
}

static void handle_mmio(const struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;

	if (run->mmio.is_write)
		bus_write(vcpu->host->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(vcpu->host->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
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
static enum machine_end handle_exit(const struct vcpu *vcpu, char *text, size_t size)
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

/* The thread -----------------------------------------------------------------------------------*/

static int kick_signal(void)
{
	return SIGRTMIN;
}

static void ignore_kick(int signal)
{
	(void)signal;
}

void vcpu_setup_kick_signal(void)
{
	/* A handler, not SIG_IGN: an ignored signal does not interrupt KVM_RUN. */
	struct sigaction action = { .sa_handler = ignore_kick };

	sigaction(kick_signal(), &action, NULL);
}

static void allow_kick(void)
{
	sigset_t kick;

	sigemptyset(&kick);
	sigaddset(&kick, kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &kick, NULL);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	enum machine_end end = MACHINE_RUNNING;
	char text[1536];

	allow_kick();
	if (vcpu->host->first_run)
		vcpu->host->first_run(vcpu->host->opaque);
	while (!atomic_load_explicit(&vcpu->stop, memory_order_acquire)) {
		if (ioctl(vcpu->fd, KVM_RUN, 0) < 0)
			end = handle_failure(vcpu, errno, text, sizeof(text));
		else
			end = handle_exit(vcpu, text, sizeof(text));
		if (end == MACHINE_RUNNING)
			continue;
		vcpu->host->ended(vcpu->host->opaque, end, text);
		break;
	}
	return NULL;
}

int vcpu_start(struct vcpu *vcpu, const struct vcpu_host *host, struct error *err)
{
	char name[16];
	int ret;

	vcpu->host = host;
	/* The name that Firecracker's users pin and account by. */
	snprintf(name, sizeof(name), "fc_vcpu %u", vcpu->index);
	ret = thread_start(&vcpu->thread, name, vcpu_thread, vcpu);
	if (ret < 0)
		return error_set_errno(err, ret, "vCPU %u: cannot start its thread", vcpu->index);
	vcpu->has_thread = true;
	return 0;
}

/* immediate_exit closes the window between the thread's look at `stop` and its entry into KVM_RUN;
 * the signal brings it out of there. */
void vcpu_stop(struct vcpu *vcpu)
{
	if (!vcpu->has_thread)
		return;
	atomic_store_explicit(&vcpu->stop, true, memory_order_release);
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
	pthread_kill(vcpu->thread, kick_signal());
}

void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu->has_thread)
		return;
	pthread_join(vcpu->thread, NULL);
	vcpu->has_thread = false;
}
