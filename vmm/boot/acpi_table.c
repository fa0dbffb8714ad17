#include "vmm/boot/acpi_table.h"

#include <string.h>

#define TABLE_ALIGN 16u

void acpi_put(struct acpi_writer *w, const void *bytes, size_t len)
{
	if (w->full || len > w->size - w->len) {
		w->full = true;
		return;
	}
	memcpy(w->data + w->len, bytes, len);
	w->len += len;
}

/* The machine is little-endian, as ACPI is. */
void acpi_put_u8(struct acpi_writer *w, uint8_t value)
{
	acpi_put(w, &value, sizeof(value));
}

void acpi_put_u16(struct acpi_writer *w, uint16_t value)
{
	acpi_put(w, &value, sizeof(value));
}

void acpi_put_u32(struct acpi_writer *w, uint32_t value)
{
	acpi_put(w, &value, sizeof(value));
}

size_t acpi_table_begin(struct acpi_writer *w, const char signature[static 4], uint8_t revision)
{
	struct acpi_header header = {
		.revision = revision,
		.oem_id = "MAYFLY",
		.oem_table_id = { 'M', 'I', 'C', 'R', 'O', 'V', 'M', ' ' },
		.oem_revision = 1,
		.creator_id = { 'M', 'A', 'Y', 'F' },
		.creator_revision = 1,
	};
	size_t start = align_up(w->len, TABLE_ALIGN);

	if (start > w->size) {
		w->full = true;
		return w->len;
	}
	w->len = start;
	memcpy(header.signature, signature, sizeof(header.signature));
	acpi_put(w, &header, sizeof(header));
	return start;
}

void acpi_table_end(struct acpi_writer *w, size_t start)
{
	struct acpi_header header;

	if (w->full)
		return;
	memcpy(&header, w->data + start, sizeof(header));
	header.length = (uint32_t)(w->len - start);
	memcpy(w->data + start, &header, sizeof(header));
	w->data[start + offsetof(struct acpi_header, checksum)] = acpi_checksum(w->data + start,
										w->len - start);
}

uint8_t acpi_checksum(const void *bytes, size_t len)
{
	const uint8_t *at = bytes;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + at[i]);
	return (uint8_t)-sum;
}
