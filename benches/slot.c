/*
 * What the registration of guest memory alone costs: KVM_SET_USER_MEMORY_REGION of 128 MiB and of
 * 8 GiB (3 GiB below the hole, the rest from 4 GiB, as mayfly has it), in turn, a new VM each time.
 *
 *   slot [RUNS]
 *
 * Prints a line for each size:
 *   slots-128M runs=40 us=P50,P99,MIN
 */
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>

#include "base/util.h"
#include "benches/stats.h"
#include "vmm/layout.h"

#define WARM_UP 2u

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
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

static void *reserve(uint64_t size)
{
	void *host = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (host == MAP_FAILED)
		err(1, "mmap");
	return host;
}

/* Microseconds in the calls; mapping the memory is not counted. */
static double measure(int kvm, uint64_t size)
{
	uint64_t low = MIN(size, LAYOUT_HOLE_START), high = size - low, start, end;
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);
	void *low_host = reserve(low);
	void *high_host = high ? reserve(high) : NULL;

	if (vm < 0)
		err(1, "KVM_CREATE_VM");
	start = now_ns();
	set_slot(vm, 0, 0, low, low_host);
	if (high)
		set_slot(vm, 1, LAYOUT_HOLE_END, high, high_host);
	end = now_ns();
	close(vm);
	munmap(low_host, low);
	if (high)
		munmap(high_host, high);
	return (double)(end - start) / 1e3;
}

static void print_result(const char *name, double *values, unsigned int runs)
{
	struct stats stats = stats_of(values, runs);

	printf("%s runs=%u us=%.1f,%.1f,%.1f\n", name, runs, stats.p50, stats.p99, stats.min);
}

int main(int argc, char **argv)
{
	unsigned int runs = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : 40;
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	double *small = calloc(2 * (size_t)runs, sizeof(*small));
	double *large = small + runs;

	if (kvm < 0)
		err(1, "/dev/kvm");
	if (!small || runs == 0)
		errx(1, "cannot keep %u values", runs);
	for (unsigned int i = 0; i < WARM_UP + runs; i++) {
		double of_small = measure(kvm, MIB(128)), of_large = measure(kvm, GIB(8));

		if (i >= WARM_UP) {
			small[i - WARM_UP] = of_small;
			large[i - WARM_UP] = of_large;
		}
	}
	print_result("slots-128M", small, runs);
	print_result("slots-8G", large, runs);
	return 0;
}
