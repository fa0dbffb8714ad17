/* What KVM is asked for when a VM is made. This file plays its part. */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "vmm/kvm.h"

#define FAKE_KVM 1000000 /* no descriptor has this number */

static struct kvm kvm = { .fd = FAKE_KVM, .vm = -1 };
static struct kvm_enable_cap enabled;
static int refusal; /* of KVM_ENABLE_CAP: an errno */

int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);

static int enable(const struct kvm_enable_cap *cap)
{
	enabled = *cap;
	errno = refusal;
	return refusal ? -1 : 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (fd == FAKE_KVM && request == KVM_CREATE_VM)
		return eventfd(0, EFD_CLOEXEC);
	if (fd >= 0 && fd == kvm.vm && request == KVM_ENABLE_CAP)
		return enable(arg);
	return __real_ioctl(fd, request, arg);
}

static void tear_down(void)
{
	kvm.fd = -1;
	kvm_close(&kvm);
}

TestSuite(kvm, .fini = tear_down);

/* AMD's first four are there whatever CPUID says. */
Test(kvm, a_vm_has_no_performance_counters)
{
	struct error err = { 0 };

	cr_assert_eq(kvm_create_vm(&kvm, &err), 0);
	cr_expect_eq(enabled.cap, KVM_CAP_PMU_CAPABILITY);
	cr_expect_eq(enabled.args[0], KVM_PMU_CAP_DISABLE);
	cr_expect_eq(enabled.flags, 0);
}

Test(kvm, a_host_without_counters_has_none_to_take_away)
{
	struct error err = { 0 };

	refusal = EINVAL;
	cr_expect_eq(kvm_create_vm(&kvm, &err), 0);
}

Test(kvm, counters_that_cannot_be_taken_away_are_an_error)
{
	struct error err = { 0 };

	refusal = EPERM;
	cr_expect_eq(kvm_create_vm(&kvm, &err), -EPERM);
	cr_expect(strstr(err.text, "KVM_CAP_PMU_CAPABILITY"));
}
