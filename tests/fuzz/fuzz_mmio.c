/* The registers of a running rng: any width, any order, between honest starts and real chains. */
#include "tests/fuzz/guest.h"
#include "virtio/virtio_rng.h"

#define STEPS 48

static struct fake_driver fake;

static void any_write(struct input *in)
{
	static const uint16_t offsets[] = { 0x14, 0x20, 0x24, 0x30, 0x38, 0x44, 0x50, 0x64,
					    0x70, 0x80, 0x84, 0x90, 0x94, 0xa0, 0xa4, 0xc0 };
	uint64_t offset = offsets[byte(in) & 15], value = byte(in);
	unsigned int len = 4;

	if (rarely(in))
		offset = word(in);
	if (rarely(in))
		len = 1 + (byte(in) & 7);
	if (byte(in) & 1)
		value = word(in);
	virtio_mmio_write(fake.dev, offset, &value, len);
}

static void any_read(struct input *in)
{
	uint64_t offset = byte(in) * 4ull, value;
	unsigned int len = 4;

	if (rarely(in))
		offset = word(in);
	if (rarely(in))
		len = 1 + (byte(in) & 7);
	virtio_mmio_read(fake.dev, offset, &value, len);
}

static void start(struct input *in)
{
	const uint64_t features = 1ull << VIRTIO_F_VERSION_1 |
				  (uint64_t)(~byte(in) & 3) << VIRTIO_RING_F_INDIRECT_DESC |
				  (uint64_t)(~byte(in) & 1) << VIRTIO_F_RING_RESET;

	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	fake_place_rings(&fake, (uint16_t)(1u << (byte(in) % 8)));
	if (rarely(in))
		fake.layout.avail = odd_address(in);
	if (!fake_negotiate(&fake, features))
		abort();
	fake_setup_queue(&fake);
	fake.layout.avail = FAKE_AVAIL;
	add_status(&fake, VIRTIO_CONFIG_S_DRIVER_OK);
}

static void chain(struct input *in)
{
	struct fake_buffer buffers[2] = { any_buffer(in, true), any_buffer(in, true) };

	offer(&fake, in, buffers, MIN(1u + (byte(in) & 1), (unsigned int)fake.layout.size));
	fake_kick(&fake);
}

/* The page that a guest reads instead has the same. */
static void check_page(const uint8_t *page)
{
	for (uint64_t offset = 0; offset <= VIRTIO_MMIO_CONFIG; offset += 4)
		if (*(const uint32_t *)(const void *)(page + offset) != fake_read(&fake, offset))
			abort();
}

/* However it was treated, a reset makes it work again. */
static void must_recover(void)
{
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 16);
	fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, 8, true }, 1);
	fake_kick(&fake);
	if (!fake_wait_used(&fake, &elem) || elem.len != 8)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t page[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
	struct input in = { data, size };

	if (!fake.loop) {
		log_set_level(LOG_ERROR);
		fake_init(&fake, EVENT_LOOP_EPOLL);
		if (virtio_rng_create(&fake.dev, "rng", NULL, &fake.mem, fake.loop, &fake.irq,
				      NULL) < 0)
			abort();
		virtio_mmio_show(fake.dev, page);
	}
	start(&in);
	for (int i = 0; i < STEPS; i++) {
		switch (byte(&in) % 8) {
		case 0:
		case 1:
			chain(&in);
			break;
		case 2:
		case 3:
			any_write(&in);
			break;
		case 4:
			any_read(&in);
			break;
		case 5:
			start(&in);
			break;
		case 6:
			virtio_device_pause(fake.dev);
			virtio_device_resume(fake.dev);
			break;
		default:
			break;
		}
		event_loop_run_once(fake.loop, false);
		check_page(page);
	}
	must_recover();
	return 0;
}
