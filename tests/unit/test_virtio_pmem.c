/* virtio-pmem: where the guest finds the file, and flushes. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/virtio_pmem.h>
#include <stdio.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "tests/unit/fake_driver.h"
#include "virtio/virtio_pmem.h"

#define REQUEST FAKE_DATA
#define ANSWER (FAKE_DATA + 0x100)
#define GPA 0x100000000ul

static struct fake_driver fake;
static struct pmem_file file;
static int fd = -1;

static void make_file(bool read_only)
{
	char path[] = "/tmp/mayfly-pmem-XXXXXX";
	struct error err = { 0 };

	fd = mkostemp(path, O_CLOEXEC);
	cr_assert_geq(fd, 0);
	unlink(path);
	cr_assert_eq(ftruncate(fd, (off_t)MIB(3)), 0);
	cr_assert_eq(pmem_file_open(&file,
				    &(struct pmem_file_params){ "pmem0", NULL, dup(fd), read_only },
				    &err),
		     0, "%s", err.text);
}

static void create(struct rate_config rate)
{
	const struct virtio_pmem_params params = { &file, GPA, rate };
	struct error err = { 0 };

	cr_assert_eq(virtio_pmem_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err),
		     0, "%s", err.text);
	fake_drive(&fake, fake.dev->features, 64);
}

static void begin(enum event_loop_kind kind, bool read_only, struct rate_config rate)
{
	log_set_level(LOG_ERROR);
	make_file(read_only);
	fake_init(&fake, kind);
	create(rate);
}

static void end(void)
{
	fake_fini(&fake);
	pmem_file_close(&file);
	close(fd);
}

/* Over both engines. */
#define ENGINES(name, read_only, ...)                                                    \
	static void name(void);                                                          \
	Test(virtio_pmem, name##_threads)                                                \
	{                                                                                \
		begin(EVENT_LOOP_EPOLL, read_only, (struct rate_config){ __VA_ARGS__ }); \
		name();                                                                  \
		end();                                                                   \
	}                                                                                \
	Test(virtio_pmem, name##_uring)                                                  \
	{                                                                                \
		begin(EVENT_LOOP_URING, read_only, (struct rate_config){ __VA_ARGS__ }); \
		name();                                                                  \
		end();                                                                   \
	}                                                                                \
	static void name(void)

static uint32_t *word(uint64_t gpa)
{
	return fake_ptr(&fake, gpa, 4);
}

static void offer_request(uint32_t type)
{
	const struct fake_buffer buffers[] = { { REQUEST, 4, false }, { ANSWER, 4, true } };

	*word(REQUEST) = type;
	*word(ANSWER) = 0xffffffff;
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
}

static uint32_t request(uint32_t type)
{
	struct vring_used_elem elem = { 0 };

	offer_request(type);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_assert_eq(elem.len, 4);
	return *word(ANSWER);
}

static uint32_t flush(void)
{
	return request(VIRTIO_PMEM_REQ_TYPE_FLUSH);
}

static uint32_t device_status(void)
{
	return fake_read(&fake, VIRTIO_MMIO_STATUS);
}

ENGINES(says_where_it_is, false)
{
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG), (uint32_t)GPA);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG + 4), GPA >> 32);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_CONFIG + 8), MIB(4));
}

ENGINES(flush_succeeds, false)
{
	file.host[0] = 1;
	cr_expect_eq(flush(), 0);
	cr_expect_eq(flush(), 0);
}

static void open_other(struct pmem_file *other, uint64_t size)
{
	struct error err = { 0 };
	int memfd = memfd_create("other", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(memfd, (off_t)size), 0);
	cr_assert_eq(
		pmem_file_open_unmapped(
			other, &(struct pmem_file_params){ "pmem0", NULL, memfd, false }, &err),
		0, "%s", err.text);
}

/* The one before is closed: a flush of that would fail. */
ENGINES(another_file_is_flushed, false)
{
	struct pmem_file other;
	struct error err = { 0 };

	for (int i = 0; i < 3; i++) {
		open_other(&other, MIB(3) + (uint64_t)i);
		virtio_device_pause(fake.dev);
		cr_assert_eq(virtio_pmem_swap_file(fake.dev, &other, &err), 0, "%s", err.text);
		pmem_file_close(&other);
		virtio_device_resume(fake.dev);
		file.host[0] = 1;
		cr_expect_eq(flush(), 0);
	}
	open_other(&other, MIB(5));
	virtio_device_pause(fake.dev);
	cr_expect_eq(virtio_pmem_swap_file(fake.dev, &other, &err), -EINVAL);
	pmem_file_close(&other);
	virtio_device_resume(fake.dev);
	cr_expect_eq(flush(), 0);
}

ENGINES(flush_of_a_read_only_file_is_nothing, true)
{
	cr_expect_eq(flush(), 0);
}

ENGINES(many_flushes_at_once, false)
{
	struct vring_used_elem elem;

	for (int i = 0; i < 32; i++)
		offer_request(VIRTIO_PMEM_REQ_TYPE_FLUSH);
	for (int i = 0; i < 32; i++)
		cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*word(ANSWER), 0);
}

ENGINES(unknown_request_fails, false)
{
	cr_expect_neq(request(1), 0);
	cr_expect_eq(flush(), 0);
}

ENGINES(request_and_answer_in_single_bytes, false)
{
	struct fake_buffer buffers[8];
	struct vring_used_elem elem;

	*word(REQUEST) = VIRTIO_PMEM_REQ_TYPE_FLUSH;
	*word(ANSWER) = 0xffffffff;
	for (unsigned int i = 0; i < 8; i++)
		buffers[i] = (struct fake_buffer){ (i < 4 ? REQUEST : ANSWER) + i % 4, 1, i >= 4 };
	fake_chain(&fake, buffers, 8);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(*word(ANSWER), 0);
}

ENGINES(request_that_is_too_short_fails, false)
{
	const struct fake_buffer buffers[] = { { REQUEST, 3, false }, { ANSWER, 4, true } };
	struct vring_used_elem elem;

	*word(ANSWER) = 0;
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_neq(*word(ANSWER), 0);
}

ENGINES(no_room_for_an_answer_breaks_the_device, false)
{
	const struct fake_buffer buffers[] = { { REQUEST, 4, false }, { ANSWER, 3, true } };

	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	fake_drive(&fake, 0, 64);
	cr_expect_eq(flush(), 0);
}

ENGINES(file_cut_short_fails_every_flush_from_then_on, false)
{
	cr_assert_eq(ftruncate(fd, 5000), 0);
	cr_expect_neq(flush(), 0);
	cr_assert_eq(ftruncate(fd, (off_t)MIB(3)), 0);
	cr_expect_neq(flush(), 0);
	fake_drive(&fake, 0, 64);
	cr_expect_neq(flush(), 0);
	cr_expect_eq(file.host[MIB(1)], 0);
	cr_expect_not(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
}

ENGINES(reset_with_a_flush_in_flight, false)
{
	for (int i = 0; i < 20; i++) {
		offer_request(VIRTIO_PMEM_REQ_TYPE_FLUSH);
		if (i % 2)
			event_loop_run_once(fake.loop, false);
		fake_drive(&fake, 0, 64);
	}
	cr_expect_eq(flush(), 0);
}

/* The limit --------------------------------------------------------------------------------------*/

static double seconds(void)
{
	return (double)clock_now_ns(CLOCK_MONOTONIC) * 1e-9;
}

ENGINES(flushes_are_limited, false, .ops = { .size = 2, .refill_ms = 200 })
{
	double start = seconds();

	for (int i = 0; i < 6; i++) /* two at once, then one each 100 ms */
		cr_expect_eq(flush(), 0);
	cr_expect_geq(seconds() - start, 0.39);
}

ENGINES(a_flush_is_as_many_bytes_as_the_file, false, .bytes = { .size = 3 << 20, .refill_ms = 300 })
{
	double start = seconds();

	cr_expect_eq(flush(), 0);
	cr_expect_eq(flush(), 0);
	cr_expect_geq(seconds() - start, 0.29);
}

ENGINES(limit_is_changed_live, false, .ops = { .size = 1, .refill_ms = 3600000 })
{
	const struct bucket_config none = { 0 };
	struct vring_used_elem elem;

	cr_expect_eq(flush(), 0);
	offer_request(VIRTIO_PMEM_REQ_TYPE_FLUSH);
	fake_settle(&fake);
	cr_expect_not(fake_used(&fake, &elem));
	cr_assert_eq(virtio_pmem_set_rate(fake.dev, NULL, &none, NULL), 0);
	cr_expect(fake_wait_used(&fake, &elem));
	cr_expect_eq(flush(), 0);
}

/* State, windows ---------------------------------------------------------------------------------*/

ENGINES(state_goes_there_and_back, false, .ops = { .size = 5, .refill_ms = 1000 })
{
	const struct state_desc *desc = fake.dev->ops->state;
	cleanup_free uint8_t *saved = calloc(1, desc->size);
	struct error err = { 0 };
	uint64_t other = GPA + MIB(2);

	virtio_device_pause(fake.dev);
	fake.dev->ops->save(fake.dev, saved);
	cr_expect_eq(fake.dev->ops->load(fake.dev, saved, &err), 0, "%s", err.text);
	cr_assert_str_eq(desc->fields[0].name, "start");
	memcpy(saved + desc->fields[0].offset, &other, sizeof(other));
	cr_expect_eq(fake.dev->ops->load(fake.dev, saved, &err), -EINVAL);
	cr_expect(strstr(err.text, "pmem0") != NULL, "%s", err.text);
}

/* A driver may have its buffers in the file, if not where it can only be read. */
ENGINES(buffers_in_the_file, false)
{
	const struct fake_buffer buffers[] = { { GPA + 16, 4, false }, { GPA + MIB(1), 4, true } };
	struct vring_used_elem elem;

	cr_assert_eq(guest_memory_add_window(&fake.mem,
					     &(struct guest_region){ GPA, file.size, file.host },
					     false, NULL),
		     0);
	memset(file.host + MIB(1), 0xff, 4);
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	cr_expect_eq(file.host[MIB(1)], 0);
	fake.mem.windows[0].read_only = true;
	fake_chain(&fake, buffers, 2);
	fake_kick(&fake);
	fake_settle(&fake);
	cr_expect(device_status() & VIRTIO_CONFIG_S_NEEDS_RESET);
}
