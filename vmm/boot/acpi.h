/*
 * ACPI tables (ACPI 6.5), hardware-reduced: RSDP, XSDT, FADT, MADT and a DSDT with the virtio-mmio
 * devices, the serial port, the keyboard controller, the power-off and VMGenID with the device that tells
 * of its events. They lie at LAYOUT_ACPI.
 */
#pragma once

#include "base/error.h"
#include "base/guest_memory.h"
#include "vmm/boot/device.h"

struct acpi_config {
	unsigned int vcpus; /* 1 to LAYOUT_VCPUS_MAX; local APIC ids are 0 to vcpus - 1 */
	const struct boot_device *devices;
	unsigned int device_count;
};

/* *rsdp: guest physical. -EFAULT without RAM at LAYOUT_ACPI, -ENOSPC when the tables outgrow it. */
must_check int acpi_write(struct guest_memory *mem, const struct acpi_config *config,
			  uint64_t *rsdp, struct error *err);
