"""What /machine-config and /cpu-config say, as the guest and its host see it."""

import re

import files
from api import Served
from harness import JAILED, becomes, contains, equal, holds, test
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


@test("lab")
def huge_pages_and_two_threads_a_core(t):
    """2M: from the host's pool, all of it set aside at the start and given back at the end. Where there are too few
    the start is refused, and succeeds when there are enough."""
    before = host_memory("HugePages_Total")
    vm = shaped(t, vcpu_count=4, smt=True, huge_pages="2M")
    try:
        set_huge(16)
        vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "Start microvm error: ",
                   "128 MiB in huge pages take 64 of 2 MiB", "fewer free" if JAILED else "16 free", "nr_hugepages")
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


def bits(width, **values):
    """A bitmap of /cpu-config: bit4=0 and so on; the others stay."""
    marks = ["x"] * width
    for name, value in values.items():
        marks[width - 1 - int(name[3:])] = str(value)
    return "0b" + "".join(marks)


@test("lab")
def cpu_config_takes_a_feature_away(t):
    vm = shaped(t, vcpu_count=2)
    vm.put("/cpu-config", {"cpuid_modifiers": [{"leaf": "0x1", "subleaf": "0x0", "flags": 0, "modifiers": [
        {"register": "ecx", "bitmap": bits(32, bit20=0, bit30=0)}]}]})
    vm.boot()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        host = re.search(r"^flags\s+: (.*)$", file.read(), re.M).group(1).split()
    flags = [text.split() for text in re.findall(r"^flags\s+: (.*)$", vm.ask("cat /proc/cpuinfo"), re.M)]
    equal("vCPUs", len(flags), 2)
    for name, shown in {"sse4_2": False, "rdrand": False, "sse4_1": True, "popcnt": True}.items():
        equal(f"{name} on the host and in the guest", [name in of for of in [host, *flags]], [True, shown, shown])
    end(vm)


# mov $0x8b,%ecx; rdmsr; mov %eax,%esi; mov %edx,%edi; mov $0x3f8,%dx; then a byte at a time of %esi and of %edi
READ_MSR = b"\xb9\x8b\x00\x00\x00\x0f\x32\x89\xc6\x89\xd7\x66\xba\xf8\x03" + \
    b"".join(b"\x89" + mov + b"\xee" + b"\xc1\xe8\x08\xee" * 3 for mov in (b"\xf0", b"\xf8")) + \
    b"\xb0\xfe\xe6\x64\xf4\xeb\xfd"  # mov $0xfe,%al; out %al,$0x64; 1: hlt; jmp 1b


@test("lab")
def cpu_config_sets_an_msr(t):
    """The microcode's revision, which a guest can read and not write: some bits of it, and the others stay."""
    for value, bitmap in ((0x1122334455667788, f"0b{0x1122334455667788:064b}"), (1 << 63, bits(64, bit63=1, bit32=0))):
        vm = Served(t, name=f"{value:x}.sock")
        vm.put("/boot-source", {"kernel_image_path": t.file("kernel", files.elf(files.segment(data=READ_MSR)))})
        vm.put("/cpu-config", {"msr_modifiers": [{"addr": "0x8b", "bitmap": bitmap}]})
        vm.start()
        read = int.from_bytes(vm.ends(0).out, "little")
        equal("what the guest read", hex(read), hex(value if "x" not in bitmap else read & ~(1 << 32) | 1 << 63))
