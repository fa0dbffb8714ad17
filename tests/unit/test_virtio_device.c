/* Transitions: what a second vCPU sees while a first one's reset has to wait for the device. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "tests/unit/fake_driver.h"

struct slow_device {
	struct virtio_device dev;
	atomic_bool stopping; /* stop() has begun... */
	atomic_bool release;  /* ...and may end */
	atomic_int starts, stops;
};

static struct fake_driver fake;
static struct slow_device slow;

static int slow_start(struct virtio_device *dev)
{
	(void)dev;
	slow.starts++;
	return 0;
}

static void slow_notify(struct virtio_queue *queue)
{
	(void)queue;
}

static void slow_stop(struct virtio_device *dev)
{
	slow.stops++;
	atomic_store(&slow.stopping, true);
	while (!atomic_load(&slow.release))
		event_loop_run_once(dev->loop, false);
}

static void slow_free(struct virtio_device *dev)
{
	(void)dev;
}

static const struct virtio_ops slow_ops = {
	.id = 42,
	.start = slow_start,
	.notify = slow_notify,
	.stop = slow_stop,
	.free = slow_free,
};

static void init(void)
{
	const struct virtio_device_params params = { .ops = &slow_ops,
						     .name = "slow",
						     .queue_count = 1,
						     .queue_size_max = 64,
						     .mem = &fake.mem,
						     .irq = &fake.irq };
	struct virtio_device_params with_loop = params;

	fake_init_started(&fake, EVENT_LOOP_URING);
	with_loop.loop = fake.loop;
	cr_assert_eq(virtio_device_init(&slow.dev, &with_loop, NULL), 0);
	fake.dev = &slow.dev;
	fake_drive(&fake, 0, 64);
}

static void fini(void)
{
	atomic_store(&slow.release, true);
	fake_fini(&fake);
}

TestSuite(virtio_device, .init = init, .fini = fini);

static void *reset(void *arg)
{
	(void)arg;
	fake_write(&fake, VIRTIO_MMIO_STATUS, 0);
	return NULL;
}

static atomic_bool second_done;

static void *acknowledge(void *arg)
{
	(void)arg;
	fake_write(&fake, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	atomic_store(&second_done, true);
	return NULL;
}

Test(virtio_device, a_second_vcpu_waits_for_a_reset_in_progress)
{
	pthread_t first, second;

	pthread_create(&first, NULL, reset, NULL);
	while (!atomic_load(&slow.stopping))
		usleep(100);
	pthread_create(&second, NULL, acknowledge, NULL);
	usleep(20000);
	cr_expect(!atomic_load(&second_done));
	/* These never wait. */
	(void)fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS);
	fake_write(&fake, VIRTIO_MMIO_INTERRUPT_ACK, 1);
	fake_write(&fake, VIRTIO_MMIO_QUEUE_NOTIFY, 0);
	atomic_store(&slow.release, true);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_STATUS), VIRTIO_CONFIG_S_ACKNOWLEDGE);
}

/* Whoever comes first stops it; the second has nothing left to stop. */
Test(virtio_device, two_resets_at_once_stop_once)
{
	pthread_t threads[2];

	atomic_store(&slow.release, true);
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, reset, NULL);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	cr_expect_eq(slow.starts, 1);
	cr_expect_eq(slow.stops, 1);
}

/* The loop takes the lock to say "needs reset" while a vCPU waits for that very loop. */
static int break_it(void *arg)
{
	virtio_device_break(arg, "for the test");
	return 0;
}

static void *break_on_loop(void *arg)
{
	event_loop_call(fake.loop, break_it, arg);
	return NULL;
}

Test(virtio_device, the_loop_may_break_the_device_during_a_reset)
{
	pthread_t first, second;

	log_set_level(LOG_ERROR);
	pthread_create(&first, NULL, reset, NULL);
	while (!atomic_load(&slow.stopping))
		usleep(100);
	pthread_create(&second, NULL, break_on_loop, &slow.dev);
	pthread_join(second, NULL);
	atomic_store(&slow.release, true);
	pthread_join(first, NULL);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_STATUS), 0);
	fake_drive(&fake, 0, 64);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_STATUS), 15);
}

static void grow(struct virtio_device *dev, const void *arg)
{
	(void)dev;
	(void)arg;
}

static int change(void *arg)
{
	virtio_device_change_config(arg, grow, NULL);
	return 0;
}

Test(virtio_device, a_configuration_change_is_told)
{
	const uint32_t before = fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION);

	event_loop_call(fake.loop, change, &slow.dev);
	cr_expect_neq(fake_read(&fake, VIRTIO_MMIO_CONFIG_GENERATION), before);
	cr_expect_eq(fake_read(&fake, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	cr_expect_eq(fake.interrupts, 1);
}

/* A driver that offers a chain right after the ring looked empty, and sees no wish to be notified. */
static int served;

static int offer_late(struct virtio_queue *queue)
{
	struct virtqueue_chain chain;
	struct iovec iov[1];
	const int ret = virtqueue_pop(&queue->ring, &chain, iov, 1);

	if (ret > 0)
		served++;
	if (ret == 0 && served == 0)
		fake_chain(&fake, &(struct fake_buffer){ FAKE_DATA, 8, true }, 1);
	return ret;
}

static int serve_once(void *arg)
{
	virtio_queue_serve(arg, offer_late, 8);
	return 0;
}

Test(virtio_device, a_chain_that_comes_while_notifications_go_on_is_served)
{
	event_loop_call(fake.loop, serve_once, &slow.dev.queues[0]);
	cr_expect_eq(served, 1);
}
