#include "vmm/kvm.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#include "base/guest_dirty.h"
#include "vmm/layout.h"

#define KVM_PATH "/dev/kvm"

static const struct {
	int capability;
	const char *name;
} required[] = {
	{ KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP" },
	{ KVM_CAP_IRQFD, "KVM_CAP_IRQFD" },
	{ KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD" },
	{ KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT" },
};

int kvm_check_extension(const struct kvm *kvm, int capability)
{
	int ret = ioctl(kvm->vm >= 0 ? kvm->vm : kvm->fd, KVM_CHECK_EXTENSION, capability);

	return ret < 0 ? 0 : ret;
}

static int open_error(struct error *err, int code)
{
	switch (code) {
	case ENOENT:
	case ENXIO:
	case ENODEV:
		return error_set_errno(
			err, code,
			"cannot open " KVM_PATH
			", so no guest can run; load the kvm_intel or kvm_amd module "
			"or run on a host with virtualization (see `mayfly check-host`)");
	case EACCES:
	case EPERM:
		return error_set_errno(err, code,
				       "no right to use " KVM_PATH
				       "; run as root or as a member of its group (often: kvm)");
	default:
		return error_set_errno(err, code, "cannot open " KVM_PATH);
	}
}

static int check_host(struct kvm *kvm, struct error *err)
{
	int version = ioctl(kvm->fd, KVM_GET_API_VERSION, 0);
	int size;

	if (version < 0)
		return error_set_errno(
			err, errno,
			KVM_PATH " is not KVM's device, so no guest can run; load the kvm_intel or "
				 "kvm_amd module (see `mayfly check-host`)");
	if (version != KVM_API_VERSION)
		return error_set(err, ENOTSUP, KVM_PATH ": API version %d instead of %d", version,
				 KVM_API_VERSION);
	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!kvm_check_extension(kvm, required[i].capability))
			return error_set(err, ENOTSUP,
					 KVM_PATH ": this kernel lacks %s; a newer one is needed "
						  "(see `mayfly check-host`)",
					 required[i].name);
	size = ioctl(kvm->fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return error_set_errno(err, size < 0 ? errno : EINVAL, "KVM_GET_VCPU_MMAP_SIZE");
	kvm->run_size = (size_t)size;
	return 0;
}

static int enable_cap(const struct kvm *kvm, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap enable = { .cap = cap, .args = { arg } };

	return ioctl(kvm->vm, KVM_ENABLE_CAP, &enable) < 0 ? -errno : 0;
}

/* CPUID tells of none, but AMD's first four need no telling. EINVAL: this host has none to take away, or an
 * older kernel, which cannot. */
static int take_counters_away(const struct kvm *kvm, struct error *err)
{
	int ret = enable_cap(kvm, KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE);

	if (ret < 0 && ret != -EINVAL)
		return error_set_errno(err, ret, "KVM_CAP_PMU_CAPABILITY");
	return 0;
}

/* KVM_CREATE_VM is interruptible and says EINTR when a signal comes. */
int kvm_create_vm(struct kvm *kvm, struct error *err)
{
	kvm->vm = retry_eintr(ioctl(kvm->fd, KVM_CREATE_VM, 0));
	if (kvm->vm < 0)
		return error_set_errno(err, errno,
				       "cannot create a virtual machine (KVM_CREATE_VM)");
	return take_counters_away(kvm, err);
}

int kvm_open(struct kvm *kvm, struct error *err)
{
	int ret;

	kvm->vm = -1;
	kvm->fd = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	if (kvm->fd < 0)
		return open_error(err, errno);
	ret = check_host(kvm, err);
	if (ret < 0)
		kvm_close(kvm);
	return ret;
}

void kvm_close(struct kvm *kvm)
{
	close_fd(&kvm->vm);
	close_fd(&kvm->fd);
}

static int add_slot(const struct kvm *kvm, uint32_t index, uint32_t flags,
		    const struct guest_region *region, struct error *err)
{
	struct kvm_userspace_memory_region slot = {
		.slot = index,
		.flags = flags,
		.guest_phys_addr = region->gpa,
		.memory_size = region->size,
		.userspace_addr = (uintptr_t)region->host,
	};

	if (ioctl(kvm->vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return error_set_errno(err, errno,
				       "cannot give the guest %lu MiB at %#lx "
				       "(KVM_SET_USER_MEMORY_REGION)",
				       region->size >> 20, region->gpa);
	return 0;
}

int kvm_track_memory(struct kvm *kvm, const struct guest_memory *mem, struct error *err)
{
	const uint32_t flags = mem->dirty ? KVM_MEM_LOG_DIRTY_PAGES : 0;
	int ret = 0;

	for (unsigned int i = 0; i < mem->count && ret == 0; i++)
		ret = add_slot(kvm, i, flags, &mem->regions[i], err);
	return ret;
}

static void note_words(const struct guest_memory *mem, const struct guest_region *region,
		       const uint64_t *words)
{
	const uint64_t pages = region->size / PAGE_SIZE;

	for (uint64_t at = 0; at < pages; at += 64)
		for (uint64_t word = words[at / 64]; word; word &= word - 1)
			guest_dirty(mem,
				    region->host +
					    (at + (uint64_t)__builtin_ctzll(word)) * PAGE_SIZE,
				    1);
}

int kvm_take_dirty(const struct kvm *kvm, const struct guest_memory *mem, struct error *err)
{
	for (unsigned int i = 0; i < mem->count; i++) {
		uint64_t *words cleanup_free = calloc((mem->regions[i].size / PAGE_SIZE + 63) / 64,
						      sizeof(*words));
		struct kvm_dirty_log log = { .slot = i, .dirty_bitmap = words };

		if (!words)
			return error_set(err, ENOMEM, "out of memory for the map of changed pages");
		if (ioctl(kvm->vm, KVM_GET_DIRTY_LOG, &log) < 0)
			return error_set_errno(err, errno,
					       "cannot tell which pages the guest has written "
					       "(KVM_GET_DIRTY_LOG)");
		note_words(mem, &mem->regions[i], words);
	}
	return 0;
}

int kvm_add_memory(struct kvm *kvm, const struct guest_memory *mem, struct error *err)
{
	int ret = kvm_track_memory(kvm, mem, err);

	for (unsigned int i = 0; i < mem->window_count && ret == 0; i++)
		ret = add_slot(kvm, mem->count + i,
			       mem->windows[i].read_only ? KVM_MEM_READONLY : 0,
			       &mem->windows[i].region, err);
	return ret;
}

int kvm_add_read_only(struct kvm *kvm, const struct guest_memory *mem, unsigned int nth,
		      const struct guest_region *region, struct error *err)
{
	if (kvm_check_extension(kvm, KVM_CAP_READONLY_MEM) <= 0)
		return error_set(err, EOPNOTSUPP, "this KVM has no read-only memory");
	return add_slot(kvm, mem->count + mem->window_count + nth, KVM_MEM_READONLY, region, err);
}

/* Intel hosts need three pages for a TSS and one for an identity map, to emulate real mode where
 * the processor cannot; they must be outside RAM and set before the first vCPU. */
static int set_real_mode_pages(struct kvm *kvm, struct error *err)
{
	uint64_t identity = LAYOUT_IDENTITY_MAP;

	if (!kvm_check_extension(kvm, KVM_CAP_SET_TSS_ADDR))
		return 0;
	if (ioctl(kvm->vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return error_set_errno(err, errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(kvm->vm, KVM_SET_TSS_ADDR, LAYOUT_TSS) < 0)
		return error_set_errno(err, errno, "KVM_SET_TSS_ADDR");
	return 0;
}

int kvm_create_irqchip(struct kvm *kvm, unsigned int pins, struct error *err)
{
	int ret = set_real_mode_pages(kvm, err);

	if (ret < 0)
		return ret;
	ret = enable_cap(kvm, KVM_CAP_SPLIT_IRQCHIP, pins);
	if (ret < 0)
		return error_set_errno(err, ret,
				       "cannot create the interrupt controllers "
				       "(KVM_CAP_SPLIT_IRQCHIP)");
	/* Ids of 32 bits in routes, and 255 as an id rather than a broadcast. Older kernels lack
	 * it; no vCPU of ours has an id above 31. */
	ret = enable_cap(kvm, KVM_CAP_X2APIC_API,
			 KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK);
	if (ret < 0 && ret != -EINVAL)
		return error_set_errno(err, ret, "KVM_CAP_X2APIC_API");
	return 0;
}

int kvm_ioeventfd(const struct kvm *kvm, int eventfd, uint64_t addr, uint32_t value, uint32_t len,
		  bool bound)
{
	struct kvm_ioeventfd event = {
		.datamatch = value,
		.addr = addr,
		.len = len,
		.fd = eventfd,
		.flags = (len ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (bound ? 0 : KVM_IOEVENTFD_FLAG_DEASSIGN),
	};

	return ioctl(kvm->vm, KVM_IOEVENTFD, &event) < 0 ? -errno : 0;
}

int kvm_irqfd(const struct kvm *kvm, int eventfd, uint32_t gsi)
{
	struct kvm_irqfd irqfd = { .fd = (uint32_t)eventfd, .gsi = gsi };

	return ioctl(kvm->vm, KVM_IRQFD, &irqfd) < 0 ? -errno : 0;
}
