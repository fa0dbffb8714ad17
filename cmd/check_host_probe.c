/*
 * Can this KVM run a kernel? A software KVM takes the same ioctls as a real one but emulates guest
 * ring 0, and its emulator knows only a part of the instruction set: pxor is one that every x86-64
 * processor runs and such an emulator does not. So: run a guest that says it has started, then
 * executes what a kernel cannot do without, then says it has survived.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "base/clock.h"
#include "cmd/check_host_priv.h"

/* The guest's memory: long mode, the first 2 MiB mapped one to one. */
enum {
	GUEST_PML4 = 0x1000,
	GUEST_PDPT = 0x2000,
	GUEST_PD = 0x3000,
	GUEST_CODE = 0x4000,
	GUEST_STACK = 0x6000, /* grows down */
	GUEST_SIZE = 0x8000,
};

#define GUEST_PORT 0x10
#define OUT_PORT "\xe6\x10" /* out %al, $GUEST_PORT */

#define CPUID_ENTRIES 256 /* the kernel's own limit */

/* Enough for a loaded lab; the guest takes microseconds, and an unknown KVM may never come back. */
#define PROBE_SECONDS 1

static const struct {
	const char *name;
	const char *code;
	unsigned int len;
} instructions[] = {
	{ "out", OUT_PORT, 2 }, /* "I have started" */
	{ "pxor", "\x66\x0f\xef\xc0", 4 },
	{ "fld1", "\xd9\xe8", 2 },
	{ "fstp", "\xdd\xd8", 2 },
	{ "lock cmpxchg16b", "\xf0\x48\x0f\xc7\x0c\x24", 6 },
	{ "out", OUT_PORT, 2 }, /* "I have survived" */
	{ "hlt", "\xf4", 1 },
};

struct probe {
	int vm;
	int vcpu;
	uint8_t *mem;
	struct kvm_run *run;
	size_t run_size;
};

static void probe_fini(struct probe *probe)
{
	if (probe->run)
		munmap(probe->run, probe->run_size);
	close_fd(&probe->vcpu);
	close_fd(&probe->vm);
	if (probe->mem)
		munmap(probe->mem, GUEST_SIZE);
}

static void *map(size_t size, int flags, int fd)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

	return at == MAP_FAILED ? NULL : at;
}

static int make_memory(struct probe *probe, struct error *err)
{
	struct kvm_userspace_memory_region region = { .memory_size = GUEST_SIZE };

	probe->mem = map(GUEST_SIZE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
	if (!probe->mem)
		return error_set_errno(err, errno, "test guest's memory");
	region.userspace_addr = (uintptr_t)probe->mem;
	if (ioctl(probe->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return error_set_errno(err, errno, "KVM_SET_USER_MEMORY_REGION");
	/* Only Intel processors of the first generations look at it. */
	ioctl(probe->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	return 0;
}

static int make_vcpu(struct probe *probe, int kvm, struct error *err)
{
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);

	probe->vcpu = ioctl(probe->vm, KVM_CREATE_VCPU, 0);
	if (probe->vcpu < 0)
		return error_set_errno(err, errno, "KVM_CREATE_VCPU");
	if (size < (int)sizeof(struct kvm_run))
		return error_set(err, EINVAL, "KVM_GET_VCPU_MMAP_SIZE: %d makes no sense", size);
	probe->run = map((size_t)size, MAP_SHARED, probe->vcpu);
	if (!probe->run)
		return error_set_errno(err, errno, "cannot map a vCPU");
	probe->run_size = (size_t)size;
	return 0;
}

/* The host's own: without a CPUID of its own a real KVM's guest knows no long mode. */
static int set_cpuid(struct probe *probe, int kvm, struct error *err)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + CPUID_ENTRIES * sizeof(cpuid->entries[0]));
	int ret = 0;

	if (!cpuid)
		return error_set(err, ENOMEM, "out of memory");
	cpuid->nent = CPUID_ENTRIES;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid))
		ret = error_set_errno(err, errno, "KVM_GET_SUPPORTED_CPUID");
	else if (ioctl(probe->vcpu, KVM_SET_CPUID2, cpuid))
		ret = error_set_errno(err, errno, "KVM_SET_CPUID2");
	free(cpuid);
	return ret;
}

static int set_registers(struct probe *probe, struct error *err)
{
	struct kvm_segment code = {
		.limit = UINT32_MAX, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = { .limit = UINT32_MAX,
				    .selector = 16,
				    .type = 3,
				    .present = 1,
				    .s = 1,
				    .db = 1,
				    .g = 1 };
	struct kvm_regs regs = { .rip = GUEST_CODE, .rsp = GUEST_STACK, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(probe->vcpu, KVM_GET_SREGS, &sregs))
		return error_set_errno(err, errno, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr3 = GUEST_PML4;
	sregs.cr4 = 0x620;	/* PAE, OSFXSR, OSXMMEXCPT */
	sregs.cr0 = 0x80010033; /* PG, WP, NE, ET, MP, PE */
	sregs.efer = 0x500;	/* LMA, LME */
	if (ioctl(probe->vcpu, KVM_SET_SREGS, &sregs))
		return error_set_errno(err, errno, "KVM_SET_SREGS");
	if (ioctl(probe->vcpu, KVM_SET_REGS, &regs))
		return error_set_errno(err, errno, "KVM_SET_REGS");
	return 0;
}

static void write_entry(struct probe *probe, unsigned int at, uint64_t entry)
{
	memcpy(probe->mem + at, &entry, sizeof(entry));
}

static void write_guest(struct probe *probe)
{
	uint8_t *code = probe->mem + GUEST_CODE;

	write_entry(probe, GUEST_PML4, GUEST_PDPT | 3);
	write_entry(probe, GUEST_PDPT, GUEST_PD | 3);
	write_entry(probe, GUEST_PD, 0x83); /* 2 MiB page, writable, present */
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++) {
		memcpy(code, instructions[i].code, instructions[i].len);
		code += instructions[i].len;
	}
}

static int64_t now_ms(void)
{
	return (int64_t)(clock_now_ns(CLOCK_MONOTONIC) / 1000000);
}

/* The exit's reason, or -errno; -ETIME when the guest does not come back. */
static int run_guest(struct probe *probe)
{
	int64_t end = now_ms() + PROBE_SECONDS * 1000;

	while (ioctl(probe->vcpu, KVM_RUN, 0))
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
		else if (now_ms() >= end)
			return -ETIME;
	return (int)probe->run->exit_reason;
}

/* The instruction that the vCPU stands at. */
static const char *instruction_name(struct probe *probe)
{
	struct kvm_regs regs;
	uint64_t at = GUEST_CODE;

	if (ioctl(probe->vcpu, KVM_GET_REGS, &regs))
		return "an instruction";
	for (size_t i = 0; i < ARRAY_SIZE(instructions); i++) {
		if (regs.rip >= at && regs.rip < at + instructions[i].len)
			return instructions[i].name;
		at += instructions[i].len;
	}
	return "an instruction";
}

static enum kvm_quality judge(struct probe *probe, struct error *err)
{
	int reason = run_guest(probe);

	if (reason != KVM_EXIT_IO) {
		error_set(err, ENOTSUP, "a guest of one instruction does not run (%s %d)",
			  reason < 0 ? "KVM_RUN: error" : "KVM exit",
			  reason < 0 ? -reason : reason);
		return KVM_QUALITY_NONE;
	}
	reason = run_guest(probe);
	if (reason == KVM_EXIT_IO)
		return KVM_QUALITY_HARDWARE;
	error_set(err, ENOTSUP, "software KVM: %s fails in guest ring 0 (%s %d)",
		  instruction_name(probe), reason < 0 ? "error" : "KVM exit",
		  reason < 0 ? -reason : reason);
	return KVM_QUALITY_SOFTWARE;
}

static void interrupt(int signo)
{
	(void)signo; /* it has ended KVM_RUN: that was all */
}

/* Judges with an alarm that keeps interrupting KVM_RUN once the time is over. */
static enum kvm_quality judge_in_time(struct probe *probe, struct error *err)
{
	struct sigaction action = { .sa_handler = interrupt }, old_action;
	struct itimerval alarm = { .it_value.tv_sec = PROBE_SECONDS, .it_interval.tv_usec = 50000 },
			 old_alarm;
	sigset_t set, old_set;
	enum kvm_quality quality;

	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigaction(SIGALRM, &action, &old_action);
	pthread_sigmask(SIG_UNBLOCK, &set, &old_set);
	setitimer(ITIMER_REAL, &alarm, &old_alarm);
	quality = judge(probe, err);
	setitimer(ITIMER_REAL, &old_alarm, NULL);
	pthread_sigmask(SIG_SETMASK, &old_set, NULL);
	sigaction(SIGALRM, &old_action, NULL);
	return quality;
}

enum kvm_quality kvm_probe_fd(int kvm, struct error *err)
{
	__attribute__((cleanup(probe_fini))) struct probe probe = { .vm = -1, .vcpu = -1 };

	probe.vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (probe.vm < 0) {
		error_set_errno(err, errno, "KVM_CREATE_VM");
		return KVM_QUALITY_NONE;
	}
	if (make_memory(&probe, err) || make_vcpu(&probe, kvm, err) ||
	    set_cpuid(&probe, kvm, err) || set_registers(&probe, err))
		return KVM_QUALITY_NONE;
	write_guest(&probe);
	return judge_in_time(&probe, err);
}

enum kvm_quality kvm_probe(struct error *err)
{
	cleanup_fd int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		error_set_errno(err, errno, "cannot open /dev/kvm");
		return KVM_QUALITY_NONE;
	}
	return kvm_probe_fd(kvm, err);
}
