#include "vmm/boot/mptable.h"

#include "vmm/boot/acpi_table.h"
#include "vmm/layout.h"

/* MultiProcessor Specification 1.4, chapter 4. */
struct mp_floating {
	char signature[4];
	uint32_t table;
	uint8_t length; /* in 16 bytes */
	uint8_t revision;
	uint8_t checksum;
	uint8_t features[5]; /* all 0: there is a table, and no PIC mode */
};

struct mp_header {
	char signature[4];
	uint16_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	uint32_t oem_table;
	uint16_t oem_table_size;
	uint16_t entries;
	uint32_t local_apic;
	uint16_t extended_length;
	uint8_t extended_checksum;
	uint8_t reserved;
};

struct mp_cpu {
	uint8_t type; /* 0 */
	uint8_t apic_id;
	uint8_t apic_version;
	uint8_t flags;
	uint32_t signature; /* CPUID's: the kernel reads its own */
	uint32_t features;
	uint32_t reserved[2];
};

struct mp_bus {
	uint8_t type; /* 1 */
	uint8_t id;
	char name[6];
};

struct mp_ioapic {
	uint8_t type; /* 2 */
	uint8_t id;
	uint8_t version;
	uint8_t flags;
	uint32_t address;
};

struct mp_interrupt {
	uint8_t type; /* 3: to an IOAPIC, 4: to a local APIC */
	uint8_t kind;
	uint16_t flags;
	uint8_t bus;
	uint8_t bus_irq;
	uint8_t apic;
	uint8_t pin;
};

struct mp_table {
	struct mp_header header;
	uint8_t entries[LAYOUT_VCPUS_MAX * sizeof(struct mp_cpu) + sizeof(struct mp_bus) +
			sizeof(struct mp_ioapic) +
			(LAYOUT_IOAPIC_PINS + 2) * sizeof(struct mp_interrupt)];
};

_Static_assert(sizeof(struct mp_header) == 44, "MP configuration table header");
_Static_assert(sizeof(struct mp_table) <= LAYOUT_MPTABLE_MAX, "MP table");

#define MP_SPEC_1_4 4u
#define APIC_VERSION 0x14u
#define IOAPIC_VERSION 0x11u
#define CPU_ENABLED 1u
#define CPU_BOOT 2u
#define IOAPIC_ENABLED 1u
#define ISA_BUS 0u
#define ALL_APICS 0xffu

enum { ENTRY_CPU, ENTRY_BUS, ENTRY_IOAPIC, ENTRY_IOAPIC_INT, ENTRY_LOCAL_INT };
enum { INT_VECTORED = 0, INT_NMI = 1, INT_EXTINT = 3 };

#define FLAGS_EDGE_HIGH 0x5u /* said aloud: what an ISA bus conforms to ends at IRQ 15 */

static void put(struct acpi_writer *w, struct mp_table *table, const void *entry, size_t len)
{
	acpi_put(w, entry, len);
	table->header.entries++;
}

static void put_cpus(struct acpi_writer *w, struct mp_table *table, unsigned int vcpus)
{
	for (unsigned int i = 0; i < vcpus; i++) {
		const struct mp_cpu cpu = {
			.type = ENTRY_CPU,
			.apic_id = (uint8_t)i,
			.apic_version = APIC_VERSION,
			.flags = CPU_ENABLED | (i == 0 ? CPU_BOOT : 0),
		};

		put(w, table, &cpu, sizeof(cpu));
	}
}

/*
 * ISA interrupt n on pin n, also where ISA has none (16 and up): Linux takes the pin's number as
 * the interrupt's, which is what virtio_mmio.device= names (mp_map_pin_to_irq() in io_apic.c).
 */
static void put_interrupts(struct acpi_writer *w, struct mp_table *table, uint8_t ioapic_id)
{
	static const struct mp_interrupt local[] = {
		{ ENTRY_LOCAL_INT, INT_EXTINT, 0, ISA_BUS, 0, ALL_APICS, 0 },
		{ ENTRY_LOCAL_INT, INT_NMI, 0, ISA_BUS, 0, ALL_APICS, 1 },
	};

	for (unsigned int pin = 0; pin < LAYOUT_IOAPIC_PINS; pin++) {
		const struct mp_interrupt interrupt = {
			.type = ENTRY_IOAPIC_INT,
			.kind = INT_VECTORED,
			.flags = FLAGS_EDGE_HIGH,
			.bus = ISA_BUS,
			.bus_irq = (uint8_t)pin,
			.apic = ioapic_id,
			.pin = (uint8_t)pin,
		};

		put(w, table, &interrupt, sizeof(interrupt));
	}
	for (size_t i = 0; i < ARRAY_SIZE(local); i++)
		put(w, table, &local[i], sizeof(local[i]));
}

static void fill(struct mp_table *table, unsigned int vcpus)
{
	/* Its id differs from every CPU's, as the specification wants. */
	const struct mp_ioapic ioapic = {
		.type = ENTRY_IOAPIC,
		.id = (uint8_t)vcpus,
		.version = IOAPIC_VERSION,
		.flags = IOAPIC_ENABLED,
		.address = LAYOUT_IOAPIC,
	};
	const struct mp_bus bus = { ENTRY_BUS, ISA_BUS, { 'I', 'S', 'A', ' ', ' ', ' ' } };
	struct acpi_writer w = { .data = table->entries, .size = sizeof(table->entries) };
	size_t len;

	table->header = (struct mp_header){
		.signature = { 'P', 'C', 'M', 'P' },
		.revision = MP_SPEC_1_4,
		.oem_id = { 'M', 'A', 'Y', 'F', 'L', 'Y', ' ', ' ' },
		.product_id = { 'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ', ' ', ' ', ' ', ' ' },
		.local_apic = LAYOUT_LAPIC,
	};
	put_cpus(&w, table, vcpus);
	put(&w, table, &bus, sizeof(bus));
	put(&w, table, &ioapic, sizeof(ioapic));
	put_interrupts(&w, table, ioapic.id);
	len = sizeof(table->header) + w.len;
	table->header.length = (uint16_t)len;
	table->header.checksum = acpi_checksum(&table->header, len);
}

int mptable_write(struct guest_memory *mem, unsigned int vcpus, struct error *err)
{
	struct mp_table *table = guest_ptr(mem, LAYOUT_MPTABLE, sizeof(*table));
	struct mp_floating *floating = guest_ptr(mem, LAYOUT_MP_FLOATING, sizeof(*floating));

	if (vcpus < 1 || vcpus > LAYOUT_VCPUS_MAX)
		return error_set(err, EINVAL, "MP table: %u vCPUs; there can be 1 to %u", vcpus,
				 LAYOUT_VCPUS_MAX);
	if (!table || !floating)
		return error_set(err, EFAULT, "MP table: no guest memory at %#lx", LAYOUT_MPTABLE);
	fill(table, vcpus);
	*floating = (struct mp_floating){
		.signature = { '_', 'M', 'P', '_' },
		.table = LAYOUT_MPTABLE,
		.length = 1,
		.revision = MP_SPEC_1_4,
	};
	floating->checksum = acpi_checksum(floating, sizeof(*floating));
	return 0;
}
