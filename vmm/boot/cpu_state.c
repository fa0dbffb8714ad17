#include "vmm/boot/cpu_state.h"

#include "vmm/layout.h"

/* Selectors that the 64-bit boot protocol fixes: __BOOT_CS and __BOOT_DS; the TSS follows. */
#define SELECTOR_CODE 0x10u
#define SELECTOR_DATA 0x18u
#define SELECTOR_TSS 0x20u

/* Segment types (Intel SDM 3A, tables 3-1 and 3-2): accessed, and the TSS busy, as loaded ones are. */
#define TYPE_CODE 0xbu /* execute, read */
#define TYPE_DATA 0x3u /* read, write */
#define TYPE_TSS 0xbu
#define TSS_LIMIT 0x67u

#define CR0_PE 0x1ul
#define CR0_ET 0x10ul
#define CR0_PG 0x80000000ul
#define CR4_PAE 0x20ul
#define EFER_LME 0x100ul
#define EFER_LMA 0x400ul
#define RFLAGS_FIXED 0x2ul

#define PTE_PRESENT 0x1ul
#define PTE_WRITE 0x2ul
#define PTE_LARGE 0x80ul
#define PTES 512u

/* A GDT entry of a segment (Intel SDM 3A 3.4.5). */
static uint64_t descriptor(const struct boot_segment *seg)
{
	uint64_t limit = seg->g ? seg->limit >> 12 : seg->limit;
	uint64_t access = seg->type | (uint64_t)seg->s << 4 | (uint64_t)seg->dpl << 5 |
			  (uint64_t)seg->present << 7;
	uint64_t flags = (uint64_t)seg->l << 1 | (uint64_t)seg->db << 2 | (uint64_t)seg->g << 3;

	return (limit & 0xffff) | (seg->base & 0xffffff) << 16 | access << 40 |
	       (limit >> 16 & 0xf) << 48 | flags << 52 | (seg->base >> 24 & 0xff) << 56;
}

static void set_segments(struct boot_cpu *cpu, bool long_mode)
{
	cpu->cs = (struct boot_segment){
		.limit = 0xffffffff,
		.selector = SELECTOR_CODE,
		.type = TYPE_CODE,
		.present = 1,
		.s = 1,
		.g = 1,
		.l = long_mode,
		.db = !long_mode,
	};
	cpu->data = (struct boot_segment){
		.limit = 0xffffffff,
		.selector = SELECTOR_DATA,
		.type = TYPE_DATA,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = 1,
	};
	cpu->tr = (struct boot_segment){
		.limit = TSS_LIMIT,
		.selector = SELECTOR_TSS,
		.type = TYPE_TSS,
		.present = 1,
	};
}

static int write_gdt(struct guest_memory *mem, struct boot_cpu *cpu)
{
	/* The TSS descriptor of long mode takes two entries; base 0 leaves the second one 0. */
	const uint64_t gdt[] = {
		0, 0, descriptor(&cpu->cs), descriptor(&cpu->data), descriptor(&cpu->tr), 0
	};

	cpu->gdt = (struct boot_table){ .base = LAYOUT_GDT, .limit = sizeof(gdt) - 1 };
	return guest_write(mem, LAYOUT_GDT, gdt, sizeof(gdt));
}

/* True when a GiB holds RAM or devices: no page is touched to map what is not there. */
static bool is_populated(const struct guest_memory *mem, uint64_t gib)
{
	uint64_t start = GIB(gib);

	if (start >= LAYOUT_HOLE_START)
		return true;
	for (unsigned int i = 0; i < mem->count; i++)
		if (mem->regions[i].gpa < start + GIB(1) &&
		    mem->regions[i].gpa + mem->regions[i].size > start)
			return true;
	return false;
}

/* PML4, PDPT, then a page directory of 2 MiB pages for each GiB: not every CPU has larger ones. */
static int write_page_tables(struct guest_memory *mem)
{
	uint64_t next = LAYOUT_PAGE_TABLES + 2 * PAGE_SIZE;
	uint64_t *pml4 = guest_ptr(mem, LAYOUT_PAGE_TABLES, PAGE_SIZE);
	uint64_t *pdpt = guest_ptr(mem, LAYOUT_PAGE_TABLES + PAGE_SIZE, PAGE_SIZE);

	if (!pml4 || !pdpt)
		return -EFAULT;
	pml4[0] = (LAYOUT_PAGE_TABLES + PAGE_SIZE) | PTE_PRESENT | PTE_WRITE;
	for (uint64_t gib = 0; gib < 4; gib++) {
		uint64_t *directory;

		if (!is_populated(mem, gib))
			continue;
		directory = guest_ptr(mem, next, PAGE_SIZE);
		if (!directory)
			return -EFAULT;
		pdpt[gib] = next | PTE_PRESENT | PTE_WRITE;
		for (uint64_t i = 0; i < PTES; i++)
			directory[i] = (GIB(gib) + MIB(2) * i) | PTE_PRESENT | PTE_WRITE |
				       PTE_LARGE;
		next += PAGE_SIZE;
	}
	return 0;
}

int boot_cpu_setup(struct guest_memory *mem, enum boot_protocol protocol, uint64_t entry,
		   struct boot_cpu *out, struct error *err)
{
	bool long_mode = protocol == BOOT_LINUX64;
	int ret;

	*out = (struct boot_cpu){
		.rip = entry,
		.rsp = LAYOUT_BOOT_STACK,
		.rflags = RFLAGS_FIXED,
		.cr0 = CR0_PE | CR0_ET,
	};
	set_segments(out, long_mode);
	ret = write_gdt(mem, out);
	if (!ret && long_mode) {
		out->rsi = LAYOUT_ZERO_PAGE;
		out->cr0 |= CR0_PG;
		out->cr3 = LAYOUT_PAGE_TABLES;
		out->cr4 = CR4_PAE;
		out->efer = EFER_LME | EFER_LMA;
		ret = write_page_tables(mem);
	} else {
		out->rbx = LAYOUT_PVH_START_INFO;
	}
	if (ret)
		return error_set(err, ret, "boot CPU: the guest has no memory for its tables");
	return 0;
}
