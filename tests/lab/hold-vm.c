/* The first VM of a host and its last one flip static keys in KVM and in the scheduler, that is, they
 * patch kernel text that other CPUs are running. Emulation with several threads loses that race now and
 * then: a host panic with its RIP inside an instruction. So init holds, for the lab's whole life, one of
 * each kind that such a key counts: a VM (preempt_notifier_key); a vCPU whose LAPIC is in software-
 * disabled state, as after reset (apic_sw_disabled); one whose LAPIC is switched off (apic_hw_disabled);
 * one without LAPIC (kvm_has_noapic_vcpu). None of them ever runs. */
#include "hold-vm.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <stddef.h>
#include <sys/ioctl.h>

static int new_vcpu(int vm, unsigned long id)
{
	return ioctl(vm, KVM_CREATE_VCPU, id);
}

static int switch_lapic_off(int vcpu)
{
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs))
		return -1;
	sregs.apic_base &= ~(1ULL << 11);
	return ioctl(vcpu, KVM_SET_SREGS, &sregs);
}

const char *hold_vms(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		return "there is no /dev/kvm: kvm_amd did not load";

	int with = ioctl(kvm, KVM_CREATE_VM, 0UL);
	int without = ioctl(kvm, KVM_CREATE_VM, 0UL);
	if (with < 0 || without < 0)
		return "KVM_CREATE_VM failed";
	if (ioctl(with, KVM_CREATE_IRQCHIP, 0UL))
		return "KVM_CREATE_IRQCHIP failed";
	if (new_vcpu(with, 0) < 0 || new_vcpu(without, 0) < 0)
		return "KVM_CREATE_VCPU failed";
	int off = new_vcpu(with, 1);
	if (off < 0 || switch_lapic_off(off))
		return "cannot switch a LAPIC off";
	return NULL;
}
