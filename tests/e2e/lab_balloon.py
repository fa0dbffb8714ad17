"""The balloon under Linux's driver: the host's memory falls, and the guest gets it back."""

import re

from harness import becomes, contains, equal, holds, lacks, test
from vm import Live, small

MIB = 1 << 10  # in KiB, as the host counts

# Every page of a file in memory written, and the file gone again: free to the guest, kept by the host.
TOUCH = "mount -t tmpfs -o size={0}m t /tmp; dd if=/dev/zero of=/tmp/big bs=1M count={0} 2>/dev/null; rm /tmp/big; "


def fields(line):
    return {name: int(value) for name, value in (word.split("=") for word in line.split())}


@test("lab")
def balloon_takes_and_gives(t):
    """A guest of 512 MiB that has touched 350: inflate by 300, deflate, touch again."""
    vm = Live(t, "sh", "-c", TOUCH.format(350) + "echo touched; while [ ! -e /tmp/more ]; do sleep 1; "
              "free=$(awk '/^MemFree/ {print $2}' /proc/meminfo); [ $free -lt 200000 ] && [ ! $down ] && down=1 && echo low; "
              "[ $down ] && [ $free -gt 380000 ] && touch /tmp/more; done; "
              + TOUCH.format(350) + "echo again; sleep 1000", options=["--mem", 512, "--balloon", "0,stats=1"])
    vm.wait_for("touched")
    before = vm.memory_kib()
    holds("at least 350 MiB resident", before > 350 * MIB, before)
    equal("answer", vm.command("balloon-target 300"), "")
    becomes("an inflated balloon", lambda: fields(vm.command("balloon-stats"))["actual"] == 300 * 256, 120)
    inflated = vm.memory_kib()
    holds("at least 250 MiB less resident", inflated < before - 250 * MIB, (before, inflated))
    becomes("less than 512 - 300 MiB free", lambda: fields(vm.command("balloon-stats"))["free_memory"] < (212 << 20), 60)
    stats = fields(vm.command("balloon-stats"))
    vm.wait_for("low")
    for name in ("total_memory", "available_memory", "major_faults", "minor_faults", "disk_caches", "oom_kill"):
        holds(f"the statistic {name}", name in stats, stats)
    vm.command("balloon-target 0")
    becomes("a deflated balloon", lambda: fields(vm.command("balloon-stats"))["actual"] == 0, 120)
    vm.wait_for("again")
    holds("resident again", vm.memory_kib() > inflated + 200 * MIB, vm.memory_kib())
    t.log(f"RSS before {before} KiB, inflated {inflated} KiB, deflated and touched {vm.memory_kib()} KiB")
    vm.send(b"quit\n")
    vm.ends(0)


@test("lab")
def balloon_at_boot(t):
    """`mayfly run` alone: the guest inflates to the target it finds."""
    script = "for i in $(seq 60); do free=$(awk '/^MemFree/ {print $2}' /proc/meminfo); [ $free -lt 90000 ] && break; " \
        "sleep 1; done; echo free: $free; cat /sys/bus/virtio/drivers/virtio_balloon/virtio0/features"
    vm = small(t, "sh", "-c", script, options=["--mem", 256, "--balloon", "160,deflate-on-oom=on,reporting=on"]).ends(0)
    free = int(re.search(r"free: (\d+)", vm.text()).group(1))
    holds("less than 90 MiB free", free < 90000, free)
    bits = re.search(r"^[01]{32,}$", vm.text(), re.M).group(0)
    equal("features 0 to 5:", bits[:6], "001001")
    lacks("messages", vm.errors(), "balloon")


@test("lab")
def free_pages_are_reported(t):
    """No target and no command: what the guest frees goes back by itself."""
    vm = Live(t, "sh", "-c", TOUCH.format(300) + "echo touched; sleep 1000",
              options=["--mem", 512, "--balloon", "0,reporting=on"])
    vm.wait_for("touched")
    becomes("at least 200 MiB given back", lambda: vm.memory_kib() < 150 * MIB, 120)
    vm.send(b"quit\n")
    vm.ends(0)


@test("lab")
def free_pages_are_hinted(t):
    """The guest names its free pages when it is asked, and has them back afterwards."""
    vm = Live(t, "sh", "-c", TOUCH.format(300) + "echo touched; sleep 15; " + TOUCH.format(300) + "echo again; sleep 1000",
              options=["--mem", 512, "--balloon", "0,hinting=on"])
    vm.wait_for("touched")
    before = vm.memory_kib()
    vm.command("hinting-start on")
    becomes("a run that is done", lambda: vm.command("hinting-status") == "host=1 guest=0", 60)
    after = vm.memory_kib()
    holds("at least 200 MiB given back", after < before - 200 * MIB, (before, after))
    vm.wait_for("again")
    vm.send(b"quit\n")
    vm.ends(0)


@test("lab")
def deflate_on_oom(t):
    """A guest that the balloon leaves too little takes what it needs."""
    script = "for i in $(seq 60); do free=$(awk '/^MemFree/ {print $2}' /proc/meminfo); [ $free -lt 70000 ] && break; " \
        "sleep 1; done; echo free: $free; mount -t tmpfs -o size=200m t /tmp; dd if=/dev/zero of=/tmp/big bs=1M count=140; echo status $?"
    vm = small(t, "sh", "-c", script, options=["--mem", 256, "--balloon", "180,deflate-on-oom=on"]).ends(0)
    free = int(re.search(r"free: (\d+)", vm.text()).group(1))
    holds("a balloon that left less than 70 MiB", free < 70000, free)
    contains("output", vm.text(), "status 0\n")
