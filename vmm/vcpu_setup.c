/* A vCPU before it runs: made, told what it is, put where the kernel wants it. */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm/cpu_template.h"
#include "vmm/vcpu_priv.h"

#define KERNEL_SIGSET_SIZE 8u
#define MSR_IA32_MISC_ENABLE 0x1a0
#define MISC_ENABLE_FAST_STRING 1
#define MSR_MTRR_DEF_TYPE 0x2ff
#define MTRR_ENABLE_WRITE_BACK (1u << 11 | 6)

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
static int set_msrs(struct vcpu *vcpu, struct error *err)
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

/* One that this host does not know is a template for another one. */
static int modify_msr(struct vcpu *vcpu, const struct msr_modifier *modifier, struct error *err)
{
	struct {
		uint32_t nmsrs;
		uint32_t pad;
		struct kvm_msr_entry entry;
	} msr = { .nmsrs = 1, .entry.index = modifier->index };

	if (ioctl(vcpu->fd, KVM_GET_MSRS, &msr) != 1)
		return error_set(err, ENOTSUP, "CPU template: this host has no MSR %#x",
				 modifier->index);
	msr.entry.data = bit_modifier_apply(&modifier->bits, msr.entry.data);
	if (ioctl(vcpu->fd, KVM_SET_MSRS, &msr) != 1)
		return error_set(err, ENOTSUP, "CPU template: MSR %#x cannot be %#llx here",
				 modifier->index, msr.entry.data);
	return 0;
}

static int modify_msrs(struct vcpu *vcpu, struct error *err)
{
	const struct cpu_template *cpu = vcpu->host->cpuid->cpu;
	int ret = 0;

	for (unsigned int i = 0; cpu && i < cpu->msr_count && ret == 0; i++)
		ret = modify_msr(vcpu, &cpu->msrs[i], err);
	return ret;
}

/* What KVM has to tell of an exit is in pages of their own, and the guest waits while the first look maps one. */
static void touch_run(const struct vcpu *vcpu)
{
	const volatile uint8_t *run = (const volatile uint8_t *)vcpu->run;

	for (size_t at = 0; at < vcpu->host->kvm->run_size; at += PAGE_SIZE)
		(void)run[at];
}

static void run_interrupted(struct vcpu *vcpu)
{
	struct {
		uint32_t len;
		uint8_t unblocked[KERNEL_SIGSET_SIZE]; /* not a sigset_t, which libc's is longer */
	} mask = { .len = KERNEL_SIGSET_SIZE };
	sigset_t kick, old;

	sigemptyset(&kick);
	sigaddset(&kick, vcpu_kick_signal());
	pthread_sigmask(SIG_BLOCK, &kick, &old);
	memcpy(mask.unblocked, &old, sizeof(mask.unblocked));
	if (ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, &mask) == 0) {
		pthread_kill(pthread_self(), vcpu_kick_signal());
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELEASE);
		(void)ioctl(vcpu->fd, KVM_RUN, 0); /* EINTR; what is wrong the next one says */
		(void)ioctl(vcpu->fd, KVM_SET_SIGNAL_MASK, NULL);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

/*
 * A VM's first KVM_RUN makes what KVM has not made so far (a kernel thread), and a vCPU's first that gets to the guest's
 * door what the memory management works with: not when the guest waits for it. With immediate_exit KVM comes back
 * before the second of these, which a start that is under way would wait for here as well as later. With a signal
 * that is pending it comes back at the door: the guest has not run, and CPUID can still become another. The flag is
 * cleared when the vCPU may run.
 */
static void warm_up(struct vcpu *vcpu)
{
	if (vcpu->host->ahead) {
		run_interrupted(vcpu);
		touch_run(vcpu);
	}
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
	if (!vcpu->host->ahead)
		(void)ioctl(vcpu->fd, KVM_RUN,
			    0); /* EINTR, as asked; whatever else is wrong the next one says */
}

int vcpu_setup(struct vcpu *vcpu, struct cpuid *cpuid, struct error *err)
{
	const struct kvm *kvm = vcpu->host->kvm;

	vcpu->fd = ioctl(kvm->vm, KVM_CREATE_VCPU, vcpu->index);
	if (vcpu->fd < 0)
		return error_set_errno(err, errno, "cannot create vCPU %u (KVM_CREATE_VCPU)",
				       vcpu->index);
	vcpu->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return error_set_errno(err, errno, "vCPU %u: cannot map its state", vcpu->index);
	}
	if (ioctl(vcpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		return error_set_errno(err, errno, "vCPU %u: KVM_SET_CPUID2", vcpu->index);
	if (set_msrs(vcpu, err) < 0 || modify_msrs(vcpu, err) < 0)
		return err->code;
	vcpu->tsc_khz = ioctl(vcpu->fd, KVM_GET_TSC_KHZ);
	if (vcpu->index == 0)
		warm_up(vcpu);
	return 0;
}
