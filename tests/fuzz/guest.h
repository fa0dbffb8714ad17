/*
 * What the virtio harnesses share: a fake driver whose every choice is a byte of the input. Each
 * lie is told rarely(), on one value of a byte only, so that an exhausted input (all zeroes) is an
 * honest driver and the deep states are reached.
 */
#pragma once

#include "tests/unit/fake_driver.c" /* the library holds no test code */

struct input {
	const uint8_t *data;
	size_t left;
};

static inline uint8_t byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->data++;
}

static inline bool rarely(struct input *in)
{
	return byte(in) == 0xa5;
}

static inline uint64_t word(struct input *in)
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | byte(in);
	return value;
}

/* Interesting addresses: inside, over the hole, over the end, around zero. */
static inline uint64_t odd_address(struct input *in)
{
	static const uint64_t places[] = { FAKE_LOW_END - 1,  FAKE_HIGH - 1,
					   FAKE_HIGH_END - 1, UINT64_MAX,
					   FAKE_DESC,	      FAKE_AVAIL,
					   FAKE_USED,	      0 };
	const uint8_t which = byte(in);

	return which & 8 ? word(in) : places[which & 7] - (which >> 4);
}

static inline struct fake_buffer any_buffer(struct input *in, bool write)
{
	struct fake_buffer buffer = { .gpa = FAKE_DATA + 256u * byte(in),
				      .len = 1u + byte(in) * 4u,
				      .write = write };

	if (rarely(in))
		buffer.gpa = odd_address(in);
	if (rarely(in))
		buffer.len = (uint32_t)word(in);
	if (rarely(in))
		buffer.write = !buffer.write;
	return buffer;
}

/* Where offer() puts the n-th of the indirect tables that it has room for. */
#define TABLES 0x80000u
#define TABLE_SIZE 1024u

static inline void spoil_desc(struct vring_desc *desc, unsigned int what, struct input *in)
{
	switch (what) {
	case 0:
		desc->addr = odd_address(in);
		break;
	case 1:
		desc->len = (uint32_t)word(in);
		break;
	case 2:
		desc->flags ^= 1u << (byte(in) & 3);
		break;
	default:
		desc->next = (uint16_t)word(in);
		break;
	}
}

/* Spoils the index, a head, or one descriptor of the ring or of the first indirect table, anyhow. */
static inline void spoil(struct fake_driver *fake, struct input *in)
{
	const uint8_t which = byte(in), what = byte(in) % 7;
	struct vring_desc *table = fake_ptr(fake, TABLES + 16u * (which & 63), 16);

	switch (what) {
	case 4:
		fake->avail->idx = (uint16_t)(fake->avail->idx + word(in));
		break;
	case 5:
		fake->avail->ring[which & (fake->layout.size - 1)] = (uint16_t)word(in);
		break;
	case 6:
		spoil_desc(table, byte(in) & 3, in);
		break;
	default:
		spoil_desc(&fake->desc[which & (fake->layout.size - 1)], what, in);
		break;
	}
}

static inline void offer(struct fake_driver *fake, struct input *in,
			 const struct fake_buffer *buffers, unsigned int n)
{
	if (byte(in) & 1)
		fake_indirect(fake, TABLES + TABLE_SIZE * (byte(in) & 63), buffers, n);
	else
		fake_chain(fake, buffers, n);
	if (rarely(in))
		spoil(fake, in);
}
