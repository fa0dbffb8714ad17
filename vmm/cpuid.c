#include "vmm/cpuid.h"

#include <asm/kvm_para.h>
#include <sys/ioctl.h>

#include "vmm/cpu_template.h"

#define BIT(n) (1u << (n))

enum reg { EAX, EBX, ECX, EDX };

/* Bits that are taken out of a leaf, and why. A leaf without an index has none (flag unset). */
static const struct {
	uint32_t leaf, index;
	enum reg reg;
	uint32_t bits;
} removed[] = {
	/* DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, PDCM: debug stores, power, nesting, counters */
	{ 0x1, 0, ECX, BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(15) },
	/* DS, ACPI thermal, TM, PBE */
	{ 0x1, 0, EDX, BIT(21) | BIT(22) | BIT(29) | BIT(31) },
	/* SGX, RDT monitoring and allocation, Processor Trace */
	{ 0x7, 0, EBX, BIT(2) | BIT(12) | BIT(15) | BIT(25) },
	/* CET shadow stacks, SGX launch control, protection keys for supervisors */
	{ 0x7, 0, ECX, BIT(7) | BIT(30) | BIT(31) },
	/* UINTR, architectural LBR, CET-IBT, AMX (bf16, tile, int8) */
	{ 0x7, 0, EDX, BIT(5) | BIT(19) | BIT(20) | BIT(22) | BIT(24) | BIT(25) },
	/* HRESET, AMX-FP16 */
	{ 0x7, 1, EAX, BIT(21) | BIT(22) },
	/* AMX-COMPLEX */
	{ 0x7, 1, EDX, BIT(8) },
	/* Turbo, power and thermal management; ARAT (bit 2) stays: the APIC timer never stops */
	{ 0x6, 0, EAX, ~BIT(2) },
	{ 0x6, 0, ECX, ~0u },
	/* XSAVE of supervisor states (IA32_XSS: PT, CET, LBR) */
	{ 0xd, 1, EAX, BIT(3) },
	{ 0xd, 1, ECX, ~0u },
	{ 0xd, 1, EDX, ~0u },
	/* SVM, IBS, SKINIT, WDT, LWP, node id, performance counter extensions */
	{ 0x80000001, 0, ECX,
	  BIT(2) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(19) | BIT(23) | BIT(24) | BIT(27) |
		  BIT(28) },
	/* Nested virtualization's hint for asynchronous page faults */
	{ KVM_CPUID_FEATURES, 0, EAX, BIT(KVM_FEATURE_ASYNC_PF_VMEXIT) },
};

/* Leaves that are emptied: MWAIT, counters, RDT, SGX, PT, LBR, AMX, and AMD's SVM, IBS, SEV and
 * counters. An empty leaf and a missing one read the same to a guest below the maximum. */
static const uint32_t emptied[] = {
	0x5,  0xa,  0xf,	0x10,	    0x12,	0x14,	    0x1c,	0x1d,
	0x1e, 0x23, 0x8000000a, 0x8000001b, 0x8000001c, 0x8000001f, 0x80000022,
};

/* x87, SSE, AVX, AVX-512 (3), PKRU: what KVM_GET_XSAVE's 4 KiB hold and a snapshot keeps. */
#define XCR0_ALLOWED 0x2e7u

static uint32_t *register_of(struct kvm_cpuid_entry2 *entry, enum reg reg)
{
	switch (reg) {
	case EAX:
		return &entry->eax;
	case EBX:
		return &entry->ebx;
	case ECX:
		return &entry->ecx;
	default:
		return &entry->edx;
	}
}

static void remove_features(struct kvm_cpuid_entry2 *entry)
{
	for (size_t i = 0; i < ARRAY_SIZE(removed); i++)
		if (entry->function == removed[i].leaf && entry->index == removed[i].index)
			*register_of(entry, removed[i].reg) &= ~removed[i].bits;
	for (size_t i = 0; i < ARRAY_SIZE(emptied); i++)
		if (entry->function == emptied[i])
			entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
}

/*
 * Leaf 0xd: the components a guest may enable, and the size of an area with all of them. A
 * component that is not allowed loses its subleaf too. The size that follows XCR0 (EBX) is kept up
 * by KVM itself.
 */
static void filter_xsave(struct cpuid *cpuid)
{
	uint32_t size = 576; /* legacy region and header */

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function != 0xd || entry->index < 2)
			continue;
		if (entry->index >= 32 || !(BIT(entry->index) & XCR0_ALLOWED))
			entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
		else if (entry->ebx + entry->eax > size)
			size = entry->ebx + entry->eax;
	}
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function != 0xd || entry->index != 0)
			continue;
		entry->eax &= XCR0_ALLOWED;
		entry->ecx = size;
		entry->edx = 0;
	}
}

struct topology {
	unsigned int vcpus;
	unsigned int threads; /* of a core: 1 or 2 */
	bool tsc_deadline;
};

/* How many bits of an APIC id number so many. */
static uint32_t bits_for(unsigned int count)
{
	uint32_t bits = 0;

	while ((1u << bits) < count)
		bits++;
	return bits;
}

static void set_basic_topology(struct kvm_cpuid_entry2 *entry, const struct topology *topology)
{
	entry->ebx = (entry->ebx & 0x0000ffff) | topology->vcpus << 16;
	entry->ecx |= BIT(31); /* a hypervisor is here */
	entry->ecx |= BIT(21); /* x2APIC, emulated by the kernel whatever the host has */
	if (topology->tsc_deadline)
		entry->ecx |= BIT(24);
	entry->edx = topology->vcpus > 1 ? entry->edx | BIT(28) : entry->edx & ~BIT(28); /* HTT */
}

/* Intel's cache leaf: the last level is shared by all cores, the others by the threads of one. */
static void set_intel_caches(struct kvm_cpuid_entry2 *entry, const struct topology *topology)
{
	uint32_t level = entry->eax >> 5 & 7;
	uint32_t sharing = level >= 3 ? (1u << bits_for(topology->vcpus)) - 1
				      : topology->threads - 1;
	uint32_t cores = (1u << bits_for(topology->vcpus / topology->threads)) - 1;

	if ((entry->eax & 0x1f) == 0)
		return; /* the end of the list */
	entry->eax = (entry->eax & 0x3fff) | sharing << 14 | cores << 26;
}

static void set_amd_caches(struct kvm_cpuid_entry2 *entry, const struct topology *topology)
{
	uint32_t level = entry->eax >> 5 & 7;
	uint32_t sharing = (level >= 3 ? topology->vcpus : topology->threads) - 1;

	if ((entry->eax & 0x1f) == 0)
		return;
	entry->eax = (entry->eax & ~(0xfffu << 14)) | sharing << 14;
}

/* Extended topology (0xb, 0x1f): subleaf 0 the threads of a core, 1 the cores of the package. */
static void set_extended_topology(struct kvm_cpuid_entry2 *entry, const struct topology *topology)
{
	static const uint32_t smt = 1, core = 2;
	const unsigned int inside = entry->index == 0	? topology->threads
				    : entry->index == 1 ? topology->vcpus
							: 0;

	entry->eax = bits_for(inside);
	entry->ebx = inside;
	entry->ecx = entry->index | (entry->index == 0	 ? smt << 8
				     : entry->index == 1 ? core << 8
							 : 0);
}

static void set_topology(struct kvm_cpuid_entry2 *entry, const struct topology *topology)
{
	switch (entry->function) {
	case 0x1:
		set_basic_topology(entry, topology);
		break;
	case 0x4:
		set_intel_caches(entry, topology);
		break;
	case 0xb:
	case 0x1f:
		set_extended_topology(entry, topology);
		break;
	case 0x80000001:
		/* CmpLegacy, AMD only: more than one core */
		if (topology->vcpus == 1)
			entry->ecx &= ~BIT(1);
		break;
	case 0x80000008:
		entry->ecx = bits_for(topology->vcpus) << 12 | (topology->vcpus - 1);
		break;
	case 0x8000001d:
		set_amd_caches(entry, topology);
		break;
	case 0x8000001e: /* cpuid_set_vcpu() reads it */
		entry->ebx = (entry->ebx & 0xffff0000) | (topology->threads - 1) << 8;
		break;
	}
}

/* KVM lists the topology leaf with its first subleaf only; ours has two. */
static void add_core_level(struct cpuid *cpuid, uint32_t function)
{
	bool has_first = false;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		if (cpuid->entries[i].function != function)
			continue;
		has_first = true;
		if (cpuid->entries[i].index == 1)
			return;
	}
	if (!has_first || cpuid->nent == CPUID_ENTRIES_MAX)
		return;
	cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
		.function = function,
		.index = 1,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
	};
}

void cpuid_filter(struct cpuid *cpuid, unsigned int vcpu_count, bool smt, bool tsc_deadline)
{
	const struct topology topology = {
		.vcpus = vcpu_count,
		.threads = smt && vcpu_count > 1 ? 2 : 1,
		.tsc_deadline = tsc_deadline,
	};

	add_core_level(cpuid, 0xb);
	add_core_level(cpuid, 0x1f);
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		remove_features(&cpuid->entries[i]);
		set_topology(&cpuid->entries[i], &topology);
	}
	filter_xsave(cpuid);
}

void cpuid_set_vcpu(struct cpuid *cpuid, unsigned int index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		switch (entry->function) {
		case 0x1:
			entry->ebx = (entry->ebx & 0x00ffffff) | index << 24;
			break;
		case 0xb:
		case 0x1f:
			entry->edx = index;
			break;
		case 0x8000001e:
			entry->eax = index;
			entry->ebx = (entry->ebx & 0xffffff00) |
				     index / ((entry->ebx >> 8 & 0xff) + 1); /* core id */
			entry->ecx = 0;					     /* node 0, one node */
			break;
		}
	}
}

void cpuid_source_init(struct cpuid_source *source, int kvm, unsigned int vcpu_count, bool smt,
		       bool tsc_deadline, const struct cpu_template *cpu)
{
	source->cpu = cpu;
	source->kvm = kvm;
	source->vcpu_count = vcpu_count;
	source->smt = smt;
	source->tsc_deadline = tsc_deadline;
	source->was_tried = source->is_read = false;
	pthread_mutex_init(&source->lock, NULL);
	pthread_cond_init(&source->changed, NULL);
}

static int read_supported(struct cpuid_source *source, struct error *err)
{
	source->table.nent = CPUID_ENTRIES_MAX;
	if (ioctl(source->kvm, KVM_GET_SUPPORTED_CPUID, &source->table) < 0)
		return error_set_errno(err, errno, "KVM_GET_SUPPORTED_CPUID");
	/* First what the template wants, then what no guest of ours may have all the same. */
	if (source->cpu) {
		int ret = cpu_template_apply_cpuid(source->cpu, &source->table, err);

		if (ret < 0)
			return ret;
	}
	cpuid_filter(&source->table, source->vcpu_count, source->smt, source->tsc_deadline);
	/* Which of the host's CPUs answered says nothing of the host: a snapshot's table is compared. */
	cpuid_set_vcpu(&source->table, 0);
	source->is_read = true;
	return 0;
}

int cpuid_source_get(struct cpuid_source *source, unsigned int index, struct cpuid *out,
		     struct error *err)
{
	int ret = 0;

	pthread_mutex_lock(&source->lock);
	if (!source->is_read)
		ret = read_supported(source, err);
	source->was_tried = true;
	pthread_cond_broadcast(&source->changed);
	if (ret == 0)
		*out = source->table;
	pthread_mutex_unlock(&source->lock);
	if (ret == 0)
		cpuid_set_vcpu(out, index);
	return ret;
}

int cpuid_source_wait(struct cpuid_source *source, unsigned int index, struct cpuid *out,
		      struct error *err)
{
	bool is_read;

	pthread_mutex_lock(&source->lock);
	while (!source->was_tried)
		pthread_cond_wait(&source->changed, &source->lock);
	is_read = source->is_read;
	*out = source->table;
	pthread_mutex_unlock(&source->lock);
	if (!is_read)
		return error_set(err, ENOTSUP, "the CPUID that KVM supports could not be read");
	cpuid_set_vcpu(out, index);
	return 0;
}
