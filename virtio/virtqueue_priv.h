/* Private to virtio/virtqueue*.c: fields of the rings in guest memory, each read exactly once. */
#pragma once

#include "virtio/virtqueue.h"

/* VIRTIO 1.2 is little-endian (2.7.1), and so is every host that we build for. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "rings would need byte swapping");

static inline uint16_t load_relaxed16(const uint16_t *field)
{
	return __atomic_load_n(field, __ATOMIC_RELAXED);
}

/* The driver's: "interrupt me once you have passed this used index". Behind its last entry. */
static inline const uint16_t *used_event(const struct virtqueue *vq)
{
	return &vq->avail->ring[vq->layout.size];
}

/* Ours: "notify me once you have passed this available index". 2-byte aligned by layout. */
static inline uint16_t *avail_event(const struct virtqueue *vq)
{
	return (uint16_t *)(void *)&vq->used->ring[vq->layout.size];
}
