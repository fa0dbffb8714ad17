"""A guest that is saved and loaded a hundred times: it goes on counting, and its registers are as they were, AVX's too."""

import os
import struct
import time

from api import Served
from harness import Skip, equal, holds, test
from native_snapshot import WRITE, load_body, need_kvm
from native_snapshot_hostile import read_state, write_state
from native_snapshot_killed import check_whole, sections
from files import elf, segment

# Of an XSAVE area: what it says it has, SSE's registers, and the upper halves of AVX's.
FEATURES, CONTROL, SSE, AVX = 512, 24, slice(160, 416), slice(576, 832)
CR4_XSAVE = 1 << 9 | 1 << 18  # OSFXSR, OSXSAVE
X87_SSE_AVX = 7
ROUND_DOWN = 0x3f80  # MXCSR


def boot(t, vcpus):
    need_kvm()
    vm = Served(t)
    vm.put("/machine-config", {"vcpu_count": vcpus, "mem_size_mib": 128})
    vm.put("/boot-source", {"kernel_image_path": t.file("kernel", elf(segment(data=WRITE.ljust(4096, b"\0"))))})
    vm.start()
    vm.wait_for("S")
    return vm


def save(t, vm):
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")})
    vm.end()
    os.unlink(vm.path)


def has_avx(bodies):
    entries = next(fields for name, _, _, fields in bodies if name == "cpuid")["entries"]
    return any(entry["function"] == 13 and entry["index"] == 0 and entry["eax"] & 4 for entry in entries)


def give_registers(t):
    """Values in all vector registers of every vCPU, a rounding mode, and the right to have them. {vCPU: area}"""
    bodies, areas = read_state(t), {}
    avx = has_avx(bodies)
    for name, index, _, fields in bodies:
        if name != "vcpu":
            continue
        area = bytearray(fields["xsave"])
        area[SSE] = os.urandom(256)
        struct.pack_into("<I", area, CONTROL, ROUND_DOWN)
        struct.pack_into("<Q", area, FEATURES, X87_SSE_AVX if avx else 3)
        if avx:
            area[AVX] = os.urandom(256)
            fields["xcrs"] = [{"xcr": 0, "value": X87_SSE_AVX}]
        fields["sregs"]["cr4"] |= CR4_XSAVE
        fields["xsave"] = bytes(area)
        areas[index] = registers(fields["xsave"])
    write_state(t, bodies)
    return areas, avx


def registers(area):
    return struct.unpack_from("<I", area, CONTROL), area[SSE], area[AVX]


def check(t, areas, count):
    """What is in the files; the count, which has to go up."""
    found = sections(t.path("state"))
    for index, area in areas.items():
        equal(f"vector registers of vCPU {index}", registers(found["vcpu", index]["xsave"]), area)
    now = found["vcpu", 0]["regs"]["rcx"]
    holds("a guest that goes on", now >= count, f"{count}, then {now}")
    check_whole(t, "")
    return now


@test("native", "snapshot-a-hundred-times-1-vcpu", limit=240, vcpus=1)
@test("native", "snapshot-a-hundred-times-2-vcpus", limit=240, vcpus=2)
@test("native", "snapshot-a-hundred-times-8-vcpus", limit=240, vcpus=8)
def snapshot_a_hundred_times(t, vcpus):
    save(t, boot(t, vcpus))
    areas, avx = give_registers(t)
    count, steps = 0, 0
    for number in range(100):
        clone = Served(t, name=f"{number}.sock")
        clone.put("/snapshot/load", load_body(t))
        time.sleep(0.002)
        save(t, clone)
        before, count = count, check(t, areas, count)
        steps += count > before  # on a busy machine not every one has its turn
    holds("a guest that went on", steps > 50, steps)
    if not avx:
        raise Skip("no AVX here; the rest was right")
