#include <criterion/criterion.h>
#include <unistd.h>

#include "vmm/cpuid.h"

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

static struct cpuid cpuid;

static struct kvm_cpuid_entry2 *find(uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid.nent; i++)
		if (cpuid.entries[i].function == function && cpuid.entries[i].index == index)
			return &cpuid.entries[i];
	cr_assert_fail("no leaf %#x.%u", function, index);
	return NULL;
}

static void add(struct kvm_cpuid_entry2 entry)
{
	cpuid.entries[cpuid.nent++] = entry;
}

static void add_all(void)
{
	cpuid = (struct cpuid){ 0 };
	add((struct kvm_cpuid_entry2){
		.function = 0x1, .ebx = 0xff00abcd, .ecx = ~0u, .edx = ~0u });
	add((struct kvm_cpuid_entry2){ .function = 0x4, .eax = 0xfc1fc021, .flags = INDEXED });
	add((struct kvm_cpuid_entry2){ .function = 0x7, .ebx = ~0u, .ecx = ~0u, .edx = ~0u });
	add((struct kvm_cpuid_entry2){ .function = 0xa, .eax = 0x07300404 });
	add((struct kvm_cpuid_entry2){ .function = 0xb, .flags = INDEXED });
	add((struct kvm_cpuid_entry2){ .function = 0xd, .eax = 0x600ff, .ecx = 11000, .edx = 1 });
	add((struct kvm_cpuid_entry2){
		.function = 0xd, .index = 2, .eax = 256, .ebx = 576, .flags = INDEXED });
	add((struct kvm_cpuid_entry2){
		.function = 0xd, .index = 18, .eax = 8192, .ebx = 2816, .flags = INDEXED });
	add((struct kvm_cpuid_entry2){ .function = 0x40000001, .eax = ~0u });
	add((struct kvm_cpuid_entry2){ .function = 0x80000001, .ecx = ~0u });
	add((struct kvm_cpuid_entry2){ .function = 0x80000008, .ecx = 0xffff });
	add((struct kvm_cpuid_entry2){ .function = 0x8000000a, .eax = 1, .edx = ~0u });
	add((struct kvm_cpuid_entry2){ .function = 0x8000001d, .eax = 0x21, .flags = INDEXED });
	add((struct kvm_cpuid_entry2){ .function = 0x8000001e, .ebx = 0x100 });
}

static void set_up(void)
{
	add_all();
	cpuid_filter(&cpuid, 6, false, true);
}

TestSuite(cpuid, .init = set_up);

Test(cpuid, no_nested_virtualization_no_counters)
{
	cr_expect_not(find(0x1, 0)->ecx & 1u << 5, "VMX");
	cr_expect_not(find(0x1, 0)->ecx & 1u << 15, "PDCM");
	cr_expect_not(find(0x80000001, 0)->ecx & 1u << 2, "SVM");
	cr_expect_not(find(0x80000001, 0)->ecx & (1u << 23 | 1u << 24 | 1u << 27 | 1u << 28),
		      "counters");
	cr_expect_eq(find(0xa, 0)->eax, 0);
	cr_expect_eq(find(0x8000000a, 0)->edx, 0);
}

Test(cpuid, what_the_monitor_itself_provides)
{
	cr_expect(find(0x1, 0)->ecx & 1u << 31, "hypervisor");
	cr_expect(find(0x1, 0)->ecx & 1u << 24, "TSC deadline");
	cr_expect(find(0x1, 0)->ecx & 1u << 21, "x2APIC");
	cr_expect(find(0x40000001, 0)->eax & 1u << 3, "kvmclock");
}

Test(cpuid, nothing_whose_state_is_not_saved)
{
	cr_expect_eq(find(0xd, 0)->eax, 0xe7, "AMX and PKRU-less XCR0: only the allowed bits");
	cr_expect_eq(find(0xd, 0)->ecx, 576 + 256);
	cr_expect_eq(find(0xd, 18)->eax, 0);
	cr_expect_not(find(0x7, 0)->edx & 1u << 24, "AMX");
	cr_expect_not(find(0x7, 0)->ecx & 1u << 7, "shadow stacks");
	cr_expect_not(find(0x7, 0)->ebx & 1u << 25, "Processor Trace");
}

Test(cpuid, topology_is_one_package_of_single_threaded_cores)
{
	cpuid_set_vcpu(&cpuid, 5);
	cr_expect_eq(find(0x1, 0)->ebx, 0x0506abcd);
	cr_expect_eq(find(0xb, 0)->ebx, 1);
	cr_expect_eq(find(0xb, 0)->eax, 0);
	cr_expect_eq(find(0xb, 1)->ebx, 6);
	cr_expect_eq(find(0xb, 1)->eax, 3, "six cores take three bits");
	cr_expect_eq(find(0xb, 1)->ecx, 0x201);
	cr_expect_eq(find(0xb, 1)->edx, 5);
	cr_expect_eq(find(0x80000008, 0)->ecx, 0x3005);
	cr_expect_eq(find(0x8000001e, 0)->eax, 5);
	cr_expect_eq(find(0x8000001e, 0)->ebx, 5, "a core has one thread");
	cr_expect_eq(find(0x4, 0)->eax >> 26, 7);
	cr_expect_eq(find(0x4, 0)->eax >> 14 & 0xfff, 0, "a core has its own first cache");
}

/* The same answers as of a processor with hyper-threading: Intel's leaves, then AMD's. */
Test(cpuid, two_threads_make_a_core)
{
	add_all();
	cpuid_filter(&cpuid, 6, true, true);
	cpuid_set_vcpu(&cpuid, 5);
	cr_expect_eq(find(0x1, 0)->ebx, 0x0506abcd);
	cr_expect_eq(find(0x4, 0)->eax >> 26, 3, "three cores take two bits");
	cr_expect_eq(find(0x4, 0)->eax >> 14 & 0xfff, 1);
	cr_expect_eq(find(0xb, 0)->eax, 1, "one bit tells the threads of a core apart");
	cr_expect_eq(find(0xb, 0)->ebx, 2);
	cr_expect_eq(find(0xb, 0)->ecx, 0x100);
	cr_expect_eq(find(0xb, 1)->eax, 3);
	cr_expect_eq(find(0xb, 1)->ebx, 6);
	cr_expect_eq(find(0xb, 1)->edx, 5);
	cr_expect_eq(find(0x80000008, 0)->ecx, 0x3005, "AMD counts threads");
	cr_expect_eq(find(0x8000001d, 0)->eax >> 14, 1);
	cr_expect_eq(find(0x8000001e, 0)->eax, 5);
	cr_expect_eq(find(0x8000001e, 0)->ebx, 0x102, "thread 5 is of core 2, which has two");
}

Test(cpuid, a_single_vcpu_is_no_half_core)
{
	add_all();
	cpuid_filter(&cpuid, 1, true, true);
	cr_expect_eq(find(0xb, 0)->ebx, 1);
	cr_expect_eq(find(0x8000001e, 0)->ebx & 0xff00, 0);
}

static void *get_late(void *source)
{
	struct error err = { 0 };

	usleep(20000);
	return (void *)(intptr_t)cpuid_source_get(source, 0, &cpuid, &err);
}

Test(cpuid, who_waits_is_told_once_another_has_tried)
{
	struct cpuid_source source;
	static struct cpuid got;
	struct error err = { 0 };
	pthread_t other;
	void *ret;

	cpuid_source_init(&source, -1, 1, false, false, NULL);
	cr_assert_eq(pthread_create(&other, NULL, get_late, &source), 0);
	cr_expect_eq(cpuid_source_wait(&source, 0, &got, &err), -ENOTSUP);
	pthread_join(other, &ret);
	cr_expect_eq((intptr_t)ret, -EBADF, "the one that tried knows why");
}
