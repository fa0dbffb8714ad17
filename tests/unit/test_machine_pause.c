#include "tests/unit/payload_machine.h"
#include "vmm/machine_priv.h"

#define PATIENCE_MS 20000

static struct payload guest;

static void fini(void)
{
	payload_fini(&guest);
}

TestSuite(machine_pause, .fini = fini);

static void start(unsigned int vcpus)
{
	payload_init(&guest, payload_count_down, sizeof(payload_count_down));
	guest.config.vcpus = vcpus;
	payload_build(&guest);
	machine_start(guest.machine);
}

/* Reads what is there; every byte must be one less than the one before. */
static size_t follow(uint8_t *expected, int ms)
{
	uint8_t bytes[4096];
	size_t total = 0, got;

	while ((got = payload_read(&guest, bytes, sizeof(bytes), total ? 0 : ms)) > 0) {
		for (size_t i = 0; i < got; i++)
			cr_assert_eq(bytes[i], (*expected)--, "an output was lost or done twice");
		total += got;
	}
	return total;
}

/* The console's writer may have a little left when the vCPU has stopped already. */
static void drain(uint8_t *expected)
{
	while (follow(expected, 100) > 0)
		;
}

Test(machine_pause, a_paused_guest_does_nothing_and_goes_on_where_it_was)
{
	uint8_t expected = 0xff;

	start(1);
	for (int i = 0; i < 40; i++) {
		cr_assert_gt(follow(&expected, PATIENCE_MS), 0, "the guest does not run");
		machine_pause(guest.machine);
		cr_assert(guest.machine->paused);
		if (i % 10 == 0) {
			drain(&expected);
			cr_assert_eq(follow(&expected, 100), 0, "a paused guest writes");
		}
		machine_resume(guest.machine);
		cr_assert(!guest.machine->paused);
	}
}

Test(machine_pause, pausing_and_resuming_twice_is_once)
{
	uint8_t expected = 0xff;

	start(1);
	machine_resume(guest.machine);
	cr_assert_gt(follow(&expected, PATIENCE_MS), 0);
	machine_pause(guest.machine);
	machine_pause(guest.machine);
	drain(&expected);
	machine_resume(guest.machine);
	machine_resume(guest.machine);
	cr_assert_gt(follow(&expected, PATIENCE_MS), 0);
}

/* The first vCPU has not entered the guest yet, maybe not even got its registers. */
Test(machine_pause, a_pause_may_come_right_after_the_start)
{
	uint8_t expected = 0xff;

	start(1);
	machine_pause(guest.machine);
	machine_resume(guest.machine);
	machine_pause(guest.machine);
	drain(&expected);
	machine_resume(guest.machine);
	cr_assert_gt(follow(&expected, PATIENCE_MS), 0);
}

/* The others wait for a start-up call that never comes. */
Test(machine_pause, many_vcpus)
{
	uint8_t expected = 0xff;

	start(8);
	for (int i = 0; i < 10; i++) {
		cr_assert_gt(follow(&expected, PATIENCE_MS), 0);
		machine_pause(guest.machine);
		machine_resume(guest.machine);
	}
}

Test(machine_pause, a_paused_machine_can_be_destroyed)
{
	start(2);
	machine_pause(guest.machine);
	machine_stop(guest.machine);
}

/* mov $0xfe,%al; out %al,$0x64; 1: hlt; jmp 1b */
Test(machine_pause, a_machine_that_has_ended_can_be_paused)
{
	static const uint8_t reset[] = { 0xb0, 0xfe, 0xe6, 0x64, 0xf4, 0xeb, 0xfd };
	struct pollfd end = { .events = POLLIN };
	const char *text;

	payload_init(&guest, reset, sizeof(reset));
	payload_build(&guest);
	machine_start(guest.machine);
	end.fd = machine_end_fd(guest.machine);
	cr_assert_eq(poll(&end, 1, PATIENCE_MS), 1);
	machine_pause(guest.machine);
	machine_resume(guest.machine);
	cr_assert_eq(machine_end(guest.machine, &text), MACHINE_RESET);
}
