#include <ftw.h>
#include <stdio.h>
#include <sys/wait.h>

#include "test_boot.h"
#include "vmm/boot/acpi.h"
#include "vmm/boot/acpi_table.h"
#include "vmm/boot/aml.h"
#include "vmm/vmgenid.h"

static struct guest_memory written(unsigned int vcpus, unsigned int device_count)
{
	struct boot_device devices[LAYOUT_VIRTIO_DEVICES_MAX];
	struct guest_memory mem = test_memory(128);
	struct error err = { 0 };
	uint64_t rsdp = 0;

	for (unsigned int i = 0; i < device_count; i++)
		devices[i] = (struct boot_device){ LAYOUT_VIRTIO_MMIO + i * LAYOUT_VIRTIO_MMIO_SIZE,
						   LAYOUT_VIRTIO_MMIO_SIZE, LAYOUT_GSI_VIRTIO + i };
	cr_assert_eq(acpi_write(&mem,
				&(struct acpi_config){ .vcpus = vcpus,
						       .devices = devices,
						       .device_count = device_count },
				&rsdp, &err),
		     0, "%s", err.text);
	cr_assert_eq(rsdp, LAYOUT_ACPI);
	return mem;
}

static uint64_t read_u64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint32_t table_length(const uint8_t *table)
{
	uint32_t length;

	memcpy(&length, table + offsetof(struct acpi_header, length), sizeof(length));
	return length;
}

/* A table by its address, with its frame checked. */
static const uint8_t *table_at(const struct guest_memory *mem, uint64_t gpa)
{
	const uint8_t *table = guest_ptr(mem, gpa, sizeof(struct acpi_header));

	cr_assert_not_null(table);
	cr_assert_not_null(guest_ptr(mem, gpa, table_length(table)));
	cr_expect_eq(acpi_checksum(table, table_length(table)), 0, "%.4s", (const char *)table);
	cr_expect_eq(memcmp(table + 10, "MAYFLYMICROVM ", 14), 0);
	return table;
}

static const uint8_t *xsdt(const struct guest_memory *mem)
{
	const uint8_t *rsdp = guest_ptr(mem, LAYOUT_ACPI, 36);

	return table_at(mem, read_u64(rsdp + 24));
}

/* The table with this signature; the DSDT is found through the FADT. */
static const uint8_t *find(const struct guest_memory *mem, const char *signature)
{
	const uint8_t *root = xsdt(mem);

	if (!strcmp(signature, "DSDT"))
		return table_at(mem, read_u64(find(mem, "FACP") + 140));
	for (uint32_t at = 36; at < table_length(root); at += 8) {
		const uint8_t *table = table_at(mem, read_u64(root + at));

		if (!memcmp(table, signature, 4))
			return table;
	}
	cr_assert_fail("no %s", signature);
	return NULL;
}

Test(acpi, the_root_pointer_is_whole)
{
	struct guest_memory mem = written(1, 0);
	const uint8_t *rsdp = guest_ptr(&mem, LAYOUT_ACPI, 36);

	cr_expect_eq(memcmp(rsdp, "RSD PTR ", 8), 0);
	cr_expect_eq(acpi_checksum(rsdp, 20), 0);
	cr_expect_eq(acpi_checksum(rsdp, 36), 0);
	cr_expect_eq(rsdp[15], 2);
	cr_expect_eq(table_length(xsdt(&mem)), 36 + 2 * 8);
	guest_memory_fini(&mem);
}

Test(acpi, madt_has_every_cpu_and_the_ioapic)
{
	struct guest_memory mem = written(LAYOUT_VCPUS_MAX, 1);
	const uint8_t *madt = find(&mem, "APIC");

	cr_expect_eq(table_length(madt), 44 + 32 * 8 + 12);
	for (unsigned int i = 0; i < LAYOUT_VCPUS_MAX; i++)
		cr_expect_eq(memcmp(madt + 44 + i * 8,
				    (uint8_t[]){ 0, 8, (uint8_t)i, (uint8_t)i, 1, 0, 0, 0 }, 8),
			     0);
	cr_expect_eq(memcmp(madt + 44 + 32 * 8,
			    (uint8_t[]){ 1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0 }, 12),
		     0);
	guest_memory_fini(&mem);
}

Test(acpi, fadt_is_hardware_reduced_with_reset_and_sleep)
{
	struct guest_memory mem = written(1, 1);
	const uint8_t *fadt = find(&mem, "FACP");
	static const uint8_t port[] = { 1, 8, 0, 1 };

	cr_expect_eq(table_length(fadt), 276);
	cr_expect_eq(fadt[8], 6);
	cr_expect_eq(fadt[114] & 0x10, 0x10, "HW_REDUCED_ACPI");
	cr_expect_eq(fadt[109] & 0x02, 0x02, "8042");
	cr_expect_eq(memcmp(fadt + 116, port, sizeof(port)), 0);
	cr_expect_eq(read_u64(fadt + 120), 0x64);
	cr_expect_eq(fadt[128], 0xfe);
	cr_expect_eq(read_u64(fadt + 248), LAYOUT_PORT_SLEEP_CONTROL);
	cr_expect_eq(read_u64(fadt + 260), LAYOUT_PORT_SLEEP_STATUS);
	guest_memory_fini(&mem);
}

Test(acpi, vmgenid_has_its_place_between_the_tables)
{
	static const uint8_t address[] = { 0x08, 'A',  'D',  'D',  'R',	 0x12, 0x08,
					   2,	 0x0c, 0x30, 0x00, 0x0e, 0x00, 0x00 };
	static const uint8_t none[VMGENID_SIZE];
	struct guest_memory mem = written(1, 0);
	const uint8_t *dsdt = find(&mem, "DSDT");

	cr_expect_eq(memcmp(guest_ptr(&mem, LAYOUT_VMGENID, VMGENID_SIZE), none, VMGENID_SIZE), 0);
	cr_expect_not_null(memmem(dsdt, table_length(dsdt), address, sizeof(address)));
	guest_memory_fini(&mem);
}

Test(acpi, vmclock_has_its_page)
{
	/* Memory32Fixed, writable, from 0xef000, 0x1000 bytes: ACPI 6.5, section 6.4.3.4. */
	static const uint8_t page[] = { 0x86, 9, 0, 1, 0x00, 0xf0, 0x0e, 0x00, 0x00, 0x10, 0, 0 };
	struct guest_memory mem = written(1, 0);
	const uint8_t *dsdt = find(&mem, "DSDT");

	cr_expect_not_null(memmem(dsdt, table_length(dsdt), "AMZNC10C", 8));
	cr_expect_not_null(memmem(dsdt, table_length(dsdt), page, sizeof(page)));
	guest_memory_fini(&mem);
}

Test(acpi, a_small_machine_takes_one_page)
{
	struct guest_memory mem = written(1, 4);

	cr_expect(test_untouched(&mem, LAYOUT_ACPI + PAGE_SIZE, LAYOUT_ACPI_MAX - PAGE_SIZE));
	guest_memory_fini(&mem);
}

Test(acpi, refuses_impossible_machines)
{
	struct guest_memory mem = test_memory(128);
	struct acpi_config config = { .vcpus = 33 };
	struct error err = { 0 };
	uint64_t rsdp;

	cr_expect_eq(acpi_write(&mem, &config, &rsdp, &err), -EINVAL);
	cr_expect_str_eq(err.text, "ACPI: 33 vCPUs; there can be 1 to 32");
	config = (struct acpi_config){ .vcpus = 1, .device_count = 44 };
	cr_expect_eq(acpi_write(&mem, &config, &rsdp, &err), -EINVAL);
	cr_expect_str_eq(err.text, "ACPI: 44 virtio devices; there can be 43");
	guest_memory_fini(&mem);
	config.device_count = 0;
	cr_expect_eq(acpi_write(&mem, &config, &rsdp, &err), -EFAULT);
}

Test(acpi, a_full_buffer_is_noticed_at_any_length)
{
	uint8_t bytes[256];

	for (size_t size = 0; size < sizeof(bytes); size++) {
		struct acpi_writer w = { .data = bytes, .size = size };
		size_t table = acpi_table_begin(&w, "TEST", 1);
		size_t scope = aml_begin_scope(&w, "_SB_");
		size_t device = aml_begin_device(&w, "DEV0");
		size_t resources;

		memset(bytes, 0xee, sizeof(bytes));
		aml_name_string(&w, "_HID", "LNRO0005");
		aml_name_eisa_id(&w, "_CID", "PNP0501");
		aml_name_integer(&w, "_UID", 300);
		aml_name_package(&w, "PACK", (uint32_t[]){ 0, 1, 2 }, 3);
		resources = aml_begin_resources(&w);
		aml_resource_io(&w, 0x3f8, 8);
		aml_end_resources(&w, resources);
		aml_end(&w, device);
		aml_end(&w, scope);
		acpi_table_end(&w, table);
		cr_assert_eq(w.full, size < 118, "%zu bytes, %zu used", size, w.len);
		for (size_t i = size; i < sizeof(bytes); i++)
			cr_assert_eq(bytes[i], 0xee, "wrote beyond %zu", size);
	}
}

static void save(const char *directory, const char *name, const uint8_t *table)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s.dat", directory, name);
	file = fopen(path, "we");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(table, table_length(table), 1, file), 1);
	fclose(file);
}

/* Disassembles and compiles again; 0 when iasl found nothing to say against it. */
static int iasl_accepts(const char *directory, const char *name)
{
	char command[512];

	snprintf(
		command, sizeof(command),
		"cd %s && iasl -d %s.dat >out 2>&1 && iasl -we %s.dsl >>out 2>&1 && "
		"grep -qE '(^|[^0-9])0 Errors|Table Input' out && ! grep -qE ' [1-9][0-9]* Errors' out "
		"|| { cat out; false; }",
		directory, name, name);
	return system(command); /* NOLINT: fixed words only */
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void check_with_iasl(unsigned int vcpus, unsigned int device_count)
{
	static const char *const names[] = { "DSDT", "FACP", "APIC" };
	struct guest_memory mem = written(vcpus, device_count);
	char directory[] = "/tmp/mayfly-acpi-XXXXXX";

	if (system("command -v iasl >/dev/null 2>&1")) /* NOLINT: fixed words only */
		cr_skip("iasl is not installed (Debian package acpica-tools)");
	cr_assert_not_null(mkdtemp(directory));
	save(directory, "XSDT", xsdt(&mem));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		save(directory, names[i], find(&mem, names[i]));
		cr_expect_eq(iasl_accepts(directory, names[i]), 0, "%s", names[i]);
	}
	cr_expect_eq(iasl_accepts(directory, "XSDT"), 0, "XSDT");
	nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	guest_memory_fini(&mem);
}

Test(acpi, iasl_accepts_the_smallest_machine)
{
	check_with_iasl(1, 0);
}

Test(acpi, iasl_accepts_the_largest_machine)
{
	check_with_iasl(LAYOUT_VCPUS_MAX, LAYOUT_VIRTIO_DEVICES_MAX);
}
