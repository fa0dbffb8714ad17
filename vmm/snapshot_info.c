#include "vmm/snapshot_info.h"

#include <stdio.h>
#include <string.h>
#include <sys/xattr.h>

#define INFO(member, kind) STATE_FIELD(struct snapshot_info, member, kind, 1)

static const struct state_field info_fields[] = {
	INFO(mayfly_version, STATE_STRING),
	INFO(is_diff, STATE_BOOL),
	INFO(id, STATE_BYTES),
	INFO(parent, STATE_BYTES),
	INFO(has_attribute, STATE_BOOL),
	INFO(memory, STATE_U64),
	INFO(written_pages, STATE_U64),
	INFO(created, STATE_U64),
	INFO(host_kernel, STATE_STRING),
	{
		.name = "capabilities",
		.type = STATE_U32,
		.offset = (uint32_t)offsetof(struct snapshot_info, capabilities),
		.size = STATE_SIZEOF(struct snapshot_info, capabilities[0]),
		.max = SNAPSHOT_CAPABILITIES_MAX,
		.count_offset = (uint32_t)offsetof(struct snapshot_info, capability_count),
		.since = 2,
	},
};

const struct state_desc snapshot_info_desc = STATE_DESC("snapshot", struct snapshot_info, 2,
							info_fields);

void snapshot_id_text(const uint8_t id[static SNAPSHOT_ID_SIZE], char out[static SNAPSHOT_ID_TEXT])
{
	for (unsigned int i = 0; i < SNAPSHOT_ID_SIZE; i++)
		snprintf(out + 2 * i, 3, "%02x", id[i]);
}

bool snapshot_read_attribute(int fd, const char *name, char text[static SNAPSHOT_ID_TEXT])
{
	const ssize_t len = fgetxattr(fd, name, text, SNAPSHOT_ID_TEXT - 1);

	text[len == SNAPSHOT_ID_TEXT - 1 ? len : 0] = '\0';
	return len >= 0 || errno == ERANGE;
}

#define LEAF(member) STATE_FIELD(struct kvm_cpuid_entry2, member, STATE_U32, 1)

static const struct state_field leaf_fields[] = {
	LEAF(function), LEAF(index), LEAF(flags), LEAF(eax), LEAF(ebx), LEAF(ecx), LEAF(edx),
};

static const struct state_desc leaf_desc = STATE_DESC("leaf", struct kvm_cpuid_entry2, 1,
						      leaf_fields);

static const struct state_field cpuid_fields[] = {
	STATE_TABLE(struct cpuid_state, entries, entry_count, &leaf_desc, 1),
};

const struct state_desc cpuid_state_desc = STATE_DESC("cpuid", struct cpuid_state, 1, cpuid_fields);

void cpuid_to_state(const struct cpuid *cpuid, struct cpuid_state *out)
{
	*out = (struct cpuid_state){ .entry_count = MIN(cpuid->nent, (uint32_t)CPUID_ENTRIES_MAX) };
	memcpy(out->entries, cpuid->entries, sizeof(out->entries));
}

void cpuid_from_state(const struct cpuid_state *state, struct cpuid *out)
{
	*out = (struct cpuid){ .nent = state->entry_count };
	memcpy(out->entries, state->entries, sizeof(out->entries));
}

static const struct kvm_cpuid_entry2 *find(const struct cpuid *cpuid, uint32_t function,
					   uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

bool cpuid_same(const struct cpuid *a, const struct cpuid *b)
{
	if (a->nent != b->nent)
		return false;
	for (uint32_t i = 0; i < a->nent; i++) {
		const struct kvm_cpuid_entry2 *x = &a->entries[i];
		const struct kvm_cpuid_entry2 *y = find(b, x->function, x->index);

		if (!y || x->eax != y->eax || x->ebx != y->ebx || x->ecx != y->ecx ||
		    x->edx != y->edx || x->flags != y->flags)
			return false;
	}
	return true;
}

/* Registers whose bits are features of which more is better. */
static const struct {
	uint32_t function, index;
	uint32_t offset;
	const char *name;
} feature_registers[] = {
#define REGISTER(leaf, subleaf, reg)                                                  \
	{                                                                             \
		leaf, subleaf, (uint32_t)offsetof(struct kvm_cpuid_entry2, reg), #reg \
	}
	REGISTER(0x1, 0, ecx),	      REGISTER(0x1, 0, edx),	    REGISTER(0x7, 0, ebx),
	REGISTER(0x7, 0, ecx),	      REGISTER(0x7, 0, edx),	    REGISTER(0x7, 1, eax),
	REGISTER(0xd, 0, eax),	      REGISTER(0xd, 1, eax),	    REGISTER(0x80000001, 0, ecx),
	REGISTER(0x80000001, 0, edx), REGISTER(0x80000008, 0, ebx), REGISTER(0x40000001, 0, eax),
#undef REGISTER
};

static uint32_t value_of(const struct cpuid *cpuid, size_t i)
{
	const struct kvm_cpuid_entry2 *entry = find(cpuid, feature_registers[i].function,
						    feature_registers[i].index);
	uint32_t value = 0;

	if (entry)
		memcpy(&value, (const uint8_t *)entry + feature_registers[i].offset, sizeof(value));
	return value;
}

unsigned int cpuid_missing(const struct cpuid *guest, const struct cpuid *host,
			   void (*missing)(void *, uint32_t, uint32_t, const char *, uint32_t),
			   void *opaque)
{
	unsigned int count = 0;

	for (size_t i = 0; i < ARRAY_SIZE(feature_registers); i++) {
		uint32_t bits = value_of(guest, i) & ~value_of(host, i);

		if (!bits)
			continue;
		missing(opaque, feature_registers[i].function, feature_registers[i].index,
			feature_registers[i].name, bits);
		count++;
	}
	return count;
}
