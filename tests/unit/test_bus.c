#include <criterion/criterion.h>
#include <string.h>

#include "vmm/bus.h"

static uint64_t last_offset;

static void note_read(void *dev, uint64_t offset, void *data, unsigned int len)
{
	last_offset = offset;
	memset(data, *(const int *)dev, len);
}

static void note_write(void *dev, uint64_t offset, const void *data, unsigned int len)
{
	(void)data;
	(void)len;
	last_offset = offset;
	++*(int *)dev;
}

static const struct bus_ops ops = { note_read, note_write };

Test(bus, finds_the_device_by_address)
{
	struct bus bus = { 0 };
	int low = 1, high = 2;
	uint8_t byte;

	cr_assert_eq(bus_add(&bus, 0x2000, 0x1000, &ops, &high), 0);
	cr_assert_eq(bus_add(&bus, 0x1000, 0x1000, &ops, &low), 0);
	bus_read(&bus, 0x1fff, &byte, 1);
	cr_expect_eq(byte, 1);
	cr_expect_eq(last_offset, 0xfff);
	bus_read(&bus, 0x2000, &byte, 1);
	cr_expect_eq(byte, 2);
	cr_expect_eq(last_offset, 0);
}

Test(bus, nobody_home_reads_ones_and_swallows_writes)
{
	struct bus bus = { 0 };
	int dev = 0;
	uint32_t value = 0;

	cr_assert_eq(bus_add(&bus, 0x1000, 0x10, &ops, &dev), 0);
	bus_read(&bus, 0x1010, &value, 4);
	cr_expect_eq(value, 0xffffffff);
	bus_write(&bus, 0xfff, &value, 1);
	cr_expect_eq(dev, 0);
	/* An access across the end of a range is nobody's. */
	bus_write(&bus, 0x100e, &value, 4);
	cr_expect_eq(dev, 0);
	bus_write(&bus, 0x100c, &value, 4);
	cr_expect_eq(dev, 1);
}

Test(bus, refuses_overlap_and_too_many)
{
	struct bus bus = { 0 };
	int dev = 0;

	cr_assert_eq(bus_add(&bus, 0x1000, 0x1000, &ops, &dev), 0);
	cr_expect_eq(bus_add(&bus, 0x1fff, 1, &ops, &dev), -EEXIST);
	cr_expect_eq(bus_add(&bus, 0x800, 0x801, &ops, &dev), -EEXIST);
	cr_expect_eq(bus_add(&bus, 0x1000, 1, &ops, &dev), -EEXIST);
	for (unsigned int i = 1; i < BUS_RANGES_MAX; i++)
		cr_assert_eq(bus_add(&bus, 0x10000 * i, 1, &ops, &dev), 0);
	cr_expect_eq(bus_add(&bus, 0x100, 1, &ops, &dev), -ENOSPC);
}
