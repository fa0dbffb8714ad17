/*
 * The sections of a snapshot that say what it is and what it needs: see docs/snapshot-format.md. Pure.
 */
#pragma once

#include "snapshot/state_desc.h"
#include "vmm/cpuid.h"

#define SNAPSHOT_ID_SIZE 16u
#define SNAPSHOT_CAPABILITIES_MAX 32u

/* Section "snapshot". */
struct snapshot_info {
	char mayfly_version[32]; /* that wrote it */
	bool is_diff;		 /* the memory file is a layer: holes are as in the layer below */
	uint8_t id
		[SNAPSHOT_ID_SIZE]; /* the same in the memory file's attribute, if has_attribute */
	uint8_t parent[SNAPSHOT_ID_SIZE]; /* of a layer: the id of the one below; else zeroes */
	bool has_attribute;		  /* the memory file's filesystem takes user attributes */
	uint64_t memory;		  /* bytes: the length of the memory file */
	uint64_t written_pages;
	uint64_t created;     /* CLOCK_REALTIME, nanoseconds */
	char host_kernel[65]; /* uname's release */
	uint32_t capability_count;
	uint32_t capabilities[SNAPSHOT_CAPABILITIES_MAX]; /* of KVM: vmm/snapshot_needs.h */
};

extern const struct state_desc snapshot_info_desc;

/* The attribute of the memory file that has the id, as 32 hexadecimal digits. */
#define SNAPSHOT_ATTRIBUTE "user.mayfly.snapshot"
/* A layer has this one too: the id of what it is a layer of. Merged memory has it no more. */
#define SNAPSHOT_PARENT_ATTRIBUTE "user.mayfly.parent"
#define SNAPSHOT_ID_TEXT (2 * SNAPSHOT_ID_SIZE + 1)
void snapshot_id_text(const uint8_t id[static SNAPSHOT_ID_SIZE], char out[static SNAPSHOT_ID_TEXT]);

/*
 * What such an attribute of a memory file says, or false: the file has none, or it cannot be read here. What is no id (it
 * has another length) is told as "", which is nobody's.
 */
bool snapshot_read_attribute(int fd, const char *name, char text[static SNAPSHOT_ID_TEXT]);

/* Section "cpuid": what all vCPUs have in common. */
struct cpuid_state {
	uint32_t unused; /* a count cannot be a structure's first member */
	uint32_t entry_count;
	struct kvm_cpuid_entry2 entries[CPUID_ENTRIES_MAX];
};

extern const struct state_desc cpuid_state_desc;

void cpuid_to_state(const struct cpuid *cpuid, struct cpuid_state *out);
void cpuid_from_state(const struct cpuid_state *state, struct cpuid *out);
bool cpuid_same(const struct cpuid *a, const struct cpuid *b);

/* Calls missing() for each feature register of which `host` lacks bits that `guest` was shown; returns how
 * many. */
unsigned int cpuid_missing(const struct cpuid *guest, const struct cpuid *host,
			   void (*missing)(void *opaque, uint32_t function, uint32_t index,
					   const char *reg, uint32_t bits),
			   void *opaque);
