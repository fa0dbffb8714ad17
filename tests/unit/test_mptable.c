#include "test_boot.h"
#include "vmm/boot/acpi_table.h"
#include "vmm/boot/mptable.h"

static uint32_t read_u32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

Test(mptable, has_cpus_bus_ioapic_and_every_pin)
{
	static const uint8_t entry_size[] = { 20, 8, 8, 8, 8 };
	struct guest_memory mem = test_memory(128);
	unsigned int seen[5] = { 0 };
	const uint8_t *floating, *table, *entry;

	cr_assert_eq(mptable_write(&mem, 3, NULL), 0);
	floating = guest_ptr(&mem, LAYOUT_MP_FLOATING, 16);
	cr_expect_eq(memcmp(floating, "_MP_", 4), 0);
	cr_expect_eq(acpi_checksum(floating, 16), 0);
	cr_expect_eq(floating[9], 4, "MP 1.4");

	table = guest_ptr(&mem, read_u32(floating + 4), 44);
	cr_expect_eq(memcmp(table, "PCMP", 4), 0);
	cr_expect_eq(acpi_checksum(table, read_u32(table + 4) & 0xffff), 0);
	cr_expect_eq(read_u32(table + 36), LAYOUT_LAPIC);

	entry = table + 44;
	while (entry < table + (read_u32(table + 4) & 0xffff)) {
		cr_assert_lt(entry[0], 5);
		if (entry[0] == 0) {
			cr_expect_eq(entry[1], seen[0], "APIC ids from 0");
			cr_expect_eq(entry[3], seen[0] ? 1 : 3, "the first one boots");
		}
		if (entry[0] == 3) {
			cr_expect_eq(entry[5], seen[3], "ISA interrupt");
			cr_expect_eq(entry[7], seen[3], "pin");
			cr_expect_eq(entry[6], 3, "the IOAPIC's id, not a CPU's");
		}
		seen[entry[0]]++;
		entry += entry_size[entry[0]];
	}
	cr_expect_eq(seen[0], 3);
	cr_expect_eq(seen[1], 1);
	cr_expect_eq(seen[2], 1);
	cr_expect_eq(seen[3], LAYOUT_IOAPIC_PINS);
	cr_expect_eq(seen[4], 2);
	cr_expect_eq(read_u32(table + 32) >> 16, 3 + 1 + 1 + LAYOUT_IOAPIC_PINS + 2, "entries");
	guest_memory_fini(&mem);
}

Test(mptable, refuses_impossible_machines)
{
	struct guest_memory mem = test_memory(128);
	struct error err = { 0 };

	cr_expect_eq(mptable_write(&mem, 32, &err), 0);
	cr_expect_eq(mptable_write(&mem, 0, &err), -EINVAL);
	cr_expect_eq(mptable_write(&mem, 33, &err), -EINVAL);
	cr_expect_str_eq(err.text, "MP table: 33 vCPUs; there can be 1 to 32");
	guest_memory_fini(&mem);
	cr_expect_eq(mptable_write(&mem, 1, &err), -EFAULT);
}
