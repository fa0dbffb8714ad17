"""How a guest ends, and what the monitor says then."""

from harness import contains, equal, lacks, test
from vm import cloud, small


@test("lab", "power-off-small", start=small, cpus=2)
@test("lab", "power-off-cloud", start=cloud, cpus=1)
def power_off(t, start, cpus):
    vm = start(t, "@poweroff", options=["--cpus", cpus, "--cmdline", "reboot=k panic=-1"]).ends(0)
    contains("the kernel's log", vm.text(), "reboot: Power down")
    equal("messages", vm.errors(), "")


@test("lab", "reboot-small", start=small, cpus=2)
@test("lab", "reboot-cloud", start=cloud, cpus=2)
def reboot(t, start, cpus):
    vm = start(t, "@reboot", options=["--cpus", cpus, "--cmdline", "reboot=k panic=-1"]).ends(0)
    contains("the kernel's log", vm.text(), "reboot: Restarting system")
    equal("messages", vm.errors(), "")


@test("lab")
def reboot_without_being_told_how(t):
    small(t, "@reboot", options=["--cmdline", "quiet"]).ends(0)


@test("lab")
def reboot_by_triple_fault(t):
    vm = small(t, "@reboot", options=["--cpus", 2, "--cmdline", "quiet reboot=t"]).ends(160)
    equal("lines of messages:", len(vm.errors().splitlines()), 1)
    contains("a message", vm.errors(), "mayfly: error: ", "triple fault")


@test("lab")
def panic_restarts(t):
    vm = small(t, "@panic").ends(0)
    contains("output", vm.text(), "Kernel panic - not syncing")


@test("lab")
def panic_that_waits_can_be_ended(t):
    """panic=0: the kernel stays where it is."""
    vm = small(t, "@panic", options=["--cmdline", "quiet reboot=k panic=0"], terminal=True)
    vm.wait_for("end Kernel panic")
    vm.send(b"\x01x")
    vm.ends(0)


@test("lab")
def no_init_is_a_panic(t):
    """A kernel with nothing to run says so on the console and restarts."""
    vm = small(t, options=["--cmdline", "quiet reboot=k panic=-1 rdinit=/none root=/dev/none"]).ends(0)
    contains("output", vm.text(), "Kernel panic")
    lacks("output", vm.text(), "init: ")


@test("lab")
def halted_guest_is_ended_by_a_signal(t):
    vm = small(t, "@halt", options=["--cmdline", "reboot=k panic=-1"])
    vm.wait_for("System halted")
    vm.process.terminate()
    vm.ends(143)
