/* Block requests from honest to absurd, on a real file; what is honest must be answered right. */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>

#include "tests/fuzz/guest.h"
#include "virtio/virtio_blk_priv.h"

#define STEPS 32
#define SECTORS 256u
#define DATA 0x30000u
#define STATUS 0x20000u

static struct fake_driver fake;
static int file = -1, read_only_file = -1;

/* What the first byte chooses: engine, layer and shape of the drive. */
struct shape {
	bool ring, direct, large_blocks, read_only, unsafe, several_queues, no_holes, limited;
};

static struct shape shape_of(uint8_t bits)
{
	return (struct shape){ .ring = bits & 1,
			       .direct = bits & 2,
			       .large_blocks = bits & 4,
			       .read_only = bits & 8,
			       .unsafe = bits & 16,
			       .several_queues = bits & 32,
			       .no_holes = bits & 64,
			       .limited = bits & 128 };
}

static void make_file(void)
{
	uint64_t sector[64] = { 0 };
	char path[32];

	/* In memory: on a disk each flush would be a real one. */
	file = memfd_create("disk", MFD_CLOEXEC);
	for (uint64_t i = 0; i < SECTORS; i++) {
		sector[0] = i;
		if (pwrite(file, sector, 512, (off_t)i * 512) != 512)
			give_up("cannot write a file");
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	read_only_file = open(path, O_RDONLY | O_CLOEXEC);
}

/* One layer over an engine, as a drive has it. */
static void make_direct(struct virtio_blk *blk, const struct shape *shape)
{
	struct blk_backend *engine;
	struct error err;

	blk_backend_destroy(blk->backend);
	blk->file->mem_align = shape->large_blocks ? 4096 : 512;
	blk->file->io_align = shape->large_blocks ? 4096 : 512;
	if ((shape->ring ? blk_uring_create : blk_threads_create)(&engine, blk->file, fake.loop,
								  &err) < 0 ||
	    blk_direct_create(&blk->backend, engine, &err) < 0)
		give_up(err.text);
}

static void create(const struct shape *shape)
{
	const struct virtio_blk_params params = {
		.name = "vda",
		.fd = dup(shape->read_only ? read_only_file : file),
		.read_only = shape->read_only,
		.unsafe = shape->unsafe,
		.num_queues = shape->several_queues ? 3 : 1,
		.rate.ops = shape->limited ? (struct bucket_config){ 3, 0, 1 }
					   : (struct bucket_config){ 0 },
	};
	struct virtio_blk *blk;
	struct error err;

	log_set_level(LOG_ERROR);
	fake_init(&fake, shape->ring ? EVENT_LOOP_URING : EVENT_LOOP_EPOLL);
	if (virtio_blk_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err) < 0)
		give_up(err.text);
	blk = blk_of(fake.dev);
	blk->no_punch = blk->no_zero_range = shape->no_holes;
	if (shape->direct)
		make_direct(blk, shape);
}

/* A drive for each shape stays; only the driver begins anew. The file is one. */
static void choose(uint8_t bits)
{
	static struct fake_driver drives[256];

	if (file < 0)
		make_file();
	fake = drives[bits];
	if (!fake.loop) {
		const struct shape shape = shape_of(bits);

		create(&shape);
		drives[bits] = fake;
	}
}

static uint64_t offered(void)
{
	return fake.dev->features & 0xffffff;
}

static void start(struct input *in)
{
	const uint64_t rings = (uint64_t)(~byte(in) & 3) << VIRTIO_RING_F_INDIRECT_DESC;
	const uint8_t refused = byte(in); /* bit 0: FLUSH; 1: DISCARD; 2: WRITE_ZEROES */
	uint64_t features = rings | offered();

	features &= ~((uint64_t)(refused & 1) << VIRTIO_BLK_F_FLUSH |
		      (uint64_t)(refused >> 1 & 1) << VIRTIO_BLK_F_DISCARD |
		      (uint64_t)(refused >> 2 & 1) << VIRTIO_BLK_F_WRITE_ZEROES);
	fake_drive(&fake, features, (uint16_t)(16u << (byte(in) & 3)));
}

static int look_again(void *dev)
{
	return virtio_blk_update_capacity(dev);
}

/* The segment of a discard or write-zeroes, where its data would be. */
static struct fake_buffer any_segment(struct input *in)
{
	struct virtio_blk_discard_write_zeroes segment = {
		.sector = 128 + (byte(in) & 127),
		.num_sectors = byte(in) & 31,
		.flags = byte(in) & 1,
	};
	const uint64_t at = 0x28000 + 32u * (byte(in) & 63);
	uint32_t len = sizeof(segment);

	if (rarely(in))
		segment.sector = word(in);
	if (rarely(in))
		segment.num_sectors = (uint32_t)word(in);
	if (rarely(in))
		segment.flags = (uint32_t)word(in);
	if (rarely(in))
		len = 1u + byte(in);
	memcpy(fake_ptr(&fake, at, 16), &segment, sizeof(segment));
	return (struct fake_buffer){ at, len, false };
}

/* Header cut where the input says, up to three pieces of data, and the status. */
static void any_request(struct input *in)
{
	static const uint32_t types[] = { VIRTIO_BLK_T_IN,	VIRTIO_BLK_T_OUT,
					  VIRTIO_BLK_T_FLUSH,	VIRTIO_BLK_T_GET_ID,
					  VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES,
					  VIRTIO_BLK_T_OUT,	VIRTIO_BLK_T_IN };
	const uint32_t type = types[byte(in) & 7], cut = byte(in) & 15;
	const bool is_range = type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
	const unsigned int pieces = type == VIRTIO_BLK_T_FLUSH || is_range ? 0 : 1 + byte(in) % 3;
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
	if (is_range)
		buffers[n++] = any_segment(in);
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

	choose(byte(&in));
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
		if (step == 0xa7)
			event_loop_call(fake.loop, look_again, fake.dev);
		if (step == 0xa8 && ftruncate(file, SECTORS / 2 * 512) < 0)
			give_up("cannot cut a file short");
		if (step == 0xa6)
			virtio_device_pause(fake.dev), virtio_device_resume(fake.dev);
	}
	if (ftruncate(file, SECTORS * 512) < 0)
		give_up("cannot make a file as long as it was");
	event_loop_call(fake.loop, look_again, fake.dev);
	must_recover();
	/* No chain of this input may stay with a drive that the next one does not choose. */
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	return 0;
}
