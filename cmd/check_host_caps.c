/* The capabilities of KVM that mayfly uses: one row each, and what it is for. */
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "cmd/check_host_priv.h"

static void run_cap(const struct host *host, const struct host_check *check,
		    struct check_result *result)
{
	int have = host->kvm < 0 ? -1 : ioctl(host->kvm, KVM_CHECK_EXTENSION, check->arg);
	int min = check->min ? check->min : 1;

	if (have < 0)
		check_set(result, CHECK_UNKNOWN, "needs /dev/kvm");
	else if (have >= min && have > 1)
		check_set(result, CHECK_OK, "yes (%d)", have);
	else if (have >= min)
		check_set(result, CHECK_OK, "yes");
	else if (have > 0)
		check_set(result, check->lack, "%d, of %d needed", have, min);
	else
		check_set(result, check->lack, "no");
}

#define NEWER_KERNEL "use a newer kernel"

#define CAP(id_, cap_, lack_, cost_, advice_)                                                   \
	{                                                                                       \
		.id = "kvm_cap_" id_, .title = id_, .run = run_cap, .arg = cap_, .lack = lack_, \
		.cost = cost_, .advice = advice_                                                \
	}
#define REQUIRED(id_, cap_, cost_) CAP(id_, cap_, CHECK_CANNOT_RUN, cost_, NEWER_KERNEL)
#define WANTED(id_, cap_, cost_) CAP(id_, cap_, CHECK_MISSING, cost_, NEWER_KERNEL)
#define FASTER(id_, cap_, cost_) CAP(id_, cap_, CHECK_SLOW, cost_, NEWER_KERNEL)

static const struct host_check checks[] = {
	REQUIRED("user_memory", KVM_CAP_USER_MEMORY, "guests have no memory"),
	REQUIRED("split_irqchip", KVM_CAP_SPLIT_IRQCHIP, "guests have no interrupts"),
	REQUIRED("irqfd", KVM_CAP_IRQFD, "devices cannot interrupt"),
	REQUIRED("irq_routing", KVM_CAP_IRQ_ROUTING, "devices cannot interrupt"),
	REQUIRED("ioeventfd", KVM_CAP_IOEVENTFD, "guests cannot notify devices"),
	REQUIRED("immediate_exit", KVM_CAP_IMMEDIATE_EXIT, "a vCPU cannot be stopped safely"),
	REQUIRED("x2apic_api", KVM_CAP_X2APIC_API, "interrupts cannot name their vCPU"),
	REQUIRED("ext_cpuid", KVM_CAP_EXT_CPUID, "guests cannot be told their processor"),
	{ .id = "kvm_cap_nr_memslots",
	  .title = "nr_memslots",
	  .run = run_cap,
	  .arg = KVM_CAP_NR_MEMSLOTS,
	  .min = 32,
	  .lack = CHECK_CANNOT_RUN,
	  .cost = "guest memory and its devices do not fit",
	  .advice = NEWER_KERNEL },
	{ .id = "kvm_cap_max_vcpus",
	  .title = "max_vcpus",
	  .run = run_cap,
	  .arg = KVM_CAP_MAX_VCPUS,
	  .min = 32,
	  .lack = CHECK_MISSING,
	  .cost = "guests can have only as many vCPUs",
	  .advice = NEWER_KERNEL },
	CAP("pmu_capability", KVM_CAP_PMU_CAPABILITY, CHECK_MISSING,
	    "if the processor has performance counters, guests on AMD can use them",
	    "use Linux 5.18 or later"),
	WANTED("set_tss_addr", KVM_CAP_SET_TSS_ADDR,
	       "guests fail on Intel processors of 2006-2009"),
	FASTER("tsc_deadline_timer", KVM_CAP_TSC_DEADLINE_TIMER,
	       "each guest timer costs two exits"),
	WANTED("kvmclock_ctrl", KVM_CAP_KVMCLOCK_CTRL,
	       "a guest that was paused complains of soft lockups"),
	WANTED("adjust_clock", KVM_CAP_ADJUST_CLOCK, "restored guests' clocks jump"),
	WANTED("get_tsc_khz", KVM_CAP_GET_TSC_KHZ, "snapshots cannot name their TSC frequency"),
	CAP("tsc_control", KVM_CAP_TSC_CONTROL, CHECK_MISSING,
	    "snapshots move only between hosts of the same TSC frequency",
	    "restore on like hosts, or use processors with TSC scaling"),
	WANTED("vcpu_attributes", KVM_CAP_VCPU_ATTRIBUTES,
	       "snapshots that have the offset of a time-stamp counter are refused"),
	WANTED("mp_state", KVM_CAP_MP_STATE, "no snapshots"),
	WANTED("sregs2", KVM_CAP_SREGS2,
	       "snapshots of 32-bit guests that page with PAE lose their page directory"),
	WANTED("vcpu_events", KVM_CAP_VCPU_EVENTS, "no snapshots"),
	WANTED("debugregs", KVM_CAP_DEBUGREGS, "snapshots lose debug registers"),
	WANTED("xsave", KVM_CAP_XSAVE, "no snapshots of vector registers"),
	WANTED("xsave2", KVM_CAP_XSAVE2, "no snapshots of AMX registers"),
	WANTED("xcrs", KVM_CAP_XCRS, "no snapshots of vector registers"),
	WANTED("readonly_mem", KVM_CAP_READONLY_MEM, "no read-only memory devices"),
};

const struct check_group check_capabilities = { "KVM capabilities", checks, ARRAY_SIZE(checks) };
