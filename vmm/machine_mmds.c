/*
 * The metadata service between an interface and its tap: frames for it are copied out of guest memory
 * once, answers are injected into the receive ring. All of it is the interface's loop's; the control
 * thread only makes and ends it, by calls to that loop. The data behind it has its own rule
 * (vmm/mmds/mmds_store.h).
 */

#include <linux/virtio_ids.h>

#include "base/clock.h"
#include "base/loop_timer.h"
#include "virtio/iov.h"
#include "virtio/virtio_net.h"
#include "vmm/machine_priv.h"
#include "vmm/mmds/mmds_net.h"

#define NS_PER_MS 1000000u

_Static_assert(NET_PEEK >= MMDS_PEEK, "what is judged is the device's own copy");

struct machine_mmds {
	struct net_filter filter;
	struct virtio_device *dev;
	struct event_loop *loop;
	struct loop_timer timer;
	struct mmds_net *net;
	uint8_t frame[MMDS_FRAME_MAX];
};

static uint64_t clock_ms(void)
{
	return clock_now_ns(CLOCK_MONOTONIC) / NS_PER_MS;
}

/* Does what is due and sleeps until the next thing is. */
static void tick(struct machine_mmds *mmds, uint64_t now)
{
	const uint64_t next = mmds_net_tick(mmds->net, now);

	if (next)
		loop_timer_arm(&mmds->timer, next > now ? (next - now) * NS_PER_MS : 0);
	else
		loop_timer_disarm(&mmds->timer);
}

static void expired(struct loop_timer *timer)
{
	tick(container_of(timer, struct machine_mmds, timer), clock_ms());
}

static bool take_frame(struct net_filter *filter, const struct iovec *iov, unsigned int count,
		       size_t len)
{
	struct machine_mmds *mmds = container_of(filter, struct machine_mmds, filter);
	uint64_t now;

	if (!mmds_net_wants(mmds->net, iov[0].iov_base, iov[0].iov_len))
		return false;
	now = clock_ms();
	iov_read(iov, count, mmds->frame, sizeof(mmds->frame));
	mmds_net_frame(mmds->net, mmds->frame, len, filter->checksum_pending, now);
	tick(mmds, now);
	return true;
}

static void have_room(struct net_filter *filter)
{
	struct machine_mmds *mmds = container_of(filter, struct machine_mmds, filter);
	const uint64_t now = clock_ms();

	mmds_net_unblocked(mmds->net, now);
	tick(mmds, now);
}

static bool send_frame(void *opaque, const void *frame, size_t len)
{
	struct machine_mmds *mmds = opaque;

	return virtio_net_inject(mmds->dev, frame, len) == 0;
}

static int begin_on_loop(void *arg)
{
	struct machine_mmds *mmds = arg;
	int ret = loop_timer_init(&mmds->timer, mmds->loop, expired);

	if (ret == 0)
		virtio_net_set_filter(mmds->dev, &mmds->filter);
	return ret;
}

static int end_on_loop(void *arg)
{
	struct machine_mmds *mmds = arg;

	virtio_net_set_filter(mmds->dev, NULL);
	loop_timer_fini(&mmds->timer);
	return 0;
}

int machine_serve_mmds(struct machine *machine, unsigned int index, struct mmds *service,
		       struct error *err)
{
	struct machine_mmds *mmds = calloc(1, sizeof(*mmds));
	int ret = -ENOMEM;

	if (mmds) {
		mmds->filter = (struct net_filter){ .frame = take_frame, .rx_room = have_room };
		mmds->dev = machine_device(machine, VIRTIO_ID_NET, index);
		mmds->loop = machine->loops[0];
		ret = mmds_net_create(&mmds->net, service, send_frame, mmds);
	}
	if (ret == 0)
		ret = event_loop_call(mmds->loop, begin_on_loop, mmds);
	if (ret < 0) {
		if (mmds)
			mmds_net_free(mmds->net);
		free(mmds);
		return error_set_errno(err, ret, "metadata service");
	}
	machine->mmds[index] = mmds;
	machine->mmds_service = service;
	return 0;
}

void machine_free_mmds(struct machine *machine)
{
	for (unsigned int i = 0; i < VM_NETS_MAX; i++) {
		struct machine_mmds *mmds = machine->mmds[i];

		if (!mmds)
			continue;
		event_loop_call(mmds->loop, end_on_loop, mmds);
		mmds_net_free(mmds->net);
		free(mmds);
		machine->mmds[i] = NULL;
	}
	machine->mmds_service = NULL;
}
