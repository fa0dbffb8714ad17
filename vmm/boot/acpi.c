#include "vmm/boot/acpi.h"

#include "vmm/boot/acpi_table.h"
#include "vmm/boot/dsdt.h"
#include "vmm/layout.h"
#include "vmm/vmgenid.h"

/* ACPI 6.5, section 5.2.5.3. */
struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the bytes up to length */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum; /* of all */
	uint8_t reserved[3];
} __attribute__((packed));

/* Generic Address Structure, section 5.2.3.2. */
struct acpi_address {
	uint8_t space; /* 1: I/O ports */
	uint8_t bit_width;
	uint8_t bit_offset;
	uint8_t access; /* 1: a byte */
	uint64_t address;
} __attribute__((packed));

/* Section 5.2.9, without the header; revision 6.5. */
struct acpi_fadt {
	uint32_t firmware_ctrl;
	uint32_t dsdt;
	uint8_t reserved;
	uint8_t pm_profile;
	uint8_t fixed_hardware[63]; /* the registers that a hardware-reduced machine lacks */
	uint16_t boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct acpi_address reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_firmware_ctrl;
	uint64_t x_dsdt;
	struct acpi_address x_fixed_hardware[8];
	struct acpi_address sleep_control;
	struct acpi_address sleep_status;
	uint64_t hypervisor_vendor;
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_rsdp) == 36, "RSDP");
_Static_assert(LAYOUT_ACPI + sizeof(struct acpi_rsdp) <= LAYOUT_VMGENID, "RSDP and VMGenID");
_Static_assert(LAYOUT_VMGENID % 8 == 0, "VMGenID");
_Static_assert(sizeof(struct acpi_header) + sizeof(struct acpi_fadt) == 276, "FADT");

#define FADT_REVISION 6u
#define FADT_MINOR 5u

/*
 * IAPC_BOOT_ARCH. The 8042 bit: without it Linux does not look for the keyboard controller, which
 * carries Ctrl-Alt-Del. Without LEGACY_DEVICES there is nothing but what the DSDT lists.
 */
#define BOOT_ARCH_8042 0x02u
#define BOOT_ARCH_NO_VGA 0x04u
#define BOOT_ARCH_NO_CMOS_RTC 0x20u

/* Flags, section 5.2.9.1. Both button bits: there are no buttons in fixed hardware. */
#define FADT_WBINVD (1u << 0)
#define FADT_NO_POWER_BUTTON (1u << 4)
#define FADT_NO_SLEEP_BUTTON (1u << 5)
#define FADT_RESET_REG (1u << 10)
#define FADT_HW_REDUCED (1u << 20)

#define I8042_PULSE_RESET 0xfeu

#define MADT_REVISION 5u
#define MADT_LOCAL_APIC 0u
#define MADT_IOAPIC 1u
#define MADT_ENABLED 1u

static struct acpi_address byte_port(uint64_t port)
{
	return (struct acpi_address){ .space = 1, .bit_width = 8, .access = 1, .address = port };
}

static size_t fadt_write(struct acpi_writer *w, uint64_t dsdt)
{
	const struct acpi_fadt fadt = {
		.boot_arch = BOOT_ARCH_8042 | BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_CMOS_RTC,
		.flags = FADT_WBINVD | FADT_NO_POWER_BUTTON | FADT_NO_SLEEP_BUTTON |
			 FADT_RESET_REG | FADT_HW_REDUCED,
		.reset = byte_port(LAYOUT_PORT_I8042_COMMAND),
		.reset_value = I8042_PULSE_RESET,
		.minor_version = FADT_MINOR,
		.x_dsdt = dsdt,
		.sleep_control = byte_port(LAYOUT_PORT_SLEEP_CONTROL),
		.sleep_status = byte_port(LAYOUT_PORT_SLEEP_STATUS),
		.hypervisor_vendor = 0x0000594c4659414d, /* "MAYFLY" */
	};
	size_t start = acpi_table_begin(w, "FACP", FADT_REVISION);

	acpi_put(w, &fadt, sizeof(fadt));
	acpi_table_end(w, start);
	return start;
}

/* Section 5.2.12. No interrupt overrides: ISA interrupt n is pin n, edge-triggered. */
static size_t madt_write(struct acpi_writer *w, unsigned int vcpus)
{
	size_t start = acpi_table_begin(w, "APIC", MADT_REVISION);

	acpi_put_u32(w, LAYOUT_LAPIC);
	acpi_put_u32(w, 0); /* no 8259s */
	for (unsigned int i = 0; i < vcpus; i++) {
		acpi_put_u8(w, MADT_LOCAL_APIC);
		acpi_put_u8(w, 8);
		acpi_put_u8(w, (uint8_t)i); /* processor UID */
		acpi_put_u8(w, (uint8_t)i); /* APIC id */
		acpi_put_u32(w, MADT_ENABLED);
	}
	acpi_put_u8(w, MADT_IOAPIC);
	acpi_put_u8(w, 12);
	acpi_put_u8(w, 0); /* its id */
	acpi_put_u8(w, 0);
	acpi_put_u32(w, LAYOUT_IOAPIC);
	acpi_put_u32(w, 0); /* first GSI */
	acpi_table_end(w, start);
	return start;
}

static size_t xsdt_write(struct acpi_writer *w, const size_t *tables, unsigned int count)
{
	size_t start = acpi_table_begin(w, "XSDT", 1);

	for (unsigned int i = 0; i < count; i++) {
		uint64_t gpa = LAYOUT_ACPI + tables[i];

		acpi_put(w, &gpa, sizeof(gpa));
	}
	acpi_table_end(w, start);
	return start;
}

/* At the start of the area, where also a search of the BIOS area finds it. */
static void rsdp_fill(struct acpi_rsdp *rsdp, uint64_t xsdt)
{
	*rsdp = (struct acpi_rsdp){
		.signature = { 'R', 'S', 'D', ' ', 'P', 'T', 'R', ' ' },
		.oem_id = { 'M', 'A', 'Y', 'F', 'L', 'Y' },
		.revision = 2,
		.length = sizeof(*rsdp),
		.xsdt = xsdt,
	};
	rsdp->checksum = acpi_checksum(rsdp, offsetof(struct acpi_rsdp, length));
	rsdp->extended_checksum = acpi_checksum(rsdp, sizeof(*rsdp));
}

static int check_config(const struct acpi_config *config, struct error *err)
{
	if (config->vcpus < 1 || config->vcpus > LAYOUT_VCPUS_MAX)
		return error_set(err, EINVAL, "ACPI: %u vCPUs; there can be 1 to %u", config->vcpus,
				 LAYOUT_VCPUS_MAX);
	if (config->device_count > LAYOUT_VIRTIO_DEVICES_MAX)
		return error_set(err, EINVAL, "ACPI: %u virtio devices; there can be %u",
				 config->device_count, LAYOUT_VIRTIO_DEVICES_MAX);
	return 0;
}

int acpi_write(struct guest_memory *mem, const struct acpi_config *config, uint64_t *rsdp,
	       struct error *err)
{
	/* Straight into guest memory: no vCPU runs yet that could change it under us. */
	struct acpi_writer w = {
		.data = guest_ptr(mem, LAYOUT_ACPI, LAYOUT_ACPI_MAX),
		.size = LAYOUT_ACPI_MAX,
		.len = LAYOUT_VMGENID - LAYOUT_ACPI + VMGENID_SIZE,
	};
	struct acpi_rsdp root;
	size_t tables[2], dsdt, xsdt;
	int ret = check_config(config, err);

	if (ret)
		return ret;
	if (!w.data)
		return error_set(err, EFAULT, "ACPI: no guest memory at %#lx", LAYOUT_ACPI);
	dsdt = dsdt_write(&w, config);
	tables[0] = fadt_write(&w, LAYOUT_ACPI + dsdt);
	tables[1] = madt_write(&w, config->vcpus);
	xsdt = xsdt_write(&w, tables, ARRAY_SIZE(tables));
	if (w.full)
		return error_set(err, ENOSPC, "ACPI: tables of more than %lu bytes",
				 LAYOUT_ACPI_MAX);
	rsdp_fill(&root, LAYOUT_ACPI + xsdt);
	*rsdp = LAYOUT_ACPI;
	return guest_write(mem, LAYOUT_ACPI, &root, sizeof(root));
}
