/* What the engine is given by the kernel: operations that are missing, calls that are forbidden, registered files. */
#include <liburing.h>
#include <linux/seccomp.h>
#include <seccomp.h>

#include "tests/unit/blk_driver.h"
#include "tests/unit/log_lines.h"

/* An operation that this kernel's io_uring does not have; tests/unit/test_event_loop.c needs all of them. */
static int missing = -1;

struct io_uring_probe *__real_io_uring_get_probe_ring(struct io_uring *ring);
struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring);

struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring)
{
	struct io_uring_probe *probe = __real_io_uring_get_probe_ring(ring);

	if (probe && missing >= 0)
		probe->ops[missing].flags &= (uint16_t)~IO_URING_OP_SUPPORTED;
	return probe;
}

static void every_kind_of_request(void)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 7, DATA, 4096, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA + 512, 8), 8);
	*(uint64_t *)fake_ptr(&fake, DATA, 8) = 4711;
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 9, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL), VIRTIO_BLK_S_OK);
	cr_expect_eq(number_of(9), 4711);
	cr_expect_eq(range(VIRTIO_BLK_T_DISCARD, 16, 8, 0), VIRTIO_BLK_S_OK);
	cr_expect_eq(range(VIRTIO_BLK_T_WRITE_ZEROES, 32, 8, 1), VIRTIO_BLK_S_OK);
	cr_expect_eq(number_of(32), 0);
}

/* Named in the log, with the drive; and everything works by threads, on a loop that has its ring still. */
Test(blk_engine, an_operation_that_is_missing_is_named)
{
	static const struct {
		int op;
		const char *line;
	} needed[] = {
#define NEEDED(op) { op, "drive vda: this kernel's io_uring has no " #op "; using worker threads" }
		NEEDED(IORING_OP_READ),	  NEEDED(IORING_OP_WRITE), NEEDED(IORING_OP_READV),
		NEEDED(IORING_OP_WRITEV), NEEDED(IORING_OP_FSYNC), NEEDED(IORING_OP_FALLOCATE),
#undef NEEDED
	};

	for (size_t i = 0; i < ARRAY_SIZE(needed); i++) {
		missing = needed[i].op;
		make_file_in("/tmp");
		read_log_from_now(LOG_WARN);
		fake_init(&fake, EVENT_LOOP_URING);
		create_with((struct virtio_blk_params){ 0 });
		fake_drive(&fake, offered(), 64);
		cr_expect(event_loop_has_ring(fake.loop));
		cr_expect_eq(lines_with(needed[i].line), 1, "%s", needed[i].line);
		every_kind_of_request();
		end();
	}
}

/* A seccomp policy that was not made for us. */
static void forbid(int syscall)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	cr_assert_eq(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), syscall, 0), 0);
	cr_assert_eq(seccomp_load(filter), 0);
	seccomp_release(filter);
}

static void without(int syscall)
{
	make_file_in("/tmp");
	read_log_from_now(LOG_WARN);
	forbid(syscall);
	fake_init(&fake, EVENT_LOOP_URING);
	event_loop_run_once(fake.loop, false);
	create_with((struct virtio_blk_params){ 0 });
	fake_drive(&fake, offered(), 64);
	cr_expect_not(event_loop_has_ring(fake.loop));
	cr_expect_eq(lines_with("loop fake: no io_uring (Operation not permitted); using epoll and "
				"worker threads"),
		     1);
	every_kind_of_request();
	end();
}

Test(blk_engine, io_uring_setup_is_forbidden)
{
	without(SCMP_SYS(io_uring_setup));
}

Test(blk_engine, io_uring_enter_is_forbidden)
{
	without(SCMP_SYS(io_uring_enter));
}

Test(blk_engine, io_uring_register_is_forbidden)
{
	without(SCMP_SYS(io_uring_register));
}

/* Registered files -------------------------------------------------------------------------------*/

/* How many the ring would take. */
static unsigned int free_slots(void)
{
	int slots[64];
	unsigned int n = 0;

	while (n < ARRAY_SIZE(slots) && (slots[n] = event_loop_register_file(fake.loop, file)) >= 0)
		n++;
	for (unsigned int i = 0; i < n; i++)
		event_loop_unregister_file(fake.loop, slots[i]);
	return n;
}

Test(blk_engine, a_drive_has_its_file_registered_while_it_runs)
{
	begin(EVENT_LOOP_URING, "/tmp", (struct virtio_blk_params){ 0 });
	for (int i = 0; i < 40; i++) {
		const unsigned int running = free_slots();

		virtio_device_pause(fake.dev);
		cr_expect_eq(free_slots(), running + 1);
		virtio_device_resume(fake.dev);
		cr_expect_eq(free_slots(), running);
	}
	every_kind_of_request();
	end();
}

Test(blk_engine, a_ring_that_takes_no_more_files)
{
	begin(EVENT_LOOP_URING, "/tmp", (struct virtio_blk_params){ 0 });
	virtio_device_pause(fake.dev);
	while (event_loop_register_file(fake.loop, file) >= 0)
		;
	virtio_device_resume(fake.dev);
	every_kind_of_request();
	end();
}

/* Short transfers --------------------------------------------------------------------------------*/

Test(blk_engine, a_short_transfer_goes_on_with_its_rest)
{
	char buffer[300];
	struct iovec iov[2] = { { buffer, 100 }, { buffer + 100, 200 } };
	struct blk_io io = { .kind = BLK_READ, .offset = 1000, .iov = iov, .iov_count = 2 };
	int ret = 1;

	cr_expect_not(blk_io_progress(&io, 150, &ret));
	cr_expect_eq(io.offset, 1150);
	cr_assert_eq(io.iov_count, 1);
	cr_expect_eq(io.iov[0].iov_base, buffer + 150);
	cr_expect_eq(io.iov[0].iov_len, 150);
	cr_expect_not(blk_io_progress(&io, -EINTR, &ret));
	cr_expect_eq(io.offset, 1150);
	cr_expect(blk_io_progress(&io, 150, &ret));
	cr_expect_eq(ret, 0);
}

Test(blk_engine, a_transfer_that_gets_nowhere_is_an_error)
{
	char buffer[100];
	struct iovec iov = { buffer, 100 };
	struct blk_io io = { .kind = BLK_WRITE, .iov = &iov, .iov_count = 1 };
	int ret = 1;

	cr_expect(blk_io_progress(&io, 0, &ret));
	cr_expect_eq(ret, -EIO);
	cr_expect(blk_io_progress(&io, -ENOSPC, &ret));
	cr_expect_eq(ret, -ENOSPC);
}
