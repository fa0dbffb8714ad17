/* A virtio-mmio device as the guest is told of it: where its registers are and which line it raises. */
#pragma once

#include <stdint.h>

struct boot_device {
	uint64_t gpa;  /* first register; page-aligned, below 4 GiB */
	uint32_t size; /* of the register window, bytes, a multiple of KiB */
	uint32_t gsi;  /* pin of the IOAPIC, LAYOUT_GSI_VIRTIO to LAYOUT_IOAPIC_PINS - 1 */
};
