/* Private to vmm/boot's ACPI: bytes appended to a bounded buffer, and the frame of a table. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/util.h"

/* Appends until the buffer is full, then only notes that it was: check `full` once, at the end. */
struct acpi_writer {
	uint8_t *data;
	size_t size; /* of the buffer */
	size_t len;  /* written so far */
	bool full;
};

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision;
	uint8_t checksum;
	char oem_id[6];
	char oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

void acpi_put(struct acpi_writer *w, const void *bytes, size_t len);
void acpi_put_u8(struct acpi_writer *w, uint8_t value);
void acpi_put_u16(struct acpi_writer *w, uint16_t value);
void acpi_put_u32(struct acpi_writer *w, uint32_t value);

/* Starts a table; returns its offset in the buffer, 16-byte aligned. */
size_t acpi_table_begin(struct acpi_writer *w, const char signature[static 4], uint8_t revision);

/* Fills in length and checksum of the table that began at `start` and ends here. */
void acpi_table_end(struct acpi_writer *w, size_t start);

/* The byte that makes the sum of all bytes 0, when it was 0 itself. */
uint8_t acpi_checksum(const void *bytes, size_t len);
