"""The machine a guest sees: memory, processors, clocks, random numbers."""

import re
import time

from harness import artefact, contains, equal, holds, lacks, test
from lab_boot import COMPLAINTS, without_emulators_fault
from vm import Vm, cloud, small


@test("lab", "guest-memory-128M", mem="128M", mib=128)
@test("lab", "guest-memory-512", mem="512", mib=512)
def guest_memory(t, mem, mib):
    vm = small(t, "@mem", options=["--mem", mem]).ends(0)
    total = int(re.search(r"mem: (\d+) kB", vm.text()).group(1)) // 1024
    holds(f"between {mib * 85 // 100} and {mib} MiB", mib * 85 // 100 <= total <= mib, total)


@test("lab")
def guest_memory_on_both_sides_of_the_hole(t):
    """4 GiB: 3 below the devices, 1 above 4 GiB, and what is there works."""
    script = "cat /proc/iomem; mount -t tmpfs -o size=600m t /tmp; " \
        "dd if=/dev/zero of=/tmp/big bs=1M count=200; grep -A4 Normal /proc/zoneinfo"
    vm = small(t, "@mem", "@@", "sh", "-c", script, options=["--mem", "4G"]).ends(0)
    total = int(re.search(r"mem: (\d+) kB", vm.text()).group(1)) // 1024
    holds("3800 to 4096 MiB", 3800 <= total <= 4096, total)
    contains("physical memory", vm.text(), "00100000-bfffffff : System RAM", "100000000-13fffffff : System RAM")
    free = int(re.search(r"Normal\s+pages free\s+(\d+)", vm.text()).group(1))
    holds("memory above 4 GiB in use (free pages: 40000 fewer than 1 GiB has)", free < 262144 - 40000, free)


@test("lab")
def eight_processors_as_the_guest_sees_them(t):
    """In Debian, because its tools know most: topology, features, clocks."""
    script = "lscpu; grep -m1 ^flags /proc/cpuinfo; grep -E 'apicid|core id|siblings|cpu cores' /proc/cpuinfo | sort | uniq -c; " \
        "cat /sys/devices/system/clocksource/clocksource0/available_clocksource; dmesg | cat"
    vm = cloud(t, "@cpus", "@@", "sh", "-c", script,
               options=["--cpus", 8, "--rootfs", artefact("debian.ext4") + ":ro"]).ends(0)
    text = vm.text()
    contains("output", text, "cpus: 8\n")
    facts = dict(re.findall(r"^ *([A-Z][^:\n]*): +(.*)$", text, re.M))
    for name, value in {"CPU(s)": "8", "Thread(s) per core": "1", "Core(s) per socket": "8", "Socket(s)": "1",
                        "On-line CPU(s) list": "0-7", "Hypervisor vendor": "KVM"}.items():
        equal(f"lscpu's {name}:", facts.get(name), value)
    for number in range(8):
        holds(f"APIC id {number}", re.search(rf"^ +1 apicid\s+: {number}$", text, re.M), text[:3000])
        holds(f"core id {number}", re.search(rf"^ +1 core id\s+: {number}$", text, re.M), text[:3000])
    holds("8 siblings", re.search(r"^ +8 siblings\s+: 8$", text, re.M))
    flags = re.search(r"^flags\s+: (.*)$", text, re.M).group(1).split()
    for flag in ("x2apic", "tsc_deadline_timer", "hypervisor"):
        holds(f"the flag {flag}", flag in flags, " ".join(flags))
    for flag in ("svm", "vmx", "arch_perfmon", "perfctr_core", "monitor"):
        holds(f"no flag {flag}", flag not in flags, " ".join(flags))
    contains("clock sources", text, "kvm-clock")
    contains("the kernel's log", text, "kvm-clock: Using msrs")
    lacks("the kernel's log", without_emulators_fault(text), *COMPLAINTS)


@test("lab")
def topology_with_one_and_three_processors(t):
    for cpus in (1, 3):
        vm = small(t, "cat", "/proc/cpuinfo", options=["--cpus", cpus]).ends(0)
        equal("cpu cores", re.findall(r"cpu cores\s+: (\d+)", vm.text()), [str(cpus)] * cpus)
        equal("initial apicids, which CPUID says", re.findall(r"^initial apicid\s+: (\d+)", vm.text(), re.M),
              [str(number) for number in range(cpus)])
        equal("apicids", re.findall(r"^apicid\s+: (\d+)", vm.text(), re.M), [str(number) for number in range(cpus)])


@test("lab")
def random_numbers(t):
    vm = small(t, "@rng", 256, "@@", "@rng", 256, "@@", "cat", "/sys/class/misc/hw_random/rng_current").ends(0)
    one, two = (bytes.fromhex(text) for text in re.findall(r"rng: (\w+)", vm.text()))
    equal("bytes", (len(one), len(two)), (256, 256))
    holds("two that differ, of many values", one != two and len(set(one)) > 100 and len(set(two)) > 100, vm.text())
    contains("output", vm.text(), "virtio_rng")


@test("lab")
def time_goes_on(t):
    """A sleep of a second lasts one by the host's clock too, on every processor."""
    vm = small(t, "@echo-stdin", "@@", "@sleep", "3", "@@", "@echo-stdin", options=["--cpus", 2], stdin=-1)
    vm.wait_for("ready")
    vm.send(b"quit\n")
    start = time.monotonic()
    vm.until("ready again", lambda: vm.text().count("ready") == 2)
    took = time.monotonic() - start
    holds("3 to 6 seconds", 2.8 <= took <= 6, took)
    vm.send(b"quit\n")
    vm.ends(0)


@test("lab")
def wall_clock_is_the_hosts(t):
    vm = small(t, "date", "+now %s").ends(0)
    difference = time.time() - int(re.search(r"now (\d+)", vm.text()).group(1))
    holds("a clock at most 60 s off", abs(difference) < 60, difference)


@test("lab")
def timings_of_a_real_boot(t):
    vm = Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", artefact("init.cpio"), "--timings",
            "--", "@cpus").ends(0)
    for row in ("process start", "configuration", "kernel load", "first KVM_RUN", "first guest console byte", "init"):
        holds(f"a row '{row}' with its time", re.search(rf"^ +{row}[a-z ]* +\d+\.\d+ +\d+\.\d+$", vm.errors(), re.M),
              vm.errors())
