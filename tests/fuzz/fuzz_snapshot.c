/*
 * A state file that nobody vouches for, with checksums that hold: framing, codec, and every section's table.
 * The input is sections without their framing; half of the time it is the whole file instead.
 */
#include <string.h>
#include <zlib.h>

#include "snapshot/state_file.h"
#include "virtio/virtio_balloon_priv.h"
#include "virtio/virtio_blk_priv.h"
#include "virtio/virtio_device_state.h"
#include "virtio/virtio_net_priv.h"
#include "vmm/clock_state.h"
#include "vmm/config_state.h"
#include "vmm/irq_state.h"
#include "vmm/legacy/legacy_state.h"
#include "vmm/snapshot_info.h"
#include "vmm/vcpu_state.h"
#include "vmm/vmgenid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct state_desc *const tables[] = {
	&snapshot_info_desc,	   &saved_config_desc,	&cpuid_state_desc,  &clock_state_desc,
	&vcpu_state_desc,	   &irq_state_desc,	&serial_state_desc, &i8042_state_desc,
	&virtio_device_state_desc, &vmgenid_state_desc, &blk_state_desc,    &net_state_desc,
	&balloon_state_desc,
};

static void decode_all(const struct state_file *file)
{
	for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
		void *state = malloc(tables[i]->size);
		struct error err = { 0 };

		if (state && state_file_get(file, tables[i], 0, state, &err) == 0 &&
		    tables[i] == &saved_config_desc) {
			struct vm_config config;

			config_load(state, &config);
			if (vm_config_check_shape(&config, &err) < 0 && !err.text[0])
				abort(); /* a refusal says why */
		}
		free(state);
	}
}

static void add(struct state_buffer *out, const void *bytes, size_t len)
{
	state_buffer_write(out, bytes, len);
}

/* A body that begins [name, 0, 1, ...] with the table's name; the input is the map. */
static void wrap(const struct state_desc *table, const uint8_t *map, size_t size,
		 struct state_buffer *out)
{
	const uint8_t head[] = { 0x93, 0xa0 | (sizeof(STATE_FILE_MAGIC) - 1) };
	const uint8_t format[] = { STATE_FILE_FORMAT, 1 };
	struct state_buffer body = { 0 };
	uint8_t frame[11] = { 0x92, 0xce };
	uint8_t name[] = { 0x94, (uint8_t)(0xa0 | strlen(table->name)) };
	uint32_t sum;

	add(&body, name, sizeof(name));
	add(&body, table->name, strlen(table->name));
	add(&body, "\x00\x01", 2);
	add(&body, map, size);
	sum = (uint32_t)crc32(0, body.bytes, (uInt)body.len);
	for (int i = 0; i < 4; i++) {
		frame[2 + i] = (uint8_t)(sum >> (24 - 8 * i));
		frame[7 + i] = (uint8_t)(body.len >> (24 - 8 * i));
	}
	frame[6] = 0xc6;
	add(out, head, sizeof(head));
	add(out, STATE_FILE_MAGIC, sizeof(STATE_FILE_MAGIC) - 1);
	add(out, format, sizeof(format));
	add(out, frame, sizeof(frame));
	add(out, body.bytes, body.len);
	free(body.bytes);
}

static void try(const void *bytes, size_t size)
{
	struct state_file file;

	if (state_file_parse(&file, bytes, size, "input", NULL) == 0) {
		decode_all(&file);
		state_file_fini(&file);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct state_buffer wrapped = { 0 };

	if (size == 0)
		return 0;
	if (data[0] >= ARRAY_SIZE(tables)) {
		try(data + 1, size - 1);
		return 0;
	}
	wrap(tables[data[0]], data + 1, size - 1, &wrapped);
	try(wrapped.bytes, wrapped.len);
	free(wrapped.bytes);
	return 0;
}
