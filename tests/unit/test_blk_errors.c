/* A disk that fails, and one that the page cache stands in for: the guest learns it, the VM goes on. */
#include "tests/unit/blk_driver.h"
#include "tests/unit/log_lines.h"

#define BOTH(name) ENGINES(blk_errors, name, .num_queues = 1)

/* A backend that fails what it is told to fail, and is honest about the rest. */
static struct {
	struct blk_backend backend;
	struct blk_backend *below;
	int answer[BLK_OPS]; /* 0: let through */
	unsigned int seen[BLK_OPS];
} faulty;

static void faulty_submit(struct blk_backend *backend, struct blk_io *io)
{
	(void)backend;
	faulty.seen[io->kind]++;
	if (faulty.answer[io->kind])
		io->done(io, faulty.answer[io->kind]);
	else
		blk_backend_submit(faulty.below, io);
}

static void faulty_destroy(struct blk_backend *backend)
{
	(void)backend;
	blk_backend_destroy(faulty.below);
}

static int faulty_start(struct blk_backend *backend)
{
	(void)backend;
	return blk_backend_start(faulty.below);
}

static void faulty_stop(struct blk_backend *backend)
{
	(void)backend;
	blk_backend_stop(faulty.below);
}

static void make_faulty(enum blk_op kind, int answer)
{
	static const struct blk_backend_ops ops = { .submit = faulty_submit,
						    .start = faulty_start,
						    .stop = faulty_stop,
						    .destroy = faulty_destroy };

	if (!faulty.below) {
		faulty.below = drive()->backend;
		faulty.backend.ops = &ops;
		drive()->backend = &faulty.backend;
	}
	faulty.answer[kind] = answer;
}

BOTH(each_kind_of_error_is_said_once)
{
	read_log_from_now(LOG_WARN);
	make_faulty(BLK_READ, -EIO);
	make_faulty(BLK_WRITE, -ENOSPC);
	make_faulty(BLK_FLUSH, -EIO);
	for (int i = 0; i < 50; i++) {
		cr_expect_eq(request(VIRTIO_BLK_T_IN, 8, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
		cr_expect_eq(request(VIRTIO_BLK_T_OUT, 8, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
		cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_IOERR);
	}
	cr_expect_eq(lines_with("drive vda: read at byte 4096: Input/output error"), 1);
	cr_expect_eq(lines_with("drive vda: write at byte 4096: No space left on device"), 1);
	cr_expect_eq(lines_with("drive vda: flush"), 1);
	cr_expect_eq(device_status(), 15);
	make_faulty(BLK_READ, 0);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 8, DATA, 512, NULL), VIRTIO_BLK_S_OK);
}

/* A device that was unplugged. */
BOTH(a_device_that_is_gone)
{
	for (enum blk_op kind = 0; kind < BLK_OPS; kind++)
		make_faulty(kind, -ENODEV);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 8, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(range(VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 8, 8, 1), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 20, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(device_status(), 15);
}

/* Zeroes go down the ladder once, then start at the rung that held. */
BOTH(zeroes_learn_what_the_backing_has_not)
{
	make_faulty(BLK_PUNCH, -EOPNOTSUPP);
	make_faulty(BLK_ZERO, -EOPNOTSUPP);
	for (int i = 0; i < 3; i++)
		cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 1), VIRTIO_BLK_S_OK);
	cr_expect_eq(faulty.seen[BLK_PUNCH], 1);
	cr_expect_eq(faulty.seen[BLK_ZERO], 1);
	cr_expect_eq(faulty.seen[BLK_WRITE], 3);
	cr_expect_eq(number_of(16), 0);
	cr_expect_eq(number_of(24), 24);
	make_faulty(BLK_WRITE, -ENOSPC);
	cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 1), VIRTIO_BLK_S_IOERR);
}

BOTH(a_discard_that_nobody_can_do_is_a_hint_not_taken)
{
	make_faulty(BLK_DISCARD, -EOPNOTSUPP);
	cr_expect_eq(range(VIRTIO_BLK_T_DISCARD, 8, 8, 0), VIRTIO_BLK_S_OK);
}

BOTH(a_file_that_is_empty_now)
{
	cr_assert_eq(ftruncate(file, 0), 0);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 8, DATA, 4096, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(device_status(), 15);
}

/* Served by the loop itself, or by the engine: the same bytes. */
#define MEMORY(name) ENGINES_IN("/dev/shm", blk_errors, name, .num_queues = 1)

static void write_and_read_back(void)
{
	for (uint32_t len = 512; len <= 0x30000; len *= 3) {
		const uint32_t bytes = (uint32_t)align_down(len, 512);

		memset(fake_ptr(&fake, DATA, bytes), (int)(len & 0x7f) + 1, bytes);
		cr_expect_eq(request(VIRTIO_BLK_T_OUT, 5, DATA, bytes, NULL), VIRTIO_BLK_S_OK);
		memset(fake_ptr(&fake, DATA, bytes), 0, bytes);
		cr_expect_eq(request(VIRTIO_BLK_T_IN, 5, DATA, bytes, NULL), VIRTIO_BLK_S_OK);
		for (uint32_t i = 0; i < bytes; i++)
			cr_assert_eq(*(uint8_t *)fake_ptr(&fake, DATA + i, 1), (len & 0x7f) + 1);
	}
}

BOTH(inline_on_a_disk)
{
	write_and_read_back();
}

MEMORY(inline_in_memory)
{
	read_log_from_now(LOG_INFO);
	fake_fini(&fake);
	fake_init(&fake, EVENT_LOOP_URING);
	create_with((struct virtio_blk_params){ 0 });
	fake_drive(&fake, offered(), 64);
	cr_expect_eq(
		lines_with(
			"drive vda: no RWF_NOWAIT for its file; a filesystem in memory, served by "
			"the loop"),
		1);
	write_and_read_back();
}
