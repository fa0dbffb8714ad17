#include "vmm/boot/dsdt.h"

#include <stdio.h>

#include "vmm/boot/aml.h"
#include "vmm/layout.h"

#define VIRTIO_MMIO_ID "LNRO0005" /* as Linux and QEMU have it: drivers/virtio/virtio_mmio.c */
#define SERIAL_ID "PNP0501"	  /* 16550A-compatible */
#define KEYBOARD_ID "PNP0303"
#define EVENTS_ID "ACPI0013" /* generic event device: ACPI 6.5, section 5.6.9 */
#define VMGENID_ID "MAYF0001"
#define VMGENID_NAME "VM_Gen_Counter" /* what drivers look for */
#define VMGENID_CHANGED 0x80u
#define VMCLOCK_ID "AMZNC10C" /* as Firecracker and QEMU have it */
#define VMCLOCK_NAME "VMCLOCK"
#define VMCLOCK_CHANGED 0x80u

static void put_virtio_mmio(struct acpi_writer *w, unsigned int index,
			    const struct boot_device *device)
{
	size_t block, resources;
	char name[16];

	snprintf(name, sizeof(name), "V%03u", index);
	block = aml_begin_device(w, name);
	aml_name_string(w, "_HID", VIRTIO_MMIO_ID);
	aml_name_integer(w, "_UID", index);
	aml_name_integer(w, "_CCA", 1); /* its DMA is coherent */
	resources = aml_begin_resources(w);
	aml_resource_memory(w, (uint32_t)device->gpa, device->size);
	aml_resource_interrupt(w, device->gsi);
	aml_end_resources(w, resources);
	aml_end(w, block);
}

static void put_serial(struct acpi_writer *w)
{
	size_t block = aml_begin_device(w, "COM1");
	size_t resources;

	aml_name_eisa_id(w, "_HID", SERIAL_ID);
	aml_name_integer(w, "_UID", 0);
	resources = aml_begin_resources(w);
	aml_resource_io(w, LAYOUT_PORT_SERIAL, 8);
	aml_resource_interrupt(w, LAYOUT_GSI_SERIAL);
	aml_end_resources(w, resources);
	aml_end(w, block);
}

/* Linux's i8042 driver wants the data port first, then the command port. */
static void put_keyboard(struct acpi_writer *w)
{
	size_t block = aml_begin_device(w, "PS2K");
	size_t resources;

	aml_name_eisa_id(w, "_HID", KEYBOARD_ID);
	aml_name_integer(w, "_UID", 0);
	resources = aml_begin_resources(w);
	aml_resource_io(w, LAYOUT_PORT_I8042_DATA, 1);
	aml_resource_io(w, LAYOUT_PORT_I8042_COMMAND, 1);
	aml_resource_interrupt(w, LAYOUT_GSI_KEYBOARD);
	aml_end_resources(w, resources);
	aml_end(w, block);
}

/* vmm/vmgenid.h. ADDR: where the number is, low and high half. */
static void put_vmgenid(struct acpi_writer *w)
{
	static const uint32_t address[] = { LAYOUT_VMGENID, 0 };
	size_t block = aml_begin_device(w, "VGEN");

	aml_name_string(w, "_HID", VMGENID_ID);
	aml_name_string(w, "_CID", VMGENID_NAME);
	aml_name_string(w, "_DDN", VMGENID_NAME);
	aml_name_package(w, "ADDR", address, ARRAY_SIZE(address));
	aml_end(w, block);
}

/* vmm/vmclock.h. */
static void put_vmclock(struct acpi_writer *w)
{
	size_t block = aml_begin_device(w, "VCLK");
	size_t resources;

	aml_name_string(w, "_HID", VMCLOCK_ID);
	aml_name_string(w, "_CID", VMCLOCK_NAME);
	aml_name_string(w, "_DDN", VMCLOCK_NAME);
	resources = aml_begin_resources(w);
	aml_resource_memory(w, LAYOUT_VMCLOCK, LAYOUT_VMCLOCK_SIZE);
	aml_end_resources(w, resources);
	aml_end(w, block);
}

/* Its one interrupt has one meaning, that the machine is another now, so _EVT need not look at which came. */
static void put_events(struct acpi_writer *w)
{
	size_t block = aml_begin_device(w, "GED0");
	size_t resources, method;

	aml_name_string(w, "_HID", EVENTS_ID);
	aml_name_integer(w, "_UID", 0);
	resources = aml_begin_resources(w);
	aml_resource_interrupt(w, LAYOUT_GSI_EVENTS);
	aml_end_resources(w, resources);
	method = aml_begin_method(w, "_EVT", 1);
	aml_notify(w, "VGEN", VMGENID_CHANGED);
	aml_notify(w, "VCLK", VMCLOCK_CHANGED);
	aml_end(w, method);
	aml_end(w, block);
}

size_t dsdt_write(struct acpi_writer *w, const struct acpi_config *config)
{
	/* SLP_TYPa, SLP_TYPb and two reserved ones: what to write to the sleep control register. */
	static const uint32_t s5[] = { LAYOUT_SLP_TYP_S5, 0, 0, 0 };
	size_t start = acpi_table_begin(w, "DSDT", 2);
	size_t scope = aml_begin_scope(w, "_SB_");

	for (unsigned int i = 0; i < config->device_count; i++)
		put_virtio_mmio(w, i, &config->devices[i]);
	put_serial(w);
	put_keyboard(w);
	put_vmgenid(w);
	put_vmclock(w);
	put_events(w);
	aml_end(w, scope);
	aml_name_package(w, "_S5_", s5, ARRAY_SIZE(s5));
	acpi_table_end(w, start);
	return start;
}
