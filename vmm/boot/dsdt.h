/* The DSDT: what devices there are and how the machine is switched off. */
#pragma once

#include "vmm/boot/acpi.h"
#include "vmm/boot/acpi_table.h"

/* Appends the table; returns its offset. */
size_t dsdt_write(struct acpi_writer *w, const struct acpi_config *config);
