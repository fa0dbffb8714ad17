/* Can this host run it? What a load would find out one after the other, all at once. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "vmm/kvm.h"
#include "vmm/snapshot_needs.h"
#include "vmm/snapshot_view.h"

struct check {
	const struct snapshot_view *view;
	struct kvm kvm;
	void (*lacks)(void *opaque, const char *sentence);
	void *opaque;
	unsigned int count;
};

static void lack(struct check *check, const char *fmt, ...) printf_like(2, 3);

static void lack(struct check *check, const char *fmt, ...)
{
	char text[sizeof(((struct error *)0)->text)];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	check->lacks(check->opaque, text);
	check->count++;
}

static void lack_feature(void *opaque, uint32_t function, uint32_t index, const char *reg,
			 uint32_t bits)
{
	lack(opaque, "the processor lacks features that the guest was shown: CPUID %#x.%u.%s %#x",
	     function, index, reg, bits);
}

static void lack_capability(void *opaque, const char *name)
{
	lack(opaque, "its KVM lacks %s, which the state needs", name);
}

static void check_cpuid(struct check *check)
{
	struct cpuid *host cleanup_free = malloc(sizeof(*host));
	struct cpuid_source source;
	struct error err = { 0 };

	if (!host) {
		lack(check, "out of memory");
		return;
	}
	cpuid_source_init(&source, check->kvm.fd, check->view->config.vcpus, false,
			  kvm_check_extension(&check->kvm, KVM_CAP_TSC_DEADLINE_TIMER), NULL);
	if (cpuid_source_get(&source, 0, host, &err) < 0)
		lack(check, "%s", err.text);
	else
		cpuid_missing(&check->view->cpuid, host, lack_feature, check);
}

static bool has_msr(const struct kvm_msr_list *list, uint32_t index)
{
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (list->indices[i] == index)
			return true;
	return false;
}

/* One that is zero is what a vCPU without it is taken to have. */
static void check_msrs(struct check *check)
{
	const struct vcpu_state *vcpu = &check->view->vcpu;
	struct kvm_msr_list *list cleanup_free =
		calloc(1, sizeof(*list) + VCPU_MSRS_MAX * sizeof(list->indices[0]));

	if (!list) {
		lack(check, "out of memory");
		return;
	}
	list->nmsrs = VCPU_MSRS_MAX;
	if (ioctl(check->kvm.fd, KVM_GET_MSR_INDEX_LIST, list) < 0) {
		lack(check, "KVM_GET_MSR_INDEX_LIST: %s", strerrordesc_np(errno));
		return;
	}
	for (uint32_t i = 0; i < vcpu->msr_count; i++)
		if (vcpu->msrs[i].value != 0 && !has_msr(list, vcpu->msrs[i].index))
			lack(check, "its KVM has no model-specific register %#x",
			     vcpu->msrs[i].index);
}

static void check_xsave(struct check *check)
{
	int size = kvm_check_extension(&check->kvm, KVM_CAP_XSAVE2);

	if (size > (int)sizeof(check->view->vcpu.xsave))
		lack(check,
		     "its processor has %d bytes of extended state, more than the %zu that "
		     "are handled",
		     size, sizeof(check->view->vcpu.xsave));
	/* A version that did not list capabilities wrote it. */
	if (check->view->info.capability_count == 0 && check->view->vcpu.has_tsc_offset &&
	    !kvm_check_extension(&check->kvm, KVM_CAP_VCPU_ATTRIBUTES))
		lack_capability(check, "KVM_CAP_VCPU_ATTRIBUTES");
}

static void check_tsc(struct check *check)
{
	const uint32_t saved = check->view->vcpu.tsc_khz;
	struct error err = { 0 };
	int vcpu, now;

	if (saved == 0 || kvm_check_extension(&check->kvm, KVM_CAP_TSC_CONTROL))
		return;
	if (kvm_create_vm(&check->kvm, &err) < 0) {
		lack(check, "%s", err.text);
		return;
	}
	vcpu = ioctl(check->kvm.vm, KVM_CREATE_VCPU, 0);
	now = vcpu < 0 ? -1 : ioctl(vcpu, KVM_GET_TSC_KHZ);
	if (now > 0 && !vcpu_tsc_is_close(saved, (uint32_t)now))
		lack(check,
		     "its time-stamp counter runs at %d kHz, the guest's at %u, and it cannot "
		     "scale it",
		     now, saved);
	close_fd(&vcpu);
}

static void check_memory(struct check *check)
{
	const uint64_t wanted = check->view->config.memory;
	struct sysinfo info;
	uint64_t has;

	if (sysinfo(&info) < 0)
		return;
	has = ((uint64_t)info.totalram + info.totalswap) * info.mem_unit;
	if (wanted > has)
		lack(check, "the guest has %lu MiB of memory, the host %lu MiB with its swap",
		     wanted >> 20, has >> 20);
}

static void check_file(struct check *check, const char *kind, const char *id, const char *path,
		       bool read_only)
{
	if (*path && access(path, read_only ? R_OK : R_OK | W_OK) < 0)
		lack(check, "%s %s: %s: %s (a load can name another)", kind, id, path,
		     strerrordesc_np(errno));
}

static void check_files(struct check *check)
{
	const struct saved_config *config = &check->view->config;

	for (uint32_t i = 0; i < config->drive_count; i++)
		check_file(check, "drive", config->drives[i].id, config->drives[i].path,
			   config->drives[i].read_only);
	for (uint32_t i = 0; i < config->pmem_count; i++)
		check_file(check, "pmem", config->pmems[i].id, config->pmems[i].path,
			   config->pmems[i].read_only);
}

unsigned int snapshot_check(const struct snapshot_view *view,
			    void (*lacks)(void *opaque, const char *sentence), void *opaque)
{
	struct check check = {
		.view = view, .kvm = { .fd = -1, .vm = -1 }, .lacks = lacks, .opaque = opaque
	};
	struct error err = { 0 };

	if (kvm_open(&check.kvm, &err) < 0) {
		lack(&check, "%s", err.text);
	} else {
		snapshot_missing_capabilities(&view->info, &check.kvm, NULL, lack_capability,
					      &check);
		check_cpuid(&check);
		check_msrs(&check);
		check_xsave(&check);
		check_tsc(&check);
	}
	check_memory(&check);
	check_files(&check);
	kvm_close(&check.kvm);
	return check.count;
}
