/* Model-specific registers of a vCPU. */
#include <sys/ioctl.h>

#include "vmm/vcpu_state.h"

#define BATCH 128u /* KVM takes less than 256 a call */

struct msr_batch {
	uint32_t nmsrs;
	uint32_t pad;
	struct kvm_msr_entry entries[BATCH]; /* laid out as struct kvm_msrs */
};

int vcpu_get_msr(const struct vcpu *vcpu, uint32_t index, uint64_t *value)
{
	struct msr_batch one = { .nmsrs = 1, .entries = { { .index = index } } };
	int ret = ioctl(vcpu->fd, KVM_GET_MSRS, &one);

	*value = one.entries[0].data;
	return ret == 1 ? 0 : ret < 0 ? -errno : -EINVAL;
}

int vcpu_set_msr(const struct vcpu *vcpu, uint32_t index, uint64_t value)
{
	struct msr_batch one = { .nmsrs = 1, .entries = { { .index = index, .data = value } } };
	int ret = ioctl(vcpu->fd, KVM_SET_MSRS, &one);

	return ret == 1 ? 0 : ret < 0 ? -errno : -EINVAL;
}

/*
 * Not saved: the TSC and its deadline, which have a place of their own; Hyper-V's (we show none, and
 * setting one, even to zero, makes KVM build its state); what nested virtualization reports of itself,
 * which our guests do not have.
 */
static bool is_saved(uint32_t index)
{
	return index != MSR_TSC && index != MSR_TSC_DEADLINE &&
	       !(index >= 0x40000000 && index < 0x40001000) && !(index >= 0x480 && index < 0x500);
}

static int read_list(const struct vcpu *vcpu, struct kvm_msr_list *list, struct error *err)
{
	list->nmsrs = VCPU_MSRS_MAX;
	if (ioctl(vcpu->host->kvm->fd, KVM_GET_MSR_INDEX_LIST, list) < 0)
		return error_set_errno(err, errno, "KVM_GET_MSR_INDEX_LIST (%u registers)",
				       list->nmsrs);
	return 0;
}

/* KVM_GET_MSRS says how many it read and stops at the first that this vCPU does not have: that one is
 * left out. */
static int read_batch(const struct vcpu *vcpu, const uint32_t *indices, uint32_t count,
		      struct vcpu_msr *out, uint32_t *out_count)
{
	while (count > 0) {
		struct msr_batch batch = { .nmsrs = count };
		int got;

		for (uint32_t i = 0; i < count; i++)
			batch.entries[i].index = indices[i];
		got = ioctl(vcpu->fd, KVM_GET_MSRS, &batch);
		if (got < 0)
			return -errno;
		for (int i = 0; i < got; i++)
			out[(*out_count)++] = (struct vcpu_msr){ batch.entries[i].index,
								 batch.entries[i].data };
		if ((uint32_t)got == count)
			break;
		indices += got + 1;
		count -= (uint32_t)got + 1;
	}
	return 0;
}

static int read_listed(const struct vcpu *vcpu, struct kvm_msr_list *list, struct vcpu_msr *msrs,
		       uint32_t *count, struct error *err)
{
	uint32_t wanted = 0;
	int ret = read_list(vcpu, list, err);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < list->nmsrs; i++)
		if (is_saved(list->indices[i]))
			list->indices[wanted++] = list->indices[i];
	for (uint32_t at = 0; at < wanted && ret == 0; at += BATCH)
		ret = read_batch(vcpu, list->indices + at, MIN(BATCH, wanted - at), msrs, count);
	return ret < 0 ? error_set_errno(err, ret, "vCPU %u: KVM_GET_MSRS", vcpu->index) : 0;
}

int vcpu_read_msrs(const struct vcpu *vcpu, struct vcpu_msr *msrs, uint32_t *count,
		   struct error *err)
{
	struct kvm_msr_list *list =
		calloc(1, sizeof(*list) + VCPU_MSRS_MAX * sizeof(list->indices[0]));
	int ret;

	*count = 0;
	if (!list)
		return error_set(err, ENOMEM, "vCPU %u: out of memory", vcpu->index);
	ret = read_listed(vcpu, list, msrs, count, err);
	free(list);
	return ret;
}

/* Leaves in `batch` those that are to change; what the vCPU does not have is to change too, and fails. */
static int differing(const struct vcpu *vcpu, const struct vcpu_msr *msrs, uint32_t count,
		     struct msr_batch *batch)
{
	struct vcpu_msr now[BATCH];
	uint32_t indices[BATCH] = { 0 };
	uint32_t got = 0, at = 0;
	int ret;

	for (uint32_t i = 0; i < count; i++)
		indices[i] = msrs[i].index;
	ret = read_batch(vcpu, indices, count, now, &got);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < count; i++) {
		bool is_known = at < got && now[at].index == msrs[i].index;

		if (!is_known || now[at].value != msrs[i].value)
			batch->entries[batch->nmsrs++] = (struct kvm_msr_entry){
				.index = msrs[i].index,
				.data = msrs[i].value,
			};
		at += is_known;
	}
	return 0;
}

/* How many there were to write. */
static int write_batch(const struct vcpu *vcpu, const struct vcpu_msr *msrs, uint32_t count,
		       struct error *err)
{
	struct msr_batch batch = { 0 };
	int ret = differing(vcpu, msrs, count, &batch);

	if (ret == 0 && batch.nmsrs > 0)
		ret = ioctl(vcpu->fd, KVM_SET_MSRS, &batch) < 0 ? -errno : 0;
	if (ret < 0)
		return error_set_errno(err, ret, "vCPU %u: its model-specific registers",
				       vcpu->index);
	return (int)batch.nmsrs;
}

/* One by one, to find which: KVM_SET_MSRS says how many it set, and the first that it did not is the
 * culprit; the rest may still be good. */
static int check_written(const struct vcpu *vcpu, const struct vcpu_msr *msrs, uint32_t count,
			 struct error *err)
{
	struct msr_batch batch = { 0 };
	int ret = differing(vcpu, msrs, count, &batch);

	for (uint32_t i = 0; i < batch.nmsrs && ret == 0; i++) {
		const struct kvm_msr_entry *entry = &batch.entries[i];

		if (vcpu_set_msr(vcpu, entry->index, entry->data) < 0)
			return error_set(err, EINVAL,
					 "vCPU %u: this host cannot set model-specific register "
					 "%#x to %#llx",
					 vcpu->index, entry->index, entry->data);
	}
	return ret;
}

int vcpu_write_msrs(const struct vcpu *vcpu, const struct vcpu_msr *msrs, uint32_t count,
		    struct error *err)
{
	for (uint32_t at = 0; at < count; at += BATCH) {
		uint32_t n = MIN(BATCH, count - at);
		int ret = write_batch(vcpu, msrs + at, n, err);

		if (ret > 0)
			ret = check_written(vcpu, msrs + at, n, err);
		if (ret < 0)
			return ret;
	}
	return 0;
}
