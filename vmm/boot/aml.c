#include "vmm/boot/aml.h"

#include <stdlib.h>
#include <string.h>

/* ACPI 6.5, table 20.1 and section 20.2. */
#define OP_ZERO 0x00u
#define OP_ONE 0x01u
#define OP_NAME 0x08u
#define OP_BYTE 0x0au
#define OP_DWORD 0x0cu
#define OP_STRING 0x0du
#define OP_SCOPE 0x10u
#define OP_BUFFER 0x11u
#define OP_PACKAGE 0x12u
#define OP_METHOD 0x14u
#define OP_EXT 0x5bu
#define OP_EXT_DEVICE 0x82u
#define OP_NOTIFY 0x86u
#define METHOD_SERIALIZED 0x08u
#define ROOT_CHAR '\\'

/* ACPI 6.5, section 6.4: resource descriptors. */
#define RESOURCE_IO 0x47u
#define RESOURCE_IO_DECODE16 0x01u
#define RESOURCE_MEMORY32_FIXED 0x86u
#define RESOURCE_MEMORY_WRITABLE 0x01u
#define RESOURCE_INTERRUPT 0x89u
#define RESOURCE_INTERRUPT_CONSUMER_EDGE 0x03u
#define RESOURCE_END 0x79u

static void put_name(struct acpi_writer *w, const char *name)
{
	acpi_put(w, name, 4);
}

static void put_name_op(struct acpi_writer *w, const char *name)
{
	acpi_put_u8(w, OP_NAME);
	put_name(w, name);
}

static void put_integer(struct acpi_writer *w, uint32_t value)
{
	if (value == 0) {
		acpi_put_u8(w, OP_ZERO);
	} else if (value == 1) {
		acpi_put_u8(w, OP_ONE);
	} else if (value <= 0xff) {
		acpi_put_u8(w, OP_BYTE);
		acpi_put_u8(w, (uint8_t)value);
	} else {
		acpi_put_u8(w, OP_DWORD);
		acpi_put_u32(w, value);
	}
}

size_t aml_begin_scope(struct acpi_writer *w, const char *root_name)
{
	size_t mark;

	acpi_put_u8(w, OP_SCOPE);
	mark = w->len;
	acpi_put_u8(w, ROOT_CHAR);
	put_name(w, root_name);
	return mark;
}

size_t aml_begin_device(struct acpi_writer *w, const char *name)
{
	size_t mark;

	acpi_put_u8(w, OP_EXT);
	acpi_put_u8(w, OP_EXT_DEVICE);
	mark = w->len;
	put_name(w, name);
	return mark;
}

size_t aml_begin_method(struct acpi_writer *w, const char *name, uint8_t args)
{
	size_t mark;

	acpi_put_u8(w, OP_METHOD);
	mark = w->len;
	put_name(w, name);
	acpi_put_u8(w, (uint8_t)(METHOD_SERIALIZED | args));
	return mark;
}

/*
 * Puts the length of what was written since `mark` before it (section 20.2.4). The length counts
 * its own bytes, and how many these are depends on it, so it comes last and the rest moves up.
 */
void aml_end(struct acpi_writer *w, size_t mark)
{
	size_t body = w->len - mark;
	size_t bytes = body + 1 <= 0x3f ? 1 : body + 2 <= 0xfff ? 2 : 3;
	size_t length = body + bytes;
	uint8_t *at = w->data + mark;

	if (w->full || bytes > w->size - w->len) {
		w->full = true;
		return;
	}
	memmove(at + bytes, at, body);
	w->len += bytes;
	if (bytes == 1) {
		at[0] = (uint8_t)length;
		return;
	}
	at[0] = (uint8_t)((bytes - 1) << 6 | (length & 0xf));
	at[1] = (uint8_t)(length >> 4);
	if (bytes == 3)
		at[2] = (uint8_t)(length >> 12);
}

void aml_name_string(struct acpi_writer *w, const char *name, const char *value)
{
	put_name_op(w, name);
	acpi_put_u8(w, OP_STRING);
	acpi_put(w, value, strlen(value) + 1);
}

void aml_name_integer(struct acpi_writer *w, const char *name, uint32_t value)
{
	put_name_op(w, name);
	put_integer(w, value);
}

/* Three letters of five bits and four hexadecimal digits, most significant byte first. */
void aml_name_eisa_id(struct acpi_writer *w, const char *name, const char *id)
{
	uint32_t letters = (uint32_t)(id[0] & 0x1f) << 10 | (uint32_t)(id[1] & 0x1f) << 5 |
			   (uint32_t)(id[2] & 0x1f);
	uint32_t number = (uint32_t)strtoul(id + 3, NULL, 16);

	put_name_op(w, name);
	acpi_put_u8(w, OP_DWORD);
	acpi_put_u32(w, __builtin_bswap32(letters << 16 | number));
}

void aml_name_package(struct acpi_writer *w, const char *name, const uint32_t *values,
		      uint8_t count)
{
	size_t mark;

	put_name_op(w, name);
	acpi_put_u8(w, OP_PACKAGE);
	mark = w->len;
	acpi_put_u8(w, count);
	for (unsigned int i = 0; i < count; i++)
		put_integer(w, values[i]);
	aml_end(w, mark);
}

void aml_notify(struct acpi_writer *w, const char *name, uint8_t value)
{
	acpi_put_u8(w, OP_NOTIFY);
	put_name(w, name);
	put_integer(w, value);
}

/* The mark is of the buffer's length, which aml_end_resources() knows, as the block is small. */
size_t aml_begin_resources(struct acpi_writer *w)
{
	size_t mark;

	put_name_op(w, "_CRS");
	acpi_put_u8(w, OP_BUFFER);
	mark = w->len;
	acpi_put_u8(w, OP_BYTE);
	acpi_put_u8(w, 0);
	return mark;
}

void aml_resource_memory(struct acpi_writer *w, uint32_t gpa, uint32_t size)
{
	acpi_put_u8(w, RESOURCE_MEMORY32_FIXED);
	acpi_put_u16(w, 9);
	acpi_put_u8(w, RESOURCE_MEMORY_WRITABLE);
	acpi_put_u32(w, gpa);
	acpi_put_u32(w, size);
}

void aml_resource_io(struct acpi_writer *w, uint16_t port, uint8_t count)
{
	acpi_put_u8(w, RESOURCE_IO);
	acpi_put_u8(w, RESOURCE_IO_DECODE16);
	acpi_put_u16(w, port);
	acpi_put_u16(w, port);
	acpi_put_u8(w, 1); /* alignment */
	acpi_put_u8(w, count);
}

void aml_resource_interrupt(struct acpi_writer *w, uint32_t gsi)
{
	acpi_put_u8(w, RESOURCE_INTERRUPT);
	acpi_put_u16(w, 6);
	acpi_put_u8(w, RESOURCE_INTERRUPT_CONSUMER_EDGE);
	acpi_put_u8(w, 1); /* one line */
	acpi_put_u32(w, gsi);
}

void aml_end_resources(struct acpi_writer *w, size_t mark)
{
	acpi_put_u8(w, RESOURCE_END);
	acpi_put_u8(w, 0); /* no checksum */
	if (!w->full)
		w->data[mark + 1] = (uint8_t)(w->len - mark - 2);
	aml_end(w, mark);
}
