#include "vmm/bus.h"

#include <string.h>

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *dev)
{
	unsigned int at = 0;

	if (bus->count == BUS_RANGES_MAX)
		return -ENOSPC;
	while (at < bus->count && bus->ranges[at].base < base)
		at++;
	if (at > 0 && base - bus->ranges[at - 1].base < bus->ranges[at - 1].size)
		return -EEXIST;
	if (at < bus->count && bus->ranges[at].base - base < size)
		return -EEXIST;

	memmove(&bus->ranges[at + 1], &bus->ranges[at], (bus->count - at) * sizeof(bus->ranges[0]));
	bus->ranges[at] = (struct bus_range){ base, size, ops, dev };
	bus->count++;
	return 0;
}

static const struct bus_range *find(const struct bus *bus, uint64_t addr, unsigned int len)
{
	unsigned int low = 0, high = bus->count;

	while (low < high) {
		unsigned int mid = (low + high) / 2;
		const struct bus_range *range = &bus->ranges[mid];

		if (addr < range->base)
			high = mid;
		else if (addr - range->base >= range->size)
			low = mid + 1;
		else
			return len <= range->size - (addr - range->base) ? range : NULL;
	}
	return NULL;
}

void bus_read(const struct bus *bus, uint64_t addr, void *data, unsigned int len)
{
	const struct bus_range *range = find(bus, addr, len);

	if (range)
		range->ops->read(range->dev, addr - range->base, data, len);
	else
		memset(data, 0xff, len);
}

void bus_write(const struct bus *bus, uint64_t addr, const void *data, unsigned int len)
{
	const struct bus_range *range = find(bus, addr, len);

	if (range)
		range->ops->write(range->dev, addr - range->base, data, len);
}
