/* A tap of the host, Linux's Documentation/networking/tuntap.rst. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "virtio/net_backend.h"

/* Linux 6.2; not in every linux/if_tun.h yet. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)
#define TUN_F_TSO (TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
#define HEADER_SIZE ((int)sizeof(struct virtio_net_hdr_v1))

struct net_tap {
	struct net_backend backend;
	unsigned int attached; /* queues that the host sends frames to */
};

static struct net_tap *tap_of(struct net_backend *backend)
{
	return container_of(backend, struct net_tap, backend);
}

/* Offloads ---------------------------------------------------------------------------------------*/

static unsigned int tun_offloads(uint64_t features)
{
	static const struct {
		unsigned int feature, flag;
	} table[] = {
		{ VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4 },   { VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6 },
		{ VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN }, { VIRTIO_NET_F_GUEST_UFO, TUN_F_UFO },
		{ VIRTIO_NET_F_GUEST_USO4, TUN_F_USO4 },   { VIRTIO_NET_F_GUEST_USO6, TUN_F_USO6 },
	};
	unsigned int flags = TUN_F_CSUM;

	if (!(features & NET_FEATURE(GUEST_CSUM)))
		return 0; /* all others build on it: 5.1.3.1 */
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (features & 1ull << table[i].feature)
			flags |= table[i].flag;
	/* Linux takes both or none. */
	if ((flags & (TUN_F_USO4 | TUN_F_USO6)) != (TUN_F_USO4 | TUN_F_USO6))
		flags &= ~(unsigned int)(TUN_F_USO4 | TUN_F_USO6);
	return flags;
}

static int tap_set_offloads(struct net_backend *backend, uint64_t features)
{
	return ioctl(backend->fds[0], TUNSETOFFLOAD, (unsigned long)tun_offloads(features)) < 0
		       ? -errno
		       : 0;
}

static bool tap_can(int fd, unsigned int flags)
{
	return ioctl(fd, TUNSETOFFLOAD, (unsigned long)flags) == 0;
}

/* By asking for each; the last question leaves the tap without any. */
static uint64_t probe_features(int fd)
{
	uint64_t features = 0;

	if (tap_can(fd, TUN_F_CSUM))
		features |= NET_FEATURE(CSUM) | NET_FEATURE(GUEST_CSUM);
	if (tap_can(fd, TUN_F_CSUM | TUN_F_TSO))
		features |= NET_FEATURE(HOST_TSO4) | NET_FEATURE(HOST_TSO6) |
			    NET_FEATURE(HOST_ECN) | NET_FEATURE(GUEST_TSO4) |
			    NET_FEATURE(GUEST_TSO6) | NET_FEATURE(GUEST_ECN);
	/* USO cuts datagrams, UFO fragments them: the older and worse of the two. */
	if (tap_can(fd, TUN_F_CSUM | TUN_F_USO4 | TUN_F_USO6))
		features |= NET_FEATURE(HOST_USO) | NET_FEATURE(GUEST_USO4) |
			    NET_FEATURE(GUEST_USO6);
	else if (tap_can(fd, TUN_F_CSUM | TUN_F_UFO))
		features |= NET_FEATURE(HOST_UFO) | NET_FEATURE(GUEST_UFO);
	return tap_can(fd, 0) ? features : 0;
}

/* Queues -----------------------------------------------------------------------------------------*/

static int switch_queue(int fd, bool attach)
{
	struct ifreq request = {
		.ifr_flags = (short)(attach ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE),
	};

	return ioctl(fd, TUNSETQUEUE, &request) < 0 ? -errno : 0;
}

static int tap_set_pairs(struct net_backend *backend, unsigned int pairs)
{
	struct net_tap *tap = tap_of(backend);

	while (tap->attached != pairs) {
		const bool attach = tap->attached < pairs;
		int ret = switch_queue(backend->fds[attach ? tap->attached : tap->attached - 1],
				       attach);

		if (ret < 0)
			return ret;
		tap->attached += attach ? 1u : -1u;
	}
	return 0;
}

static void tap_destroy(struct net_backend *backend)
{
	for (unsigned int i = 0; i < NET_QUEUE_PAIRS_MAX; i++)
		close_fd(&backend->fds[i]);
	free(tap_of(backend));
}

static const struct net_backend_ops tap_ops = {
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
	.destroy = tap_destroy,
};

/* Opening ----------------------------------------------------------------------------------------*/

static int refuse(const struct net_tap_params *params, int code, struct error *err)
{
	switch (-code) {
	case EBUSY:
		return error_set(err, code, "net %s: tap %s is in use", params->net, params->tap);
	case EPERM:
		return error_set(err, code, "net %s: tap %s is not ours to open, or to make",
				 params->net, params->tap);
	case EINVAL:
		return error_set(err, code, "net %s: %s is not a tap that can be used%s",
				 params->net, params->tap,
				 params->pairs > 1 ? " with several queues" : "");
	default:
		return error_set_errno(err, code, "net %s: cannot open tap %s", params->net,
				       params->tap);
	}
}

static int bind_tap(int fd, const char *name, short flags)
{
	struct ifreq request = { .ifr_flags = flags };

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	return ioctl(fd, TUNSETIFF, &request) < 0 ? -errno : 0;
}

static int open_queue(struct net_tap *tap, const struct net_tap_params *params, unsigned int index,
		      struct error *err)
{
	const bool many = params->pairs > 1;
	int *fd = &tap->backend.fds[index];
	int ret;

	*fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (*fd < 0)
		return error_set_errno(err, errno, "net %s: cannot open /dev/net/tun", params->net);
	ret = bind_tap(*fd, params->tap, (short)(TAP_FLAGS | (many ? IFF_MULTI_QUEUE : 0)));
	/* One that was made for several queues can be used with one. */
	if (ret == -EINVAL && !many)
		ret = bind_tap(*fd, params->tap, (short)(TAP_FLAGS | IFF_MULTI_QUEUE));
	return ret < 0 ? refuse(params, ret, err) : 0;
}

static int open_by_name(struct net_tap *tap, const struct net_tap_params *params, struct error *err)
{
	int ret = 0;

	/* A percent sign would make Linux choose a name. */
	if (!*params->tap || strlen(params->tap) >= IFNAMSIZ || strpbrk(params->tap, "%/"))
		return error_set(err, EINVAL, "net %s: '%s' is not the name of an interface",
				 params->net, params->tap);
	for (unsigned int i = 0; i < params->pairs && ret == 0; i++)
		ret = open_queue(tap, params, i, err);
	return ret;
}

static int adopt(struct net_tap *tap, const struct net_tap_params *params, struct error *err)
{
	struct ifreq request = { 0 };

	tap->backend.fds[0] = params->fd;
	if (params->pairs != 1)
		return error_set(err, EINVAL, "net %s: a descriptor is one queue pair, not %u",
				 params->net, params->pairs);
	if (ioctl(params->fd, TUNGETIFF, &request) < 0)
		return error_set(err, EINVAL, "net %s: descriptor %d is not a tap", params->net,
				 params->fd);
	if ((request.ifr_flags & (TAP_FLAGS | IFF_TUN)) != TAP_FLAGS)
		return error_set(err, EINVAL,
				 "net %s: descriptor %d is not a tap with IFF_NO_PI and "
				 "IFF_VNET_HDR",
				 params->net, params->fd);
	if (fcntl(params->fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0 ||
	    fcntl(params->fd, F_SETFD, FD_CLOEXEC) < 0)
		return error_set_errno(err, errno, "net %s: descriptor %d", params->net,
				       params->fd);
	return 0;
}

static int set_up(struct net_tap *tap, const struct net_tap_params *params, struct error *err)
{
	int size = HEADER_SIZE;

	tap->backend.pairs = tap->attached = params->pairs;
	for (unsigned int i = 0; i < params->pairs; i++)
		if (ioctl(tap->backend.fds[i], TUNSETVNETHDRSZ, &size) < 0)
			return error_set_errno(err, errno,
					       "net %s: the tap has no header of %d bytes",
					       params->net, size);
	tap->backend.features = probe_features(tap->backend.fds[0]);
	return 0;
}

int net_tap_open(struct net_backend **out, const struct net_tap_params *params, struct error *err)
{
	struct net_tap *tap = calloc(1, sizeof(*tap));
	int ret;

	if (!tap) {
		if (!params->tap)
			close(params->fd);
		return error_set(err, ENOMEM, "net %s: out of memory", params->net);
	}
	tap->backend.ops = &tap_ops;
	for (unsigned int i = 0; i < NET_QUEUE_PAIRS_MAX; i++)
		tap->backend.fds[i] = -1;
	ret = params->tap ? open_by_name(tap, params, err) : adopt(tap, params, err);
	if (ret == 0)
		ret = set_up(tap, params, err);
	if (ret < 0) {
		tap_destroy(&tap->backend);
		return ret;
	}
	*out = &tap->backend;
	return 0;
}
