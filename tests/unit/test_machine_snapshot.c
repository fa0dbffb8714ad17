/* Machines saved and taken up again, in one process: their guests are a few instructions. */
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "tests/unit/payload_machine.h"
#include "vmm/layout.h"
#include "vmm/machine_priv.h"
#include "vmm/machine_snapshot.h"
#include "vmm/vcpu_state.h"

#define PATIENCE_MS 20000
#define MSR_LSTAR 0xc0000082u

static struct payload guest;
static char folder[] = "/tmp/mayfly-snapshot-XXXXXX";
static char state_path[64], memory_path[64];
static struct machine_snapshot *snapshot;
static uint8_t expected;

static void init(void)
{
	expected = 0xff;
	cr_assert_not_null(mkdtemp(folder));
	snprintf(state_path, sizeof(state_path), "%s/state", folder);
	snprintf(memory_path, sizeof(memory_path), "%s/memory", folder);
}

static void fini(void)
{
	payload_fini(&guest);
	machine_snapshot_close(snapshot);
	unlink(state_path);
	unlink(memory_path);
	cr_expect_eq(rmdir(folder), 0, "something was left in the folder");
}

TestSuite(machine_snapshot, .init = init, .fini = fini);

static size_t follow(int ms)
{
	uint8_t bytes[4096];
	size_t total = 0, got;

	while ((got = payload_read(&guest, bytes, sizeof(bytes), total ? 0 : ms)) > 0) {
		for (size_t i = 0; i < got; i++)
			cr_assert_eq(bytes[i], expected--, "an output was lost or done twice");
		total += got;
	}
	return total;
}

static void drain(void)
{
	while (follow(50) > 0)
		;
}

static void start(unsigned int vcpus)
{
	payload_init(&guest, payload_count_down, sizeof(payload_count_down));
	guest.config.vcpus = vcpus;
	payload_build(&guest);
	machine_start(guest.machine);
	cr_assert_gt(follow(PATIENCE_MS), 0);
}

static int save(struct error *err)
{
	const struct save_request request = { .state_path = state_path,
					      .memory_path = memory_path };
	struct save_result result;

	return machine_save(guest.machine, &request, &result, err);
}

static void pause_and_save(void)
{
	struct error err = { 0 };

	machine_pause(guest.machine);
	cr_assert_eq(save(&err), 0, "%s", err.text);
	drain();
}

static int open_files(struct machine_snapshot **out, struct error *err)
{
	const struct snapshot_file state = { .path = state_path, .fd = -1 },
				   memory = { .path = memory_path, .fd = -1 };

	return machine_snapshot_open(out, &state, &memory, err);
}

static void open_snapshot(void)
{
	struct error err = { 0 };

	machine_snapshot_close(snapshot);
	snapshot = NULL;
	cr_assert_eq(open_files(&snapshot, &err), 0, "%s", err.text);
}

static void prepare(void)
{
	struct vm_config *config = machine_snapshot_config(snapshot);
	struct error err = { 0 };

	config->has_console = true;
	config->console_fd = guest.console[1];
	cr_assert_eq(vm_config_check_shape(config, &err), 0, "%s", err.text);
	cr_assert_eq(machine_prepare(&guest.machine, config, &guest.timeline, &err), 0, "%s",
		     err.text);
}

static void restore(void)
{
	const struct adopt_options options = { 0 };
	struct error err = { 0 };

	open_snapshot();
	prepare();
	cr_assert_eq(machine_adopt(guest.machine, snapshot, &options, &err), 0, "%s", err.text);
	cr_expect(guest.machine->paused);
}

static void read_generation(uint8_t out[static VMGENID_SIZE])
{
	const void *id = guest_ptr(&guest.machine->memory, LAYOUT_VMGENID, VMGENID_SIZE);

	cr_assert_eq(guest.machine->vmgenid.gpa, LAYOUT_VMGENID);
	cr_assert_not_null(id);
	memcpy(out, id, VMGENID_SIZE);
}

Test(machine_snapshot, every_clone_is_a_generation_of_its_own)
{
	static const uint8_t none[VMGENID_SIZE];
	uint8_t generations[3][VMGENID_SIZE];

	start(1);
	pause_and_save();
	read_generation(generations[0]);
	cr_expect_neq(memcmp(generations[0], none, VMGENID_SIZE), 0);
	for (int i = 1; i < 3; i++) {
		machine_destroy(guest.machine);
		restore();
		read_generation(generations[i]);
		for (int j = 0; j < i; j++)
			cr_expect_neq(memcmp(generations[i], generations[j], VMGENID_SIZE), 0);
	}
}

Test(machine_snapshot, a_restored_guest_goes_on_where_it_was)
{
	start(1);
	for (int i = 0; i < 5; i++) {
		pause_and_save();
		machine_destroy(guest.machine);
		restore();
		cr_expect_eq(follow(50), 0, "a machine that is paused writes");
		machine_resume(guest.machine);
		cr_assert_gt(follow(PATIENCE_MS), 0, "the guest does not go on");
	}
}

static void set_lstar(uint64_t value)
{
	cr_assert_eq(vcpu_set_msr(&guest.machine->vcpus[0], MSR_LSTAR, value), 0);
}

static uint64_t lstar(void)
{
	uint64_t value;

	cr_assert_eq(vcpu_get_msr(&guest.machine->vcpus[0], MSR_LSTAR, &value), 0);
	return value;
}

/* A prepared machine's vCPU is not given what it has, but all that it has not. */
Test(machine_snapshot, what_a_vcpu_was_not_made_with_is_loaded)
{
	struct kvm_debugregs regs = { 0 };

	start(1);
	machine_pause(guest.machine);
	cr_assert_eq(ioctl(guest.machine->vcpus[0].fd, KVM_GET_DEBUGREGS, &regs), 0);
	regs.db[1] = 0x1234;
	cr_assert_eq(ioctl(guest.machine->vcpus[0].fd, KVM_SET_DEBUGREGS, &regs), 0);
	set_lstar(0x5678);
	pause_and_save();
	machine_destroy(guest.machine);
	restore();
	cr_assert_eq(ioctl(guest.machine->vcpus[0].fd, KVM_GET_DEBUGREGS, &regs), 0);
	cr_expect_eq(regs.db[1], 0x1234);
	cr_expect_eq(lstar(), 0x5678);
	machine_resume(guest.machine);
	cr_assert_gt(follow(PATIENCE_MS), 0);
}

/* Nor may it keep what a load that failed has left there. */
Test(machine_snapshot, what_a_failed_load_has_set_is_set_anew)
{
	const struct adopt_options options = { 0 };
	struct error err = { 0 };

	start(1);
	pause_and_save();
	machine_destroy(guest.machine);
	open_snapshot();
	prepare();
	/* What the first attempt has loaded before it failed. */
	set_lstar(0x5678);
	guest.machine->tried = true;
	cr_assert_eq(machine_adopt(guest.machine, snapshot, &options, &err), 0, "%s", err.text);
	cr_expect_eq(lstar(), 0);
	machine_resume(guest.machine);
	cr_assert_gt(follow(PATIENCE_MS), 0);
}

Test(machine_snapshot, the_saved_machine_goes_on_too)
{
	start(1);
	for (int i = 0; i < 3; i++) {
		pause_and_save();
		machine_resume(guest.machine);
		cr_assert_gt(follow(PATIENCE_MS), 0);
	}
}

Test(machine_snapshot, many_vcpus)
{
	start(8);
	pause_and_save();
	machine_destroy(guest.machine);
	restore();
	machine_resume(guest.machine);
	cr_assert_gt(follow(PATIENCE_MS), 0);
}

Test(machine_snapshot, memory_that_nobody_touched_is_a_hole)
{
	struct stat st;
	ssize_t len;
	char id[64];

	start(1);
	pause_and_save();
	cr_assert_eq(stat(memory_path, &st), 0);
	cr_expect_eq(st.st_size, (off_t)VM_MEMORY_DEFAULT);
	cr_expect_lt(st.st_blocks * 512, (off_t)MIB(4), "%ld", st.st_blocks * 512);
	len = getxattr(memory_path, "user.mayfly.snapshot", id, sizeof(id));
	cr_expect(len == 32 || (len < 0 && errno == ENOTSUP));
}

Test(machine_snapshot, only_a_paused_machine_is_saved)
{
	struct error err = { 0 };

	start(1);
	cr_expect_eq(save(&err), -EBUSY);
	cr_expect_str_eq(err.text, "save/restore unavailable while running");
	cr_expect_lt(access(state_path, F_OK), 0);
}

/* Room that nothing was read into is no file's: closing it leaves descriptor 0 alone. */
Test(machine_snapshot, is_opened_in_room_made_beforehand)
{
	const struct vm_config shape = { .drive_count = 1, .net_count = 1 };
	struct machine_snapshot *room = machine_snapshot_room(&shape);
	struct error err = { 0 };

	cr_assert_not_null(room);
	machine_snapshot_close(room);
	cr_expect_geq(fcntl(STDIN_FILENO, F_GETFD), 0);
	start(1);
	pause_and_save();
	room = snapshot = machine_snapshot_room(&shape);
	cr_assert_eq(open_files(&snapshot, &err), 0, "%s", err.text);
	cr_expect_eq(snapshot, room);
	machine_snapshot_close(snapshot);
	snapshot = machine_snapshot_room(&shape);
	cr_expect_eq(unlink(memory_path), 0);
	cr_expect_eq(open_files(&snapshot, &err), -ENOENT);
	cr_expect_null(snapshot);
}

static int try_open(struct error *err)
{
	struct machine_snapshot *other = NULL;
	int ret = open_files(&other, err);

	machine_snapshot_close(other);
	return ret;
}

Test(machine_snapshot, two_that_do_not_belong_together_are_refused)
{
	char kept[80];
	struct error err = { 0 };

	start(1);
	pause_and_save();
	if (getxattr(memory_path, "user.mayfly.snapshot", kept, sizeof(kept)) < 0)
		cr_skip_test("no user attributes in /tmp");
	snprintf(kept, sizeof(kept), "%s.old", state_path);
	cr_assert_eq(rename(state_path, kept), 0);
	pause_and_save();
	cr_assert_eq(rename(kept, state_path), 0);
	cr_expect_eq(try_open(&err), -EINVAL);
	cr_expect(strstr(err.text, "do not belong together"), "%s", err.text);
}

Test(machine_snapshot, a_memory_file_of_another_length_is_refused)
{
	struct error err = { 0 };

	start(1);
	pause_and_save();
	cr_assert_eq(truncate(memory_path, (off_t)VM_MEMORY_DEFAULT - PAGE_SIZE), 0);
	cr_expect_eq(try_open(&err), -EINVAL);
	cr_expect(strstr(err.text, "bytes, but the memory saved"), "%s", err.text);
}

Test(machine_snapshot, a_damaged_state_file_is_refused)
{
	struct error err = { 0 };
	struct stat st;
	int fd;

	start(1);
	pause_and_save();
	fd = open(state_path, O_RDWR | O_CLOEXEC);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(pwrite(fd, "x", 1, st.st_size / 2), 1);
	close_fd(&fd);
	cr_expect_eq(try_open(&err), -EINVAL);
	cr_expect(strstr(err.text, "damaged"), "%s", err.text);
	cr_assert_eq(truncate(state_path, 10), 0);
	cr_expect_eq(try_open(&err), -EINVAL);
	unlink(state_path);
	cr_expect_eq(try_open(&err), -ENOENT);
}

/* One that does not fit leaves the prepared machine as it was, for one that does. */
Test(machine_snapshot, a_failed_adoption_can_be_followed_by_another)
{
	const struct adopt_options options = { 0 };
	struct machine_snapshot *wrong = NULL;
	struct error err = { 0 };

	start(1);
	pause_and_save();
	cr_assert_eq(open_files(&wrong, &err), 0);
	payload_fini(&guest);
	expected = 0xff;
	start(2);
	pause_and_save();
	machine_destroy(guest.machine);
	open_snapshot();
	prepare();
	cr_expect_eq(machine_adopt(guest.machine, wrong, &options, &err), -EINVAL);
	cr_expect(strstr(err.text, "it has 1 vCPUs, the machine was prepared with 2"), "%s",
		  err.text);
	cr_assert_eq(machine_adopt(guest.machine, snapshot, &options, &err), 0, "%s", err.text);
	cr_expect_eq(machine_adopt(guest.machine, snapshot, &options, &err), -EBUSY);
	machine_resume(guest.machine);
	cr_assert_gt(follow(PATIENCE_MS), 0);
	machine_snapshot_close(wrong);
}
