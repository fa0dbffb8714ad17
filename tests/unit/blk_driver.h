/*
 * A fake driver with a drive: what the tests of the block device share. The drive is a file in
 * /tmp (a disk's filesystem) of SECTORS sectors, each of which begins with its number.
 */
#pragma once

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "tests/unit/fake_driver.h"
#include "virtio/virtio_blk_priv.h"

#define SECTORS 2048u
#define HEADER FAKE_DATA
#define STATUS (FAKE_DATA + 0x1000)
#define DATA 0x20000u

#define FEATURE(name) (1ull << VIRTIO_BLK_F_##name)
#define INDIRECT (1ull << VIRTIO_RING_F_INDIRECT_DESC)
#define EVENT_IDX (1ull << VIRTIO_RING_F_EVENT_IDX)

static struct fake_driver fake;
static int file = -1;

static inline struct virtio_blk *drive(void)
{
	return blk_of(fake.dev);
}

static inline void number_sectors(int fd)
{
	uint64_t sector[64] = { 0 };

	for (uint64_t i = 0; i < SECTORS; i++) {
		sector[0] = i;
		cr_assert_eq(pwrite(fd, sector, 512, (off_t)i * 512), 512);
	}
}

static inline void make_file_in(const char *folder)
{
	char name[64];

	snprintf(name, sizeof(name), "%s/mayfly-blk-XXXXXX", folder);
	file = mkostemp(name, O_CLOEXEC);
	cr_assert_geq(file, 0);
	unlink(name);
	number_sectors(file);
}

/* `params` without a name, path or descriptor: the file's is used. */
static inline void create_with(struct virtio_blk_params params)
{
	char path[32];
	struct error err = { 0 };

	/* A description of its own: O_DIRECT is one's property. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	params.name = "vda";
	params.path = path;
	params.fd = -1;
	cr_assert_eq(virtio_blk_create(&fake.dev, &params, &fake.mem, fake.loop, &fake.irq, &err),
		     0, "%s", err.text);
}

static inline uint64_t offered(void)
{
	uint64_t features;

	fake_write(&fake, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	features = (uint64_t)fake_read(&fake, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
	fake_write(&fake, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	return features | fake_read(&fake, VIRTIO_MMIO_DEVICE_FEATURES);
}

/* A drive of a file in `folder`, its driver taking all that is offered. */
static inline void begin(enum event_loop_kind kind, const char *folder,
			 struct virtio_blk_params params)
{
	log_set_level(LOG_ERROR);
	make_file_in(folder);
	fake_init(&fake, kind);
	cr_assert_eq(event_loop_has_ring(fake.loop), kind == EVENT_LOOP_URING);
	create_with(params);
	fake_drive(&fake, offered(), params.queue_size ? (uint16_t)params.queue_size : 256);
}

/* The same with a loop that has a thread; its driver is still to come. */
static inline void begin_started(enum event_loop_kind kind, struct virtio_blk_params params)
{
	log_set_level(LOG_ERROR);
	make_file_in("/tmp");
	fake_init_started(&fake, kind);
	create_with(params);
}

static inline void end(void)
{
	fake_fini(&fake);
	close(file);
}

/* A test over both engines; `...` are fields of struct virtio_blk_params. */
#define ENGINES_IN(folder, suite, name, ...)                                                \
	static void name(void);                                                             \
	Test(suite, name##_threads)                                                         \
	{                                                                                   \
		begin(EVENT_LOOP_EPOLL, folder, (struct virtio_blk_params){ __VA_ARGS__ }); \
		name();                                                                     \
		end();                                                                      \
	}                                                                                   \
	Test(suite, name##_uring)                                                           \
	{                                                                                   \
		begin(EVENT_LOOP_URING, folder, (struct virtio_blk_params){ __VA_ARGS__ }); \
		name();                                                                     \
		end();                                                                      \
	}                                                                                   \
	static void name(void)

#define ENGINES(suite, name, ...) ENGINES_IN("/tmp", suite, name, __VA_ARGS__)

static inline void set_header(uint64_t at, uint32_t type, uint64_t sector)
{
	*(struct virtio_blk_outhdr *)fake_ptr(&fake, at, 16) =
		(struct virtio_blk_outhdr){ .type = type, .sector = sector };
}

static inline uint8_t *status_byte(void)
{
	return fake_ptr(&fake, STATUS, 1);
}

static inline bool sends_data(uint32_t type)
{
	return type == VIRTIO_BLK_T_OUT || type == VIRTIO_BLK_T_DISCARD ||
	       type == VIRTIO_BLK_T_WRITE_ZEROES;
}

/* A chain of header, data (if there is any) and status into the ring of `queue`, the driver or a copy of it. */
static inline void put_request(struct fake_driver *queue, uint32_t type, uint64_t sector,
			       uint64_t data, uint32_t len)
{
	const struct fake_buffer buffers[] = { { HEADER, 16, false },
					       { data, len, !sends_data(type) },
					       { STATUS, 1, true } };
	const struct fake_buffer bare[] = { { HEADER, 16, false }, { STATUS, 1, true } };

	set_header(HEADER, type, sector);
	fake_chain(queue, len ? buffers : bare, len ? 3 : 2);
}

/* One request of header, data and status; returns the status, 0xff when none came. */
static inline uint8_t request(uint32_t type, uint64_t sector, uint64_t data, uint32_t len,
			      uint32_t *written)
{
	struct vring_used_elem elem = { 0 };

	*status_byte() = 0xff;
	put_request(&fake, type, sector, data, len);
	fake_kick(&fake);
	cr_assert(fake_wait_used(&fake, &elem));
	if (written)
		*written = elem.len;
	return *status_byte();
}

/* A discard or write-zeroes of one segment. */
static inline uint8_t range(uint32_t type, uint64_t sector, uint32_t sectors, uint32_t flags)
{
	*(struct virtio_blk_discard_write_zeroes *)fake_ptr(&fake, DATA, 16) =
		(struct virtio_blk_discard_write_zeroes){ .sector = sector,
							  .num_sectors = sectors,
							  .flags = flags };
	return request(type, 0, DATA, 16, NULL);
}

static inline uint32_t device_status(void)
{
	return fake_read(&fake, VIRTIO_MMIO_STATUS);
}

/* The first word of a sector, as the file has it. */
static inline uint64_t number_of(uint64_t sector)
{
	uint64_t number = 0;

	cr_assert_eq(pread(file, &number, sizeof(number), (off_t)(sector * 512)), 8);
	return number;
}
