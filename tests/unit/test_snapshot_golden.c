/* State files of earlier versions must be read for good: each golden file was written by the version that its
 * number names, and stays. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <string.h>

#include "snapshot/state_file.h"
#include "virtio/virtio_device_state.h"
#include "virtio/virtio_net_priv.h"
#include "vmm/clock_state.h"
#include "vmm/config_state.h"
#include "vmm/irq_state.h"
#include "vmm/legacy/legacy_state.h"
#include "vmm/mmds/mmds.h"
#include "vmm/snapshot_info.h"
#include "vmm/vcpu_state.h"
#include "vmm/vmclock.h"
#include "vmm/vmgenid.h"

static struct state_file file;

static void read_golden(const char *path)
{
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct error err = { 0 };

	cr_assert_geq(fd, 0, "run the tests from the top of the tree");
	cr_assert_eq(state_file_read(&file, fd, "golden", &err), 0, "%s", err.text);
}

static void fini(void)
{
	state_file_fini(&file);
}

TestSuite(snapshot_golden, .fini = fini);

static void *get_at(const struct state_desc *table, uint32_t index)
{
	void *state = malloc(table->size);
	struct error err = { 0 };

	cr_assert_not_null(state);
	cr_assert_eq(state_file_get(&file, table, index, state, &err), 0, "%s", err.text);
	return state;
}

static void *get(const struct state_desc *table)
{
	return get_at(table, 0);
}

static void version_1(void)
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
	cr_expect_eq(info->capability_count, 0);
	cr_expect_eq(config->pages, GUEST_PAGES_4K);
}

Test(snapshot_golden, version_1)
{
	read_golden("tests/unit/golden/snapshot-1.state");
	version_1();
}

/* What it has beside what version 1 had: a device of each kind, of which the second is the interface. */
static void version_2(void)
{
	struct saved_config *config cleanup_free = get(&saved_config_desc);
	struct snapshot_info *info cleanup_free = get(&snapshot_info_desc);
	struct vmgenid_state *generation cleanup_free = get(&vmgenid_state_desc);
	struct vmclock *clock cleanup_free = get(&vmclock_state_desc);
	struct mmds_config *mmds cleanup_free = get(&mmds_config_desc);
	struct net_state *net cleanup_free = get_at(&net_state_desc, 1);
	struct vcpu_state *second cleanup_free = get_at(&vcpu_state_desc, 1);

	cr_expect_eq(config->pages, GUEST_PAGES_TRANSPARENT);
	cr_expect_eq(config->drives[0].queue_size, 128);
	cr_expect_eq(config->drives[0].rate.ops.one_time_burst, 5);
	cr_expect_eq(config->nets[0].mtu, 1400);
	cr_expect(config->nets[0].mmds && config->nets[0].antispoof);
	cr_expect_str_eq(config->pmems[0].path, "/golden/pmem");
	cr_expect_eq(config->vsock.cid, 33);
	cr_expect(config->has_balloon && config->balloon.free_page_hinting && config->has_rng);
	cr_expect_geq(info->capability_count, 10);
	cr_expect_eq(generation->gpa, 0xe0030);
	cr_expect_eq(clock->gpa, 0xef000);
	cr_expect(mmds->v2 && mmds->imds_compat && mmds->ipv4[3] == 9);
	cr_expect_eq(net->mtu, 1400);
	cr_expect_eq(second->mp_state, KVM_MP_STATE_UNINITIALIZED);
}

Test(snapshot_golden, version_2)
{
	read_golden("tests/unit/golden/snapshot-2.state");
	version_2();
}

/* What a configuration has beside what that of version 2 had. */
static void version_3(void)
{
	struct saved_config *config cleanup_free = get(&saved_config_desc);

	cr_expect(config->smt);
	cr_expect_str_eq(config->kernel, "/golden/kernel");
	cr_expect_str_eq(config->initrd, "");
	cr_expect(config->drives[0].async);
	cr_expect_str_eq(config->drives[0].partuuid, "0eaa91a0-01");
}

Test(snapshot_golden, version_3)
{
	read_golden("tests/unit/golden/snapshot-3.state");
	version_2();
	version_3();
}
