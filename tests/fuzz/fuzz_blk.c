/*
 * Block requests from honest to absurd on real files, by each engine and layer, while the drive is given other files and
 * limits; what is honest must be answered right.
 */
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/mman.h>

#include "tests/fuzz/expect.h"
#include "tests/fuzz/guest.h"
#include "virtio/virtio_blk_priv.h"

#define STEPS 32
#define SECTORS 256u
#define DATA 0x30000u
#define STATUS 0x20000u

/* In memory, where reads and writes are the loop's; and on a disk's filesystem, which has RWF_NOWAIT. */
enum medium { MEMORY, DISK, MEDIA };

static struct fake_driver fake;
static int files[MEDIA] = { -1, -1 };
static enum medium medium; /* that the drive has now */

/* How the drive moves data. */
enum layer {
	CACHED,	      /* as a drive has it that was asked for nothing */
	DIRECT,	      /* as one with O_DIRECT */
	BARE,	      /* everything by the engine */
	LARGE_DIRECT, /* O_DIRECT in blocks that are larger than the guest's */
};

/* What the first byte chooses: engine, layer and shape of the drive. */
struct shape {
	bool ring, read_only, unsafe, several_queues, no_holes, limited;
	enum layer layer;
};

static struct shape shape_of(uint8_t bits)
{
	return (struct shape){ .ring = bits & 1,
			       .layer = bits >> 1 & 3,
			       .read_only = bits & 8,
			       .unsafe = bits & 16,
			       .several_queues = bits & 32,
			       .no_holes = bits & 64,
			       .limited = bits & 128 };
}

static void make_files(void)
{
	char name[] = "/tmp/mayfly-fuzz-blk-XXXXXX";
	uint64_t sector[64] = { 0 };

	files[MEMORY] = memfd_create("disk", MFD_CLOEXEC);
	files[DISK] = mkostemp(name, O_CLOEXEC);
	unlink(name);
	for (uint64_t i = 0; i < MEDIA * SECTORS; i++) {
		sector[0] = i / MEDIA;
		if (pwrite(files[i % MEDIA], sector, 512, (off_t)(i / MEDIA * 512)) != 512)
			give_up("cannot write a file");
	}
}

/* A descriptor of the file for a drive, which takes it over. */
static int open_file(bool read_only)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", files[medium]);
	return open(path, (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
}

/* In place of the layer that the drive has made itself. It is not running. */
static void make_layer(struct virtio_blk *blk, const struct shape *shape)
{
	const uint32_t align = shape->layer == LARGE_DIRECT ? 4096 : 512;
	struct blk_backend *engine;
	struct error err;

	if (shape->layer == CACHED)
		return;
	blk_backend_destroy(blk->backend);
	if ((shape->ring ? blk_uring_create : blk_threads_create)(&engine, blk->file, fake.loop,
								  &err) < 0)
		give_up(err.text);
	blk->backend = engine;
	if (shape->layer == BARE)
		return;
	blk->file->mem_align = blk->file->io_align = align;
	if (blk_direct_create(&blk->backend, engine, &err) < 0)
		give_up(err.text);
}

static void create(const struct shape *shape)
{
	const struct virtio_blk_params params = {
		.name = "vda",
		.fd = open_file(shape->read_only),
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
	make_layer(blk, shape);
}

/* A drive for each shape stays until it is changed; only the driver begins anew. */
static struct fake_driver drives[256];

static void choose(uint8_t bits)
{
	if (files[MEMORY] < 0)
		make_files();
	medium = MEMORY;
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

/* Updates ----------------------------------------------------------------------------------------*/

/* The file of the other medium, or this one's again, whose size may have changed. */
static void set_file(const struct shape *shape, bool another)
{
	struct error err;

	if (another)
		medium = medium == MEMORY ? DISK : MEMORY;
	if (virtio_blk_set_backing(fake.dev, NULL, open_file(shape->read_only), &err) < 0)
		give_up(err.text);
}

/* Something that is no drive, which changes nothing. */
static void set_no_file(void)
{
	struct error err;

	if (virtio_blk_set_backing(fake.dev, "/dev/null", -1, &err) == 0)
		abort();
}

static void set_rate(struct input *in)
{
	const struct bucket_config ops = { byte(in) & 15, byte(in) & 3, 1 };
	const struct bucket_config bytes = { 512u * byte(in), 0, 1 };
	struct error err;

	if (virtio_blk_set_rate(fake.dev, byte(in) & 1 ? &bytes : NULL, &ops, &err) < 0)
		give_up(err.text);
}

static void save_and_load(void)
{
	static uint8_t state[4096];
	struct error err;

	if (blk_state_desc.size > sizeof(state))
		give_up("no room for the state");
	blk_save(fake.dev, state);
	if (blk_load(fake.dev, state, &err) < 0)
		give_up(err.text);
}

/* Paused once, and what can be done to it then: two bits each. */
static void change_paused(const struct shape *shape, uint8_t how)
{
	virtio_device_pause(fake.dev);
	for (; how & 3; how >>= 2) {
		if ((how & 3) == 3)
			save_and_load();
		else
			set_file(shape, how & 1);
		make_layer(blk_of(fake.dev), shape);
	}
	virtio_device_resume(fake.dev);
}

/* True when the drive is not any more what its shape says. */
static bool any_update(struct input *in, const struct shape *shape, uint8_t step)
{
	switch (step) {
	case 0xa6:
		virtio_device_pause(fake.dev), virtio_device_resume(fake.dev);
		return false;
	case 0xa7:
		set_file(shape, false);
		return true;
	case 0xa8:
		if (ftruncate(files[medium], SECTORS / 2 * 512) < 0)
			give_up("cannot cut a file short");
		return true;
	case 0xa9:
		set_file(shape, true);
		return true;
	case 0xaa:
		set_rate(in);
		return true;
	case 0xab:
		change_paused(shape, byte(in));
		return true;
	case 0xac:
		set_no_file();
		return false;
	default:
		return false;
	}
}

/* Requests ---------------------------------------------------------------------------------------*/

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

/* However it was treated ---------------------------------------------------------------------------*/

static uint8_t request(uint32_t type, uint32_t sector, uint32_t len)
{
	const struct fake_buffer buffers[] = { { FAKE_DATA, 16, false },
					       { DATA, len, type == VIRTIO_BLK_T_IN },
					       { STATUS, 1, true } };
	const struct fake_buffer bare[] = { { FAKE_DATA, 16, false }, { STATUS, 1, true } };
	struct virtio_blk_outhdr header = { .type = type, .sector = sector };
	uint8_t *status = fake_ptr(&fake, STATUS, 1);
	struct vring_used_elem elem;

	memcpy(fake_ptr(&fake, FAKE_DATA, 16), &header, sizeof(header));
	*status = 0xff;
	fake_chain(&fake, len ? buffers : bare, len ? 3 : 2);
	fake_kick(&fake);
	if (!fake_wait_used(&fake, &elem))
		abort();
	return *status;
}

static bool file_has(const void *data, uint32_t sector, uint32_t len)
{
	static uint8_t found[8 * 512];

	return pread(files[medium], found, len, (off_t)sector * 512) == (ssize_t)len &&
	       memcmp(found, data, len) == 0;
}

/* After a reset what is honestly written is in the file that the drive has now, and read again. */
static void must_recover(const struct shape *shape)
{
	const uint32_t sector = 5, len = 8 * 512;
	const uint64_t flush = fake.dev->features & 1ull << VIRTIO_BLK_F_FLUSH;
	uint8_t *data;

	/* With the event index, so that a queue that gathers waits in vain. */
	fake_drive(&fake, flush | 1ull << VIRTIO_RING_F_EVENT_IDX, 16);
	data = fake_ptr(&fake, DATA, len);
	memset(data, 0x5a, len);
	expect(request(VIRTIO_BLK_T_OUT, sector, len) ==
	       (shape->read_only ? VIRTIO_BLK_S_IOERR : VIRTIO_BLK_S_OK));
	expect(shape->read_only || file_has(data, sector, len));
	expect(request(VIRTIO_BLK_T_FLUSH, 0, 0) ==
	       (shape->unsafe ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_OK));
	memset(data, 0, len);
	expect(request(VIRTIO_BLK_T_IN, sector, len) == VIRTIO_BLK_S_OK);
	expect(file_has(data, sector, len));
}

/* The files have their length, and the drive sees it. */
static void mend(const struct shape *shape)
{
	if (ftruncate(files[MEMORY], SECTORS * 512) < 0 ||
	    ftruncate(files[DISK], SECTORS * 512) < 0)
		give_up("cannot make a file as long as it was");
	set_file(shape, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	const uint8_t bits = byte(&in);
	const struct shape shape = shape_of(bits);
	bool changed = false;

	choose(bits);
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
		changed |= any_update(&in, &shape, step);
	}
	if (changed)
		mend(&shape);
	must_recover(&shape);
	/* No chain of this input may stay with a drive that the next one does not choose. */
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	if (changed) {
		fake_fini(&fake);
		drives[bits] = (struct fake_driver){ 0 };
	}
	return 0;
}
