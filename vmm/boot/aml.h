/*
 * A small writer of AML, the byte code of ACPI's definition blocks (ACPI 6.5, chapters 20 and 6.4):
 * as much of the language as our DSDT uses. Names are four characters ("_HID", "COM1"); a block is
 * opened by a begin, which returns a mark, and closed by aml_end() with that mark.
 */
#pragma once

#include "vmm/boot/acpi_table.h"

size_t aml_begin_scope(struct acpi_writer *w, const char *root_name); /* under the root: \NAME */
size_t aml_begin_device(struct acpi_writer *w, const char *name);
size_t aml_begin_method(struct acpi_writer *w, const char *name, uint8_t args); /* serialized */
void aml_end(struct acpi_writer *w, size_t mark);

/* Name (NAME, VALUE) */
void aml_name_string(struct acpi_writer *w, const char *name, const char *value);
void aml_name_integer(struct acpi_writer *w, const char *name, uint32_t value);
void aml_name_eisa_id(struct acpi_writer *w, const char *name, const char *id); /* "PNP0501" */

/* Name (NAME, Package () {a number for each of values}) */
void aml_name_package(struct acpi_writer *w, const char *name, const uint32_t *values,
		      uint8_t count);

/* Notify (NAME, VALUE), in a method; the name is looked up from there outwards. */
void aml_notify(struct acpi_writer *w, const char *name, uint8_t value);

/* Name (_CRS, ResourceTemplate () {...}): resources between begin and end, at most 63 bytes. */
size_t aml_begin_resources(struct acpi_writer *w);
void aml_resource_memory(struct acpi_writer *w, uint32_t gpa, uint32_t size);
void aml_resource_io(struct acpi_writer *w, uint16_t port, uint8_t count);
void aml_resource_interrupt(struct acpi_writer *w, uint32_t gsi); /* edge, active high, exclusive */
void aml_end_resources(struct acpi_writer *w, size_t mark);
