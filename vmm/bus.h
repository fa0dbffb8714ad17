/*
 * A bus: which device answers at which address. One for I/O ports, one for memory-mapped I/O.
 *
 * Filled before the vCPUs run and constant afterwards, so vCPU threads look up without a lock.
 * The callbacks run on whichever vCPU thread made the access, several at once; a device brings
 * its own lock. They get the offset into their range and never an access across its end.
 */
#pragma once

#include "base/error.h"

#define BUS_RANGES_MAX 64

struct bus_ops {
	/* Fills all of data[len]; len is 1, 2, 4 or 8. */
	void (*read)(void *dev, uint64_t offset, void *data, unsigned int len);
	void (*write)(void *dev, uint64_t offset, const void *data, unsigned int len);
};

struct bus_range {
	uint64_t base, size;
	const struct bus_ops *ops;
	void *dev;
};

struct bus {
	struct bus_range ranges[BUS_RANGES_MAX]; /* ascending by base */
	unsigned int count;
};

/* -EEXIST when it overlaps another range, -ENOSPC when the bus is full. */
must_check int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops,
		       void *dev);

/* An address where nothing lives reads as all ones and swallows writes, as on a PC. */
void bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len);
void bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len);
