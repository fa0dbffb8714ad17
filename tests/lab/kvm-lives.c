/* kvm-lives N: N lives of a VM on this host's KVM, half of them with an interrupt controller. Each runs one
 * instruction of the guest and must come back from it. What the lab's self-test and a long run of it use. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PORT = 0x42, VALUE = 0x17 };

static const char *run_to_port(int vm, int vcpu, struct kvm_run *run)
{
	static const unsigned char out_imm8_al[] = { 0xe6, PORT };
	struct kvm_userspace_memory_region slot = { .guest_phys_addr = 0x1000,
						    .memory_size = 0x1000 };
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = 0x1000, .rax = VALUE, .rflags = 2 };

	char *page = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return "mmap";
	memcpy(page, out_imm8_al, sizeof(out_imm8_al));
	slot.userspace_addr = (unsigned long)page;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) || ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return "memory slot";
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) || ioctl(vcpu, KVM_SET_REGS, &regs))
		return "registers";
	if (ioctl(vcpu, KVM_RUN, 0))
		return "KVM_RUN";
	munmap(page, 0x1000);
	if (run->exit_reason != KVM_EXIT_IO || run->io.port != PORT)
		return "the guest did not reach its port";
	return *((unsigned char *)run + run->io.data_offset) == VALUE
		       ? NULL
		       : "the guest wrote another value";
}

static const char *one_life(int kvm, bool irqchip)
{
	int vm = ioctl(kvm, KVM_CREATE_VM, 0UL);
	if (vm < 0)
		return "KVM_CREATE_VM";
	if (irqchip && ioctl(vm, KVM_CREATE_IRQCHIP, 0UL))
		return "KVM_CREATE_IRQCHIP";
	int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
	if (vcpu < 0)
		return "KVM_CREATE_VCPU";
	size_t size = (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0UL);
	struct kvm_run *run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return "mmap of the vCPU";
	const char *error = run_to_port(vm, vcpu, run);
	munmap(run, size);
	close(vcpu);
	close(vm);
	return error;
}

int main(int argc, char **argv)
{
	long lives = argc > 1 ? strtol(argv[1], NULL, 10) : 1;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0) {
		perror("/dev/kvm");
		return 1;
	}
	for (long i = 0; i < lives; i++) {
		const char *error = one_life(kvm, i & 1);
		if (error) {
			fprintf(stderr, "life %ld: %s\n", i, error);
			return 1;
		}
	}
	return 0;
}
