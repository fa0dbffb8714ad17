"""What the guest of a clone is shown of a processor, which a software KVM does not let one choose."""

import copy
import struct

from api import Served
from files import elf, segment
from harness import contains, equal, test
from native_snapshot import FLAG, load_body, release, save
from native_snapshot_hostile import read_state, write_state

RDRAND = 1 << 30  # leaf 1, ecx

# Waits for the flag, then writes out the uppermost four bits of that register: 'A' when there are none.
ASK = (b"\x66\xba\xf8\x03\xb0S\xee"  # mov $0x3f8,%dx; mov $'S',%al; out %al,%dx
       b"\x8a\x04\x25" + struct.pack("<I", FLAG) + b"\x3c\x00\x74\xf5"  # 1: mov FLAG,%al; cmp $0,%al; je 1b
       b"\xb8\x01\x00\x00\x00\x0f\xa2\x89\xc8\xc1\xe8\x1c\x83\xc0A"  # mov $1,%eax; cpuid; mov %ecx,%eax; shr; add $'A',%eax
       b"\x66\xba\xf8\x03\xee\xb0\xfe\xe6\x64\xf4\xeb\xfd")  # mov $0x3f8,%dx; out %al,%dx; restart


def features(bodies):
    entries = next(fields for name, _, _, fields in bodies if name == "cpuid")["entries"]
    return next(entry for entry in entries if entry["function"] == 1)


def told(vm):
    vm.ends(0)
    return vm.text().removeprefix("S")


@test("lab")
def snapshot_processor_is_the_one_that_was_loaded(t):
    """Also in a prepared process whose first load, of a guest with fewer features, failed after its vCPUs had them."""
    vm = Served(t)
    vm.put("/boot-source", {"kernel_image_path": t.file("kernel", elf(segment(data=ASK.ljust(4096, b"\0"))))})
    vm.start()
    vm.wait_for("S")
    save(t, vm)
    vm.end()
    release(t)
    good = read_state(t)
    fewer = copy.deepcopy(good)
    equal("a processor with the feature", features(good)["ecx"] & RDRAND, RDRAND)
    features(fewer)["ecx"] &= ~RDRAND
    letters = [chr(ord("A") + (features(bodies)["ecx"] >> 28)) for bodies in (good, fewer)]
    clones = [Served(t, name=f"{number}.sock") for number in range(3)]
    for clone, bodies, letter in zip(clones, (good, fewer), letters):
        write_state(t, bodies)
        clone.put("/snapshot/load", load_body(t))
        equal("features", told(clone), letter)
    clones[2].put("/snapshot/prepare", {})
    next(fields for name, _, _, fields in fewer if name == "vmgenid")["gpa"] = 0xfffffff8
    write_state(t, fewer)
    clones[2].refused("PUT", "/snapshot/load", load_body(t), "vmgenid: no guest memory at")
    write_state(t, good)
    clones[2].put("/snapshot/load", load_body(t))
    contains("features", told(clones[2]), letters[0])
