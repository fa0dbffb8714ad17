/*
 * The state in which a boot protocol wants the first vCPU, without KVM's types, and what of it
 * lies in guest memory: the GDT and, for the 64-bit protocol, page tables that map RAM below 4 GiB
 * and the devices to themselves in 2 MiB pages.
 */
#pragma once

#include "vmm/boot/kernel.h"

/* A segment register, fields as in Intel SDM 3A 3.4.5; KVM's struct kvm_segment has the same ones. */
struct boot_segment {
	uint64_t base;
	uint32_t limit;
	uint16_t selector;
	uint8_t type;
	uint8_t present, dpl, db, s, l, g;
};

struct boot_table {
	uint64_t base;
	uint16_t limit;
};

struct boot_cpu {
	uint64_t rip, rsp, rflags;
	uint64_t rsi; /* LINUX64: the zero page */
	uint64_t rbx; /* PVH: the start info */
	uint64_t cr0, cr3, cr4, efer;
	struct boot_segment cs, data; /* data: for ds, es, fs, gs and ss */
	struct boot_segment tr;
	struct boot_table gdt, idt;
};

/* -EFAULT when guest memory has no RAM where layout.h puts the tables. */
must_check int boot_cpu_setup(struct guest_memory *mem, enum boot_protocol protocol, uint64_t entry,
			      struct boot_cpu *out, struct error *err);
