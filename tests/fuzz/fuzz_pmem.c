/* Flushes from honest to absurd, of a file that is cut short now and then; each must be answered, or the ring is broken. */
#include <fcntl.h>
#include <linux/virtio_pmem.h>
#include <sys/mman.h>

#include "tests/fuzz/guest.h"
#include "virtio/virtio_pmem.h"

#define STEPS 32
#define ANSWER 0x20000u
#define FILE_SIZE (3 << 20)
#define GPA 0x100000000ul

struct shape {
	struct fake_driver fake;
	struct pmem_file file;
};

static struct fake_driver fake;
static struct shape shapes[8];
static int backing = -1;

/* bit 0: io_uring; 1: read-only; 2: a limit that lets a flush through each millisecond */
static void create(struct shape *shape, uint8_t bits)
{
	const struct pmem_file_params file = { "pmem0", NULL, dup(backing), bits & 2 };
	struct virtio_pmem_params params = { .file = &shape->file, .gpa = GPA };
	struct error err;

	if (bits & 4)
		params.rate.ops = (struct bucket_config){ .size = 10, .refill_ms = 10 };
	fake_init(&fake, bits & 1 ? EVENT_LOOP_URING : EVENT_LOOP_EPOLL);
	if (pmem_file_open(&shape->file, &file, &err) < 0 ||
	    guest_memory_add_window(
		    &fake.mem, &(struct guest_region){ GPA, shape->file.size, shape->file.host },
		    bits & 2, &err) < 0 ||
	    virtio_pmem_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err) < 0)
		give_up(err.text);
}

static struct shape *choose(uint8_t bits)
{
	struct shape *shape = &shapes[bits & 7];

	if (backing < 0) {
		log_set_level((enum log_level) - 1);
		backing = memfd_create("pmem", MFD_CLOEXEC);
		if (ftruncate(backing, FILE_SIZE) < 0)
			give_up("cannot make a file");
	}
	fake = shape->fake;
	if (!fake.loop)
		create(shape, bits);
	return shape;
}

static void start(struct input *in)
{
	const uint64_t rings = (uint64_t)(~byte(in) & 3) << VIRTIO_RING_F_INDIRECT_DESC;

	fake_drive(&fake, rings, (uint16_t)(16u << (byte(in) & 1)));
}

static void any_request(struct input *in)
{
	const uint64_t at = FAKE_DATA + 16u * byte(in);
	const uint32_t cut = byte(in) & 3;
	struct fake_buffer buffers[3];
	unsigned int n = 0;

	*(uint32_t *)fake_ptr(&fake, at, 4) = rarely(in) ? (uint32_t)word(in)
							 : VIRTIO_PMEM_REQ_TYPE_FLUSH;
	if (cut)
		buffers[n++] = (struct fake_buffer){ at, cut, false };
	buffers[n++] = (struct fake_buffer){ at + cut, 4 - cut, false };
	buffers[n++] = (struct fake_buffer){ ANSWER + 4u * byte(in), 4, true };
	if (rarely(in)) /* in the file itself */
		buffers[n - 1].gpa = GPA + (word(in) & (2 * FILE_SIZE - 1));
	if (rarely(in))
		buffers[n - 1] = any_buffer(in, true);
	offer(&fake, in, buffers, n);
}

/* However it was treated: after a reset an honest flush is answered; that it succeeds, unless pages were lost. */
static void must_recover(struct shape *shape)
{
	const struct fake_buffer buffers[] = { { FAKE_DATA, 4, false }, { ANSWER, 4, true } };
	const bool whole = !atomic_load(&shape->file.failed);
	uint32_t *answer = fake_ptr(&fake, ANSWER, 4);
	struct vring_used_elem elem;

	fake_drive(&fake, 0, 16);
	*(uint32_t *)fake_ptr(&fake, FAKE_DATA, 4) = VIRTIO_PMEM_REQ_TYPE_FLUSH;
	*answer = 0xffffffff;
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	if (!fake_wait_used(&fake, &elem) || elem.len != 4 || (*answer == 0) != whole)
		abort();
}

/* A file that has lost something stays lost: the next input has a new one. */
static void renew(struct shape *shape)
{
	fake_fini(&fake);
	pmem_file_close(&shape->file);
	*shape = (struct shape){ 0 };
	fake = shape->fake;
	if (ftruncate(backing, FILE_SIZE) < 0)
		give_up("cannot make the file longer");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct shape *shape = choose(byte(&in));
	bool cut = false;

	start(&in);
	for (int i = 0; i < STEPS; i++) {
		const uint8_t step = byte(&in);

		any_request(&in);
		if ((step & 3) == 0)
			fake_kick(&fake);
		if ((step & 12) == 0)
			event_loop_run_once(fake.loop, false);
		if (step == 0xa5) /* in the middle of a flush */
			start(&in);
		if (step == 0xa6)
			virtio_device_pause(fake.dev), virtio_device_resume(fake.dev);
		if (step == 0xa7 && ftruncate(backing, (off_t)(word(&in) % FILE_SIZE)) == 0)
			cut = true, pmem_file_check(&shape->file);
	}
	must_recover(shape);
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	shape->fake = fake;
	if (cut)
		renew(shape);
	return 0;
}
