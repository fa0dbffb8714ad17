/* Another file behind a drive that is in use: nothing is lost and nobody reads from the wrong one. */
#include <pthread.h>

#include "tests/unit/blk_driver.h"

#define BOTH(name, ...) ENGINES(blk_update, name, __VA_ARGS__)
#define OTHER_SECTORS 4096u
#define OTHER_MARK 0x1000000u /* added to each sector's number */

static int other = -1;

/* The file to change to: larger, and told apart. Returns its path, static. */
static const char *make_other(void)
{
	static char path[32];
	char name[] = "/tmp/mayfly-blk-XXXXXX";
	uint64_t sector[64] = { 0 };

	other = mkostemp(name, O_CLOEXEC);
	cr_assert_geq(other, 0);
	unlink(name);
	for (uint64_t i = 0; i < OTHER_SECTORS; i++) {
		sector[0] = OTHER_MARK + i;
		cr_assert_eq(pwrite(other, sector, 512, (off_t)i * 512), 512);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", other);
	return path;
}

static uint64_t counter(enum blk_counter which)
{
	return atomic_load(&fake.dev->counters[which]);
}

static uint64_t first_word(uint64_t sector)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, sector, DATA, 512, NULL), VIRTIO_BLK_S_OK);
	return *(uint64_t *)fake_ptr(&fake, DATA, 8);
}

BOTH(the_driver_hears_of_it, .num_queues = 1)
{
	const uint32_t generation = fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION);
	struct error err = { 0 };

	cr_assert_eq(virtio_blk_set_backing(fake.dev, make_other(), -1, &err), 0, "%s", err.text);
	cr_expect_eq(drive()->config.capacity, OTHER_SECTORS);
	cr_expect_neq(fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	cr_expect(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
	cr_expect_eq(first_word(9), OTHER_MARK + 9);
	cr_expect_eq(first_word(OTHER_SECTORS - 1), OTHER_MARK + OTHER_SECTORS - 1);
	cr_expect_eq(counter(BLK_UPDATE_COUNT), 1);
	cr_expect_eq(device_status(), 15);
}

/* Twice, so back into the place that the first one had; by descriptor; O_DIRECT stays. */
BOTH(there_and_back, .direct = true)
{
	struct error err = { 0 };
	char path[32];

	cr_assert_eq(virtio_blk_set_backing(fake.dev, make_other(), -1, &err), 0, "%s", err.text);
	cr_expect_eq(first_word(3), OTHER_MARK + 3);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	cr_assert_eq(virtio_blk_set_backing(fake.dev, NULL, open(path, O_RDWR | O_CLOEXEC), &err),
		     0, "%s", err.text);
	cr_expect(drive()->file->direct);
	cr_expect_eq(first_word(3), 3);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, SECTORS, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
}

/* Writes on their way are in the old file, those after it in the new one, and none in both. */
BOTH(what_is_in_flight_ends_on_the_old_file, .num_queues = 1)
{
	uint64_t *data = fake_ptr(&fake, DATA, 64 * 512);
	struct vring_used_elem elem;
	struct error err = { 0 };
	uint64_t number;

	make_other();
	for (uint64_t i = 0; i < 64; i++) {
		const struct fake_buffer buffers[] = { { HEADER + i * 16, 16, false },
						       { DATA + i * 512, 512, false },
						       { STATUS + i, 1, true } };

		data[i * 64] = 7000 + i;
		set_header(HEADER + i * 16, VIRTIO_BLK_T_OUT, i);
		fake_indirect(&fake, FAKE_HIGH + i * 64, buffers, 3);
		if (i == 31) { /* these are taken, and not waited for */
			fake_kick(&fake);
			event_loop_run_once(fake.loop, false);
			cr_assert_eq(virtio_blk_set_backing(fake.dev, NULL, dup(other), &err), 0,
				     "%s", err.text);
		}
	}
	fake_kick(&fake);
	for (uint64_t i = 0; i < 64; i++) {
		cr_assert(fake_wait_used(&fake, &elem));
		cr_expect_eq(*(uint8_t *)fake_ptr(&fake, STATUS + i, 1), VIRTIO_BLK_S_OK);
	}
	for (uint64_t i = 0; i < 64; i++) {
		cr_expect_eq(number_of(i), i < 32 ? 7000 + i : i);
		cr_assert_eq(pread(other, &number, 8, (off_t)i * 512), 8);
		cr_expect_eq(number, i < 32 ? OTHER_MARK + i : 7000 + i);
	}
}

BOTH(what_cannot_be_opened_changes_nothing, .num_queues = 1)
{
	static const char *const paths[] = { "/nonexistent", "/tmp", "/dev/null" };
	const uint32_t generation = fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION);
	struct error err;

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		cr_expect_lt(virtio_blk_set_backing(fake.dev, paths[i], -1, &err), 0);
		cr_expect(strstr(err.text, "drive vda") && strstr(err.text, paths[i]), "%s",
			  err.text);
		cr_expect_eq(first_word(9), 9);
	}
	cr_expect_lt(virtio_blk_set_backing(fake.dev, NULL, open("/dev/zero", O_RDONLY), &err), 0);
	cr_expect_eq(drive()->config.capacity, SECTORS);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	cr_expect_eq(counter(BLK_UPDATE_FAILS), 4);
}

BOTH(a_read_only_drive_stays_so, .read_only = true)
{
	struct error err = { 0 };

	cr_assert_eq(virtio_blk_set_backing(fake.dev, make_other(), -1, &err), 0, "%s", err.text);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 1, DATA, 512, NULL), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(first_word(1), OTHER_MARK + 1);
	cr_expect_eq(counter(BLK_INVALID_REQS), 1);
}

BOTH(a_paused_drive_stays_so, .num_queues = 1)
{
	struct vring_used_elem elem;
	struct error err = { 0 };

	virtio_device_pause(fake.dev);
	cr_assert_eq(virtio_blk_set_backing(fake.dev, make_other(), -1, &err), 0, "%s", err.text);
	cr_expect_not(fake.dev->running);
	virtio_device_resume(fake.dev);
	cr_expect_eq(first_word(2), OTHER_MARK + 2);
	cr_expect_not(fake_used(&fake, &elem));
}

/* With a guest that goes on reading and writing and a control thread that changes files ---------- */

struct user {
	pthread_t thread;
	atomic_bool end;
	atomic_ulong rounds;
};

static uint8_t do_request(uint32_t type, uint64_t sector)
{
	const struct fake_buffer buffers[] = { { HEADER, 16, false },
					       { DATA, 512, type == VIRTIO_BLK_T_IN },
					       { STATUS, 1, true } };
	const struct fake_buffer bare[] = { { HEADER, 16, false }, { STATUS, 1, true } };
	struct vring_used_elem elem;

	*status_byte() = 0xff;
	set_header(HEADER, type, sector);
	fake_chain(&fake, type == VIRTIO_BLK_T_FLUSH ? bare : buffers,
		   type == VIRTIO_BLK_T_FLUSH ? 2 : 3);
	fake_kick(&fake);
	while (!fake_used(&fake, &elem))
		sched_yield();
	return *status_byte();
}

static void *use(void *arg)
{
	struct user *user = arg;

	while (!atomic_load(&user->end)) {
		const uint64_t sector = atomic_load(&user->rounds) % 1000;
		const uint64_t *word = fake_ptr(&fake, DATA, 8);

		cr_assert_eq(do_request(VIRTIO_BLK_T_IN, sector), VIRTIO_BLK_S_OK);
		cr_assert(*word == sector || *word == OTHER_MARK + sector, "%lx", *word);
		cr_assert_eq(do_request(VIRTIO_BLK_T_OUT, sector + 1000), VIRTIO_BLK_S_OK);
		cr_assert_eq(do_request(VIRTIO_BLK_T_FLUSH, 0), VIRTIO_BLK_S_OK);
		atomic_fetch_add(&user->rounds, 1);
	}
	return NULL;
}

static void change_files(enum event_loop_kind kind)
{
	struct user user = { 0 };
	struct error err = { 0 };
	unsigned long seen = 0;

	begin_started(kind, (struct virtio_blk_params){ .num_queues = 1 });
	make_other();
	fake_drive(&fake, offered(), 256);
	cr_assert_eq(pthread_create(&user.thread, NULL, use, &user), 0);
	for (int i = 0; i < 40; i++) {
		const struct bucket_config rate = { 1000, 0, i % 3 ? 10 : 0 };

		cr_assert_eq(
			virtio_blk_set_backing(fake.dev, NULL, dup(i % 2 ? file : other), &err), 0,
			"%s", err.text);
		cr_assert_eq(virtio_blk_set_rate(fake.dev, NULL, &rate, &err), 0, "%s", err.text);
		while (atomic_load(&user.rounds) < seen + 2)
			sched_yield();
		seen = atomic_load(&user.rounds);
	}
	atomic_store(&user.end, true);
	pthread_join(user.thread, NULL);
	cr_expect_eq(do_request(VIRTIO_BLK_T_IN, 5), VIRTIO_BLK_S_OK);
	cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), 5);
	cr_expect_eq(counter(BLK_UPDATE_COUNT), 80);
	end();
}

Test(blk_update, while_the_guest_goes_on_threads)
{
	change_files(EVENT_LOOP_EPOLL);
}

Test(blk_update, while_the_guest_goes_on_uring)
{
	change_files(EVENT_LOOP_URING);
}

/* Saved state ------------------------------------------------------------------------------------*/

static void *saved(void)
{
	void *state = calloc(1, blk_state_desc.size);

	blk_save(fake.dev, state);
	return state;
}

BOTH(a_saved_drive_has_its_limits_and_looks_the_same, .rate.ops = { 5, 0, 3600000 })
{
	struct error err = { 0 };
	void *state;

	cr_expect_eq(first_word(1), 1);
	virtio_device_pause(fake.dev);
	drive()->config.opt_io_size = 77;
	state = saved();
	virtio_device_destroy(fake.dev);

	/* Found again, larger, on a host where its file has another best size. */
	cr_assert_eq(ftruncate(file, (SECTORS + 8) * 512), 0);
	create_with((struct virtio_blk_params){ .num_queues = 1 });
	cr_assert_eq(blk_load(fake.dev, state, &err), 0, "%s", err.text);
	free(state);
	cr_expect_eq(drive()->config.opt_io_size, 77);
	cr_expect_eq(drive()->config.capacity, SECTORS);
	cr_expect_eq(drive()->limiter.ops.level.tokens, 4);
	fake_drive(&fake, offered(), 256);
	cr_expect_eq(drive()->config.capacity, SECTORS + 8, "the guest is told when it goes on");
	cr_expect(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS) & VIRTIO_MMIO_INT_CONFIG);
}

/* Field by field, the worst values: an error, or a drive that works. */
BOTH(no_saved_state_is_believed, .num_queues = 1)
{
	uint8_t *state = saved();
	const uint64_t features = fake.dev->features;
	struct error err;

	virtio_device_pause(fake.dev);
	for (uint32_t i = 0; i + 8 <= blk_state_desc.size; i += 4) {
		uint64_t was, bad = UINT64_MAX;

		memcpy(&was, state + i, 8);
		memcpy(state + i, &bad, 8);
		if (blk_load(fake.dev, state, &err) < 0)
			cr_expect(strstr(err.text, "drive vda: saved state: "), "%s", err.text);
		memcpy(state + i, &was, 8);
		cr_expect_eq((fake.dev->features ^ features) & ~FEATURE(DISCARD), 0);
		cr_expect_leq(drive()->config.max_discard_sectors, BLK_DISCARD_MAX_SECTORS);
		cr_expect_leq(drive()->config.max_write_zeroes_sectors, BLK_ZEROES_MAX_SECTORS);
	}
	cr_assert_eq(blk_load(fake.dev, state, &err), 0);
	free(state);
	virtio_device_resume(fake.dev);
	cr_expect_eq(first_word(4), 4);
}

/* What the file before owes ----------------------------------------------------------------------*/

static uint8_t write_word(uint64_t sector, uint64_t word)
{
	memcpy(fake_ptr(&fake, DATA, 8), &word, 8);
	return request(VIRTIO_BLK_T_OUT, sector, DATA, 512, NULL);
}

static uint8_t flush(void)
{
	return request(VIRTIO_BLK_T_FLUSH, 0, 0, 0, NULL);
}

static void set_other(void)
{
	struct error err = { 0 };

	cr_assert_eq(virtio_blk_set_backing(fake.dev, make_other(), -1, &err), 0, "%s", err.text);
}

/* The request returns before the old file is on stable storage; a flush does not. */
BOTH(a_flush_waits_for_the_file_before, .num_queues = 1)
{
	cr_expect_eq(write_word(1, 7), VIRTIO_BLK_S_OK);
	set_other();
	cr_assert_not_null(drive()->before.file);
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
	cr_expect_null(drive()->before.file);
	cr_expect_eq(drive()->in_flight, 0);
	set_other();
	cr_expect_null(drive()->before.file, "nothing was written to the second one");
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
}

/* Once it is on stable storage: its space may be wanted. */
BOTH(the_file_before_is_closed, .num_queues = 1)
{
	const int before = drive()->file->fd;

	cr_expect_eq(write_word(1, 7), VIRTIO_BLK_S_OK);
	set_other();
	cr_expect_neq(fcntl(before, F_GETFD), -1);
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
	cr_expect_eq(fcntl(before, F_GETFD), -1);
	cr_expect_eq(first_word(9), OTHER_MARK + 9);
}

/* Paused: something was written to the drive's file, it has another now, and the one before cannot be written back. */
static void pause_over_a_broken_file(void)
{
	int pipes[2];

	cr_assert_eq(pipe2(pipes, O_CLOEXEC), 0);
	cr_expect_eq(write_word(1, 7), VIRTIO_BLK_S_OK);
	virtio_device_pause(fake.dev);
	set_other();
	/* A pipe knows no fdatasync. */
	cr_assert_neq(dup2(pipes[1], drive()->before.file->fd), -1);
	close(pipes[0]);
	close(pipes[1]);
}

/* A flush that came too late to be held up hears of it too; the one after it is of the new file alone. */
BOTH(a_file_before_that_cannot_be_written_back, .num_queues = 1)
{
	pause_over_a_broken_file();
	virtio_device_resume(fake.dev);
	cr_expect_eq(flush(), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
}

/* What was written to the drive's file is lost, and no flush has heard of it. */
static void lose_the_file(void)
{
	pause_over_a_broken_file();
	virtio_device_resume(fake.dev);
	while (drive()->before.is_under_way)
		event_loop_run_once(fake.loop, true);
}

BOTH(an_error_outlives_the_next_file, .num_queues = 1)
{
	lose_the_file();
	set_other();
	cr_expect_eq(flush(), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
	/* Also one that is written back as it should be. */
	lose_the_file();
	cr_expect_eq(write_word(1, 7), VIRTIO_BLK_S_OK);
	set_other();
	cr_expect_eq(flush(), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
}

/* A file tells of an error once, and then the client had it. */
BOTH(an_error_that_the_client_saw_is_the_guests_too, .num_queues = 1)
{
	struct error err = { 0 };

	pause_over_a_broken_file();
	cr_expect_lt(virtio_blk_set_backing(fake.dev, make_other(), -1, &err), 0);
	cr_expect(strstr(err.text, "cannot write back"), "%s", err.text);
	cr_assert_neq(dup2(other, drive()->before.file->fd), -1);
	virtio_device_resume(fake.dev);
	cr_expect_eq(flush(), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(flush(), VIRTIO_BLK_S_OK);
}

BOTH(replaced_twice_while_paused, .num_queues = 1)
{
	cr_expect_eq(write_word(1, 7), VIRTIO_BLK_S_OK);
	virtio_device_pause(fake.dev);
	set_other();
	cr_assert_not_null(drive()->before.file);
	set_other();
	cr_expect_null(drive()->before.file, "written back at once");
	virtio_device_resume(fake.dev);
	cr_expect_eq(first_word(9), OTHER_MARK + 9);
}
