/* Block requests from honest to absurd, on a real file; what is honest must be answered right. */
#include <linux/virtio_blk.h>
#include <sys/mman.h>

#include "tests/fuzz/guest.h"
#include "virtio/virtio_blk.h"

#define STEPS 32
#define SECTORS 256u
#define DATA 0x30000u
#define STATUS 0x20000u

static struct fake_driver fake;
static int file;

static void create(void)
{
	uint64_t sector[64] = { 0 };
	struct error err;

	log_set_level(LOG_ERROR);
	/* Worker threads: io_uring would finish a memfd's requests in the kernel's, slower still,
	 * and on a disk each flush would be a real one. */
	fake_init(&fake, EVENT_LOOP_EPOLL);
	file = memfd_create("disk", MFD_CLOEXEC);
	for (uint64_t i = 0; i < SECTORS; i++) {
		sector[0] = i;
		if (pwrite(file, sector, 512, (off_t)i * 512) != 512)
			give_up("cannot write a file");
	}
	if (virtio_blk_create(&fake.dev,
			      &(struct virtio_blk_params){ .name = "vda", .fd = dup(file) },
			      &fake.mem, fake.loop, &fake.irq, &err) < 0)
		give_up(err.text);
}

static void start(struct input *in)
{
	const uint64_t features = (uint64_t)(~byte(in) & 3) << VIRTIO_RING_F_INDIRECT_DESC |
				  (uint64_t)(~byte(in) & 1) << VIRTIO_BLK_F_FLUSH;

	fake_drive(&fake, features, (uint16_t)(16u << (byte(in) & 3)));
}

/* Header cut where the input says, up to three pieces of data, and the status. */
static void any_request(struct input *in)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_FLUSH,
					  VIRTIO_BLK_T_GET_ID };
	const uint32_t type = types[byte(in) & 3], cut = byte(in) & 15;
	const unsigned int pieces = type == VIRTIO_BLK_T_FLUSH ? 0 : 1 + byte(in) % 3;
	const uint64_t at = FAKE_DATA + 32u * (byte(in) & 63);
	struct virtio_blk_outhdr header = { .type = type, .sector = 128 + (byte(in) & 63) };
	struct fake_buffer buffers[8];
	unsigned int n = 0;

	if (rarely(in))
		header.type = (uint32_t)word(in);
	if (rarely(in))
		header.sector = word(in);
	memcpy(fake_ptr(&fake, at, 16), &header, sizeof(header));
	if (cut > 0)
		buffers[n++] = (struct fake_buffer){ at, cut, false };
	buffers[n++] = (struct fake_buffer){ at + cut, 16 - cut, false };
	for (unsigned int i = 0; i < pieces; i++) {
		buffers[n] = any_buffer(in, type != VIRTIO_BLK_T_OUT);
		if (!rarely(in))
			buffers[n].len = (1 + buffers[n].len / 256) * 512;
		n++;
	}
	buffers[n++] = rarely(in) ? any_buffer(in, true)
				  : (struct fake_buffer){ STATUS + byte(in), 1, true };
	offer(&fake, in, buffers, n);
}

/* However it was treated: after a reset an honest read succeeds. (What it reads, earlier lies may
 * have overwritten.) */
static void must_recover(void)
{
	const struct fake_buffer buffers[] = { { FAKE_DATA, 16, false },
					       { DATA, 512, true },
					       { STATUS, 1, true } };
	struct virtio_blk_outhdr header = { .type = VIRTIO_BLK_T_IN, .sector = 5 };
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 16);
	memcpy(fake_ptr(&fake, FAKE_DATA, 16), &header, sizeof(header));
	*(uint8_t *)fake_ptr(&fake, STATUS, 1) = 0xff;
	fake_chain(&fake, buffers, 3);
	fake_kick(&fake);
	if (!fake_wait_used(&fake, &elem) || elem.len != 513 ||
	    *(uint8_t *)fake_ptr(&fake, STATUS, 1) != VIRTIO_BLK_S_OK)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };

	if (!fake.loop)
		create();
	start(&in);
	for (int i = 0; i < STEPS; i++) {
		const uint8_t step = byte(&in);

		any_request(&in);
		if ((step & 3) == 0)
			fake_kick(&fake);
		if ((step & 12) == 0)
			event_loop_run_once(fake.loop, false);
		if (step == 0xa5) /* in mid-I/O */
			start(&in);
		if (step == 0xa6)
			virtio_device_pause(fake.dev), virtio_device_resume(fake.dev);
	}
	must_recover();
	return 0;
}
