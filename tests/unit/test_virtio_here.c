/* A vCPU serves the queue of a guest that makes one request at a time, and of no other. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/blk_driver.h"

#define PATIENCE_NS 5000000000ull

static pthread_t vcpu;
static atomic_uint by_vcpu, by_loop;

/* Each answer raises one interrupt, on the thread that gives it. */
static void note_who(struct irq_line *line)
{
	(void)line;
	atomic_fetch_add(pthread_equal(pthread_self(), vcpu) ? &by_vcpu : &by_loop, 1);
}

static void begin_watched(enum event_loop_kind kind, struct virtio_blk_params params)
{
	begin_started(kind, params);
	fake_end_audit(&fake);
	vcpu = pthread_self();
	fake.irq.raise = note_who;
	fake_drive(&fake, offered() & ~EVENT_IDX, 256);
}

#define STARTED(name, ...)                                                                  \
	static void name(void);                                                             \
	Test(virtio_here, name##_threads)                                                   \
	{                                                                                   \
		begin_watched(EVENT_LOOP_EPOLL, (struct virtio_blk_params){ __VA_ARGS__ }); \
		name();                                                                     \
		end();                                                                      \
	}                                                                                   \
	Test(virtio_here, name##_uring)                                                     \
	{                                                                                   \
		begin_watched(EVENT_LOOP_URING, (struct virtio_blk_params){ __VA_ARGS__ }); \
		name();                                                                     \
		end();                                                                      \
	}                                                                                   \
	static void name(void)

static void notify(void)
{
	fake_write(&fake, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
}

static void wait_for_answers(unsigned int count)
{
	const uint64_t until = clock_now_ns(CLOCK_MONOTONIC) + PATIENCE_NS;
	struct vring_used_elem elem;

	while (count > 0) {
		if (fake_used(&fake, &elem))
			count--;
		cr_assert_lt(clock_now_ns(CLOCK_MONOTONIC), until, "no answer");
	}
}

/* One request by itself; the loop is asleep again when the next one comes. */
static void ask(uint32_t type, uint64_t sector, uint32_t len)
{
	*status_byte() = 0xff;
	put_request(&fake, type, sector, DATA, len);
	notify();
	wait_for_answers(1);
	cr_assert_eq(*status_byte(), VIRTIO_BLK_S_OK);
	usleep(300);
}

/* So many answers of so many requests of the last kind came from this thread. */
static unsigned int answers_here(unsigned int count, uint32_t len)
{
	const unsigned int before = atomic_load(&by_vcpu);

	for (unsigned int i = 0; i < count; i++)
		ask(VIRTIO_BLK_T_IN, i, len);
	return atomic_load(&by_vcpu) - before;
}

STARTED(one_at_a_time_is_answered_by_the_vcpu)
{
	uint64_t *data = fake_ptr(&fake, DATA, 512);

	for (uint64_t i = 0; i < 300; i++) {
		ask(VIRTIO_BLK_T_IN, i, 512);
		cr_assert_eq(*data, i);
	}
	cr_expect_gt(atomic_load(&by_vcpu), 150);
	cr_expect_geq(atomic_load(&by_loop), 4 + 2, "first, and now and then, the loop looks");
	cr_expect_eq(by_vcpu + by_loop, 300, "one interrupt each");
}

STARTED(what_the_vcpu_wrote_is_there)
{
	uint64_t *data = fake_ptr(&fake, DATA, 512), found;

	for (uint64_t i = 0; i < 100; i++) {
		*data = ~i;
		ask(VIRTIO_BLK_T_OUT, i, 512);
	}
	cr_expect_gt(atomic_load(&by_vcpu), 30);
	for (uint64_t i = 0; i < 100; i++) {
		cr_assert_eq(pread(file, &found, 8, (off_t)i * 512), 8);
		cr_assert_eq(found, ~i);
	}
}

/* As Linux asks: for an interrupt when its last known answer is passed. */
STARTED(with_event_indices_each_answer_interrupts_once)
{
	uint16_t *used_event;

	fake_drive(&fake, offered(), 256);
	used_event = &fake.avail->ring[fake.layout.size];
	by_vcpu = by_loop = 0;
	for (uint64_t i = 0; i < 300; i++) {
		__atomic_store_n(used_event, fake.last_used, __ATOMIC_RELAXED);
		ask(VIRTIO_BLK_T_IN, i, 512);
	}
	cr_expect_gt(atomic_load(&by_vcpu), 150);
	cr_expect_eq(by_vcpu + by_loop, 300);
}

STARTED(what_is_not_in_the_page_cache_is_the_loops)
{
	cr_assert_gt(answers_here(100, 512), 30);
	for (uint64_t i = 0; i < 20; i++) {
		cr_assert_eq(fdatasync(file), 0);
		cr_assert_eq(posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED), 0);
		ask(VIRTIO_BLK_T_IN, i * 64, 512);
	}
	/* At least that many have to come alone again. */
	cr_expect_eq(answers_here(4, 512), 0);
}

/* More than a vCPU may take at once. */
STARTED(the_rest_of_many_is_the_loops)
{
	cr_assert_gt(answers_here(100, 512), 30);
	for (int i = 0; i < 40; i++)
		put_request(&fake, VIRTIO_BLK_T_IN, 0, DATA, 512);
	notify();
	wait_for_answers(40);
}

STARTED(several_at_once_are_the_loops_again)
{
	cr_assert_gt(answers_here(100, 512), 30);
	for (int i = 0; i < 3; i++)
		put_request(&fake, VIRTIO_BLK_T_IN, 0, DATA, 512);
	notify();
	wait_for_answers(3);
	usleep(300);
	/* Twice as many as before have to come alone now. */
	cr_expect_eq(answers_here(8, 512), 0);
	cr_expect_gt(answers_here(100, 512), 30);
}

STARTED(large_ones_are_the_loops)
{
	cr_expect_eq(answers_here(50, KIB(64)), 0);
}

STARTED(those_of_a_drive_with_a_limit_are_the_loops,
	.rate = { .ops = { .size = 1000000, .refill_ms = 1 } })
{
	cr_expect_eq(answers_here(50, 512), 0);
}

STARTED(a_flush_among_them_is_answered)
{
	cr_assert_gt(answers_here(100, 512), 30);
	for (int i = 0; i < 20; i++)
		ask(VIRTIO_BLK_T_FLUSH, 0, 0);
}

STARTED(a_lie_that_the_vcpu_finds_breaks_the_device_once)
{
	cr_assert_gt(answers_here(100, 512), 30);
	fake_offer(&fake, 256);
	notify();
	for (int i = 0;
	     i < 1000 && !(fake_read(&fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET); i++)
		usleep(1000);
	cr_expect(fake_read(&fake, VIRTIO_MMIO_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	notify();
	fake_drive(&fake, offered(), 256);
	ask(VIRTIO_BLK_T_IN, 7, 512);
	cr_expect_eq(*(uint64_t *)fake_ptr(&fake, DATA, 8), 7);
}

/* Where the owner leads the notifications, as it was last told, and how often. */
static struct {
	struct virtio_bell bell;
	atomic_bool to_fd, fails;
	atomic_uint calls, by_vcpu;
} led;

static int lead(struct virtio_bell *bell, struct virtio_device *dev, unsigned int queue, bool to_fd)
{
	(void)bell;
	cr_assert_eq(dev, fake.dev);
	cr_assert_eq(queue, 0);
	atomic_fetch_add(&led.calls, 1);
	atomic_fetch_add(&led.by_vcpu, pthread_equal(pthread_self(), vcpu) != 0);
	if (atomic_load(&led.fails))
		return -ENOSPC;
	atomic_store(&led.to_fd, to_fd);
	return 0;
}

static void begin_led(void)
{
	led.bell.bind = lead;
	led.to_fd = led.fails = false;
	led.calls = led.by_vcpu = 0;
	fake.dev->bell = &led.bell;
}

static void ask_for(unsigned int count)
{
	const uint64_t one = 1;

	for (unsigned int i = 0; i < count; i++)
		put_request(&fake, VIRTIO_BLK_T_IN, 0, DATA, 512);
	if (!atomic_load(&led.to_fd))
		notify();
	else
		cr_assert_eq(write(virtio_device_notify_fd(fake.dev, 0), &one, sizeof(one)),
			     (ssize_t)sizeof(one));
	wait_for_answers(count);
	usleep(300);
}

STARTED(those_of_many_at_once_go_past_the_vcpu_until_they_are_few)
{
	begin_led();
	cr_assert_gt(answers_here(100, 512), 30);
	for (int i = 0; i < 300 && !atomic_load(&led.to_fd); i++)
		ask_for(3);
	cr_expect(led.to_fd);
	for (int i = 0; i < 100; i++)
		ask_for(3);
	cr_expect_eq(led.calls, 1);
	for (int i = 0; i < 300 && atomic_load(&led.to_fd); i++)
		ask_for(1);
	cr_expect_not(led.to_fd);
	cr_expect_eq(led.calls, 2);
	cr_expect_eq(led.by_vcpu, 0, "with the loop borrowed");
	cr_expect_gt(answers_here(400, 512), 50);
}

/* To lead them elsewhere costs more than it brings where both come. */
STARTED(those_of_few_and_many_by_turns_stay)
{
	begin_led();
	for (int i = 0; i < 200; i++)
		ask_for(i % 2 ? 1 : 3);
	cr_expect_eq(led.calls, 0);
}

STARTED(what_cannot_be_led_elsewhere_is_not_tried_again)
{
	begin_led();
	atomic_store(&led.fails, true);
	for (int i = 0; i < 200; i++)
		ask_for(3);
	cr_expect_eq(led.calls, 1);
	cr_expect_gt(answers_here(300, 512), 30);
}

static atomic_bool over;

static void *storm(void *arg)
{
	(void)arg;
	while (!atomic_load(&over))
		notify();
	return NULL;
}

/* Whoever notifies serves, and never a queue that is being taken down. */
STARTED(a_notify_storm_of_another_vcpu_through_resets)
{
	pthread_t other;

	atomic_store(&over, false);
	pthread_create(&other, NULL, storm, NULL);
	for (int round = 0; round < 30; round++) {
		fake_drive(&fake, offered(), 256);
		for (uint64_t i = 0; i < 20; i++) {
			*status_byte() = 0xff;
			put_request(&fake, VIRTIO_BLK_T_IN, i, DATA, 512);
			notify();
			wait_for_answers(1);
			cr_assert_eq(*status_byte(), VIRTIO_BLK_S_OK);
		}
	}
	atomic_store(&over, true);
	pthread_join(other, NULL);
}
