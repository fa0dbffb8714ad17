/*
 * What the registration of guest memory alone costs: KVM_SET_USER_MEMORY_REGION of so many MiB,
 * 3 GiB below the hole and the rest from 4 GiB, as mayfly has it. A process of its own for each
 * measurement, so that it runs in turn with the programs it is compared with.
 *
 *   slot MIB
 *
 * Says `slots MICROSECONDS` on standard error and a byte, for spawn, on standard output.
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "base/util.h"
#include "vmm/layout.h"

static void *reserve(uint64_t size)
{
	void *host = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (host == MAP_FAILED)
		err(1, "mmap");
	return host;
}

static void set_slot(int vm, uint32_t number, uint64_t gpa, uint64_t size, void *host)
{
	struct kvm_userspace_memory_region slot = {
		.slot = number,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)host,
	};

	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		err(1, "KVM_SET_USER_MEMORY_REGION");
}

int main(int argc, char **argv)
{
	uint64_t size = argc == 2 ? MIB(strtoul(argv[1], NULL, 10)) : 0;
	uint64_t low = MIN(size, LAYOUT_HOLE_START), start, end;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
	void *low_host, *high_host;

	if (size == 0)
		errx(2, "usage: slot MIB");
	if (vm < 0)
		err(1, "/dev/kvm");
	low_host = reserve(low);
	high_host = size > low ? reserve(size - low) : NULL;
	start = clock_now_ns(CLOCK_MONOTONIC);
	set_slot(vm, 0, 0, low, low_host);
	if (high_host)
		set_slot(vm, 1, LAYOUT_HOLE_END, size - low, high_host);
	end = clock_now_ns(CLOCK_MONOTONIC);
	fprintf(stderr, "slots %.1f\n", (double)(end - start) / 1e3);
	return puts("M") < 0;
}
