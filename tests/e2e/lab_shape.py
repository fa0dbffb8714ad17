"""What /machine-config and /cpu-config say, as the guest and its host see it."""

import re

from harness import becomes, contains, equal, holds, test
from lab_api import Guest

HUGE = "/proc/sys/vm/nr_hugepages"


def host_memory(name):
    with open("/proc/meminfo") as file:
        return int(re.search(rf"^{name}:\s+(\d+)", file.read(), re.M).group(1))


def set_huge(count):
    with open(HUGE, "w") as file:
        file.write(str(count))


def shaped(t, **machine):
    vm = Guest(t)
    vm.put("/machine-config", {"mem_size_mib": 128, **machine})
    return vm


def end(vm):
    vm.put("/actions", {"action_type": "SendCtrlAltDel"})
    vm.ends(0)


@test("lab", alone=True)
def huge_pages_and_two_threads_a_core(t):
    """2M: from the host's pool, all of it set aside at the start and given back at the end. Where there are too few
    the start is refused, and succeeds when there are enough."""
    before = host_memory("HugePages_Total")
    vm = shaped(t, vcpu_count=4, smt=True, huge_pages="2M")
    try:
        set_huge(16)
        vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "Start microvm error: ",
                   "128 MiB in huge pages take 64 of 2 MiB", "16 free", "nr_hugepages")
        set_huge(70)
        total = host_memory("HugePages_Free")
        vm.boot()
        said = vm.ask("cat /sys/devices/system/cpu/cpu?/topology/thread_siblings_list")
        equal("who shares a core", said.split(), ["0-1", "0-1", "2-3", "2-3"])
        said = vm.ask("grep -E 'siblings|cpu cores' /proc/cpuinfo")
        equal("siblings", re.findall(r"siblings\s+: (\d+)", said), ["4"] * 4)
        equal("cores", re.findall(r"cpu cores\s+: (\d+)", said), ["2"] * 4)
        used = re.findall(r"^Private_Hugetlb:\s+(\d+) kB", vm.proc("smaps"), re.M)
        holds("huge pages in use", sum(map(int, used)) >= 8192, used)
        equal("not promised", host_memory("HugePages_Free") - host_memory("HugePages_Rsvd"), total - 64)
        end(vm)
        becomes("all are free again", lambda: host_memory("HugePages_Free") == total)
    finally:
        set_huge(before)


@test("lab")
def transparent_huge_pages(t):
    vm = shaped(t, vcpu_count=1, smt=True, huge_pages="Transparent")
    vm.boot()
    equal("one vCPU is no half core", vm.ask("cat /sys/devices/system/cpu/cpu0/topology/thread_siblings_list"), "0\n")
    maps = vm.proc("smaps")
    contains("memory that asks for huge pages", maps, " hg")
    used = re.findall(r"^AnonHugePages:\s+(\d+) kB", maps, re.M)
    holds("huge pages in use", sum(map(int, used)) >= 4096, used)
    end(vm)
