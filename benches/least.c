/*
 * The least that any monitor can do: KVM, a VM with 128 MiB, a local APIC, one vCPU in 64-bit mode
 * and the payload's few bytes; runs it and writes what it writes to the serial port. No CPUID, no
 * devices, no thread, no cleaning up: what a start costs before a monitor has done anything.
 *
 *   least PAYLOAD
 */
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/util.h"

#define MEMORY MIB(128)
#define PAGE_TABLES \
	0x9000u /* three pages: one 2 MiB page at 0 is mapped, the payload is at 1 MiB */
#define PTE 3u	/* present, writable */
#define PTE_LARGE 0x80u
#define PORT_SERIAL 0x3f8
#define PORT_I8042 0x64

static int check(int ret, const char *what)
{
	if (ret < 0)
		err(1, "%s", what);
	return ret;
}

static uint8_t *make_memory(int vm)
{
	struct kvm_userspace_memory_region slot = { .memory_size = MEMORY };
	void *memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "mmap");
	slot.userspace_addr = (uintptr_t)memory;
	check(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	return memory;
}

/* A payload is one small segment. Returns the entry. */
static uint64_t load(uint8_t *memory, const char *path)
{
	int fd = check(open(path, O_RDONLY | O_CLOEXEC), path);
	Elf64_Ehdr header;
	Elf64_Phdr segment;

	if (pread(fd, &header, sizeof(header), 0) != sizeof(header))
		err(1, "%s", path);
	for (unsigned int i = 0; i < header.e_phnum; i++) {
		off_t at = (off_t)(header.e_phoff + i * sizeof(segment));

		if (pread(fd, &segment, sizeof(segment), at) != sizeof(segment))
			err(1, "%s", path);
		if (segment.p_type != PT_LOAD)
			continue;
		if (segment.p_paddr >= MEMORY || segment.p_filesz > MEMORY - segment.p_paddr)
			errx(1, "%s: too large", path);
		if (pread(fd, memory + segment.p_paddr, segment.p_filesz, (off_t)segment.p_offset) <
		    0)
			err(1, "%s", path);
	}
	return header.e_entry;
}

static void make_page_tables(uint8_t *memory)
{
	uint64_t *tables = (uint64_t *)(void *)(memory + PAGE_TABLES);

	tables[0] = (PAGE_TABLES + PAGE_SIZE) | PTE;
	tables[512] = (PAGE_TABLES + 2 * PAGE_SIZE) | PTE;
	tables[1024] = PTE | PTE_LARGE;
}

static void set_registers(int vcpu, uint64_t entry)
{
	struct kvm_segment code = {
		.limit = ~0u, .selector = 0x10, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1
	};
	struct kvm_segment data = {
		.limit = ~0u, .selector = 0x18, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
	};
	struct kvm_regs regs = { .rip = entry, .rflags = 2 };
	struct kvm_sregs sregs;

	check(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.ss = data;
	sregs.cr3 = PAGE_TABLES;
	sregs.cr4 = 0x20;	/* PAE */
	sregs.cr0 = 0x80000011; /* paging, protected mode */
	sregs.efer = 0x500;	/* long mode */
	check(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	check(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

static void run(int vcpu, const struct kvm_run *state)
{
	for (;;) {
		const char *data = (const char *)state + state->io.data_offset;

		check(ioctl(vcpu, KVM_RUN, 0), "KVM_RUN");
		if (state->exit_reason != KVM_EXIT_IO)
			errx(1, "exit reason %u", state->exit_reason);
		data = (const char *)state + state->io.data_offset;
		if (state->io.port == PORT_I8042)
			return;
		if (state->io.port == PORT_SERIAL)
			check((int)write(STDOUT_FILENO, data, 1), "standard output");
	}
}

int main(int argc, char **argv)
{
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	int kvm = check(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	int vm = check(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	uint8_t *memory = make_memory(vm);
	int size, vcpu;
	void *state;

	if (argc != 2)
		errx(2, "usage: least PAYLOAD");
	check(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
	vcpu = check(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	size = check(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	state = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (state == MAP_FAILED)
		err(1, "mmap");
	make_page_tables(memory);
	set_registers(vcpu, load(memory, argv[1]));
	run(vcpu, state);
	return 0;
}
