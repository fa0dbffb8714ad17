/* A guest reads registers of devices and the IOAPIC as memory; what it writes is ours. */
#include <sys/ioctl.h>

#include "tests/unit/payload_machine.h"
#include "vmm/layout.h"
#include "vmm/machine_priv.h"

#define PATIENCE_MS 20000
#define READS 1000

/* Maps the first device's page, reads its magic word READS times, writes to it, says what it is then:
 *   mov $0xc0000083,%eax; movabs %rax,0xbff8; mov $0x3fe01000,%esi; mov $1000,%ecx
 *   1: mov (%rsi),%eax; dec %ecx; jnz 1b; mov %ecx,(%rsi); mov (%rsi),%eax
 *   mov $0x3f8,%dx; 3 times: out %al,%dx; shr $8,%eax; then out %al,%dx; 2: hlt; jmp 2b */
static const uint8_t read_registers[] = {
	0xb8, 0x83, 0x00, 0x00, 0xc0, 0x48, 0xa3, 0xf8, 0xbf, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0xbe, 0x00, 0x10, 0xe0, 0x3f, 0xb9, 0xe8, 0x03, 0x00, 0x00, 0x8b, 0x06, 0xff,
	0xc9, 0x75, 0xfa, 0x89, 0x0e, 0x8b, 0x06, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xc1, 0xe8,
	0x08, 0xee, 0xc1, 0xe8, 0x08, 0xee, 0xc1, 0xe8, 0x08, 0xee, 0xf4, 0xeb, 0xfd
};

/* The same of the IOAPIC's version, which it selects first; the word is the version:
 *   mov $0xfec00083,%eax; movabs %rax,0xbff8; mov $0x3fe00000,%esi; mov $1,%ecx; mov %ecx,(%rsi)
 *   mov $1000,%ecx; 1: mov 0x10(%rsi),%eax; dec %ecx; jnz 1b; the rest as above, without writing */
static const uint8_t read_ioapic[] = { 0xb8, 0x83, 0x00, 0xc0, 0xfe, 0x48, 0xa3, 0xf8, 0xbf, 0x00,
				       0x00, 0x00, 0x00, 0x00, 0x00, 0xbe, 0x00, 0x00, 0xe0, 0x3f,
				       0xb9, 0x01, 0x00, 0x00, 0x00, 0x89, 0x0e, 0xb9, 0xe8, 0x03,
				       0x00, 0x00, 0x8b, 0x46, 0x10, 0xff, 0xc9, 0x75, 0xf9, 0x66,
				       0xba, 0xf8, 0x03, 0xee, 0xc1, 0xe8, 0x08, 0xee, 0xc1, 0xe8,
				       0x08, 0xee, 0xc1, 0xe8, 0x08, 0xee, 0xf4, 0xeb, 0xfd };

static struct payload guest;

static void fini(void)
{
	payload_fini(&guest);
}

TestSuite(machine_registers, .fini = fini, .timeout = 60);

static void run_to_the_word(const char *wanted)
{
	char word[4] = "";

	machine_start(guest.machine);
	for (size_t got = 0; got < 4;) {
		const size_t more = payload_read(&guest, word + got, 4 - got, PATIENCE_MS);

		cr_assert_gt(more, 0, "the guest says nothing");
		got += more;
	}
	cr_expect_arr_eq(word, wanted, sizeof(word));
}

Test(machine_registers, a_read_is_no_exit_and_a_write_is_one)
{
	struct machine_counts counts;

	payload_init(&guest, read_registers, sizeof(read_registers));
	payload_build(&guest);
	if (!guest.machine->registers)
		cr_skip_test("this KVM has no read-only memory");
	run_to_the_word("virt");
	machine_count(guest.machine, &counts);
	cr_expect_eq(counts.vcpu_exits[VCPU_EXIT_MMIO_READ], 0);
	cr_expect_eq(counts.vcpu_exits[VCPU_EXIT_MMIO_WRITE], 1);
}

Test(machine_registers, the_ioapic_is_read_without_exits)
{
	struct machine_counts counts;

	payload_init(&guest, read_ioapic, sizeof(read_ioapic));
	payload_build(&guest);
	if (!guest.machine->registers)
		cr_skip_test("this KVM has no read-only memory");
	run_to_the_word("\x11\0\x2f\0");
	machine_count(guest.machine, &counts);
	cr_expect_eq(counts.vcpu_exits[VCPU_EXIT_MMIO_READ], 0);
	cr_expect_eq(counts.vcpu_exits[VCPU_EXIT_MMIO_WRITE], 1);
}

/* As it is where KVM cannot show them: the same words, by exits. */
Test(machine_registers, without_the_page_each_read_is_an_exit)
{
	struct kvm_userspace_memory_region none = { 0 };
	struct machine_counts counts;

	payload_init(&guest, read_registers, sizeof(read_registers));
	payload_build(&guest);
	none.slot = guest.machine->memory.count + guest.machine->memory.window_count;
	if (guest.machine->registers)
		cr_assert_eq(ioctl(guest.machine->kvm.vm, KVM_SET_USER_MEMORY_REGION, &none), 0);
	run_to_the_word("virt");
	machine_count(guest.machine, &counts);
	cr_expect_eq(counts.vcpu_exits[VCPU_EXIT_MMIO_READ], READS + 1);
	cr_expect_eq(counts.vcpu_exits[VCPU_EXIT_MMIO_WRITE], 1);
}

Test(machine_registers, a_kvm_that_cannot_is_told_from_one_that_fails)
{
	const struct guest_region region = { .gpa = LAYOUT_VIRTIO_MMIO, .size = PAGE_SIZE };
	struct kvm closed = { .fd = -1, .vm = -1 };
	struct guest_memory mem = { 0 };
	struct error err = { 0 };

	cr_expect_eq(kvm_add_read_only(&closed, &mem, 0, &region, &err), -EOPNOTSUPP);
}
