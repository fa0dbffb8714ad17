/* State files of earlier versions must be read for good: each golden file was written by the version that its
 * number names, and stays. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>

#include "snapshot/state_file.h"
#include "virtio/virtio_device_state.h"
#include "vmm/clock_state.h"
#include "vmm/config_state.h"
#include "vmm/irq_state.h"
#include "vmm/legacy/legacy_state.h"
#include "vmm/snapshot_info.h"
#include "vmm/vcpu_state.h"

static struct state_file file;

static void init(void)
{
	cleanup_fd int fd = open("tests/unit/golden/snapshot-1.state", O_RDONLY | O_CLOEXEC);
	struct error err = { 0 };

	cr_assert_geq(fd, 0, "run the tests from the top of the tree");
	cr_assert_eq(state_file_read(&file, fd, "golden", &err), 0, "%s", err.text);
}

static void fini(void)
{
	state_file_fini(&file);
}

TestSuite(snapshot_golden, .init = init, .fini = fini);

static void *get(const struct state_desc *table)
{
	void *state = malloc(table->size);
	struct error err = { 0 };

	cr_assert_not_null(state);
	cr_assert_eq(state_file_get(&file, table, 0, state, &err), 0, "%s", err.text);
	return state;
}

Test(snapshot_golden, version_1)
{
	struct saved_config *config cleanup_free = get(&saved_config_desc);
	struct snapshot_info *info cleanup_free = get(&snapshot_info_desc);
	struct vcpu_state *vcpu cleanup_free = get(&vcpu_state_desc);
	struct virtio_device_state *drive cleanup_free = get(&virtio_device_state_desc);
	struct irq_state *irq cleanup_free = get(&irq_state_desc);
	struct cpuid_state *cpuid cleanup_free = get(&cpuid_state_desc);

	free(get(&clock_state_desc));
	free(get(&serial_state_desc));
	free(get(&i8042_state_desc));
	cr_expect_eq(file.count, 10);
	cr_expect_eq(config->memory, MIB(128));
	cr_expect_eq(config->vcpus, 1);
	cr_expect_eq(config->drive_count, 1);
	cr_expect_str_eq(config->drives[0].id, "rootfs");
	cr_expect_eq(info->memory, MIB(128));
	cr_expect_str_eq(info->host_kernel, "6.12.0-10-amd64");
	cr_expect_eq(vcpu->regs.rip >> 12, 0x100);
	cr_expect_eq(vcpu->sregs.cs.l, 1);
	cr_expect_gt(vcpu->msr_count, 10);
	cr_expect_eq(drive->id, 2);
	cr_expect_eq(drive->queue_count, 1);
	cr_expect_eq(irq->entries[4], 1u << 16);
	cr_expect_gt(cpuid->entry_count, 5);
}
