"""Persistent memory of a clone: the file that was saved or, when the load names one, another, in a prepared process too."""

import os
import struct

from api import Served
from files import elf, segment
from harness import contains, equal, holds, test
from native_snapshot import FLAG, load_body, need_kvm, release, save
from native_snapshot_identity import opened

# Maps what is at 4 GiB, says 'S', waits for the flag, says the first byte there and writes 'W' behind it.
READ = (b"\x48\xb8" + struct.pack("<Q", 0x100000083) + b"\x48\x89\x04\x25\x00\x00\x20\x00"  # page directory at 2 MiB
        b"\xb8\x03\x00\x20\x00\x48\x89\x04\x25\x20\xa0\x00\x00"  # which entry 4 of the monitor's tables points to
        b"\x66\xba\xf8\x03\xb0S\xee"  # mov $0x3f8,%dx; mov $'S',%al; out %al,%dx
        b"\x8a\x04\x25" + struct.pack("<I", FLAG) + b"\x3c\x00\x74\xf5"  # 1: mov FLAG,%al; cmp $0,%al; je 1b
        b"\x48\xbb" + struct.pack("<Q", 1 << 32) + b"\x8a\x03\xee"  # mov (%rbx),%al; out %al,%dx
        b"\xc6\x43\x01W\xb0\xfe\xe6\x64\xf4\xeb\xfd")  # movb $'W',1(%rbx); restart


def shape(t, vm):
    vm.put("/pmem/one", {"id": "one", "path_on_host": t.path("one")})
    vm.put("/pmem/two", {"id": "two", "path_on_host": t.path("two"), "read_only": True})


def saved(t):
    need_kvm()
    for name in ("one", "two"):
        t.file(name, b"old", size=3 << 20)
    vm = Served(t)
    shape(t, vm)
    vm.put("/boot-source", {"kernel_image_path": t.file("kernel", elf(segment(data=READ.ljust(4096, b"\0"))))})
    vm.start()
    vm.wait_for("S")
    save(t, vm)
    vm.end()
    release(t)


def clone_of(t, prepared, name="clone.sock"):
    clone = Served(t, name=name)
    if prepared:
        shape(t, clone)
        clone.put("/snapshot/prepare", {})
    return clone


def mapped(vm, path):
    """Its mappings of a file: rights and length."""
    lines = [line.split() for line in vm.proc("maps").splitlines() if line.endswith(path)]
    return [(line[1], int(line[0].split("-")[1], 16) - int(line[0].split("-")[0], 16)) for line in lines]


@test("native", "snapshot-pmem-override-by-name", prepared=False, fds=False)
@test("native", "snapshot-pmem-override-by-descriptor", prepared=False, fds=True)
@test("native", "snapshot-pmem-override-of-a-prepared-process-by-name", prepared=True, fds=False)
@test("native", "snapshot-pmem-override-of-a-prepared-process-by-descriptor", prepared=True, fds=True)
def snapshot_pmem_override(t, prepared, fds):
    """The guest reads and writes the new file, and nothing of the old ones is open any more."""
    saved(t)
    clone = clone_of(t, prepared)
    paths = [t.file("new", b"New", size=(2 << 20) + 5), t.file("newer", b"x" * 100, size=4 << 20)]
    passed = [os.open(paths[0], os.O_RDWR), os.open(paths[1], os.O_RDONLY)] if fds else []
    names = [{"fd": 0}, {"fd": 1}] if fds else paths
    clone.put("/snapshot/load", load_body(t, resume_vm=False, pmem_overrides=[
        {"id": "two", "path_on_host": names[1]}, {"id": "one", "path_on_host": names[0]}]), passed)
    for fd in passed:
        os.close(fd)
    equal("shown", [pmem["path_on_host"] for pmem in clone.get("/vm/config")["pmem"]], ["", ""] if fds else paths)
    equal("mappings of the first", mapped(clone, paths[0]), [("rw-s", (2 << 20) + 4096)])
    equal("mappings of the second", mapped(clone, paths[1]), [("r--s", 4 << 20)])
    holds("nothing of the old ones", not {t.path("one"), t.path("two")} & set(opened(clone)), opened(clone))
    holds("nothing of the old ones", not mapped(clone, t.path("one")) + mapped(clone, t.path("two")))
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "N")
    with open(paths[0], "rb") as new, open(t.path("one"), "rb") as old:
        equal("what the guest has written", (new.read(4), old.read(4)), (b"NWw\0", b"old\0"))


@test("native", "snapshot-pmem-override-refused", prepared=False)
@test("native", "snapshot-pmem-override-refused-by-a-prepared-process", prepared=True)
def snapshot_pmem_override_refused(t, prepared):
    """What cannot be is named; a prepared process has all that it had, and can be asked again."""
    saved(t)
    clone, before = clone_of(t, prepared), None
    one = {"id": "one", "path_on_host": t.path("one")}
    for number, (overrides, why) in enumerate((
            ([{"id": "one", "path_on_host": t.file("small", b"s", size=2 << 20)}], "pmem one: "),
            ([{"id": "one", "path_on_host": t.file("large", b"s", size=(4 << 20) + 1)}], "pmem one: "),
            ([{"id": "one", "path_on_host": t.file("empty")}], "is empty"),
            ([{"id": "one", "path_on_host": t.path("nowhere")}], "nowhere: No such file"),
            ([one, one], "pmem one is named twice"),
            ([one, {"id": "two", "path_on_host": "/dev/urandom"}], "is not a regular file"),
            ([{"id": "three", "path_on_host": t.path("one")}], "Unknown pmem: three."))):
        if number and not prepared:
            clone = clone_of(t, prepared, f"{number}.sock")
        before = before or (sorted(opened(clone)), mapped(clone, t.path("one")), mapped(clone, t.path("two")))
        clone.refused("PUT", "/snapshot/load", load_body(t, pmem_overrides=overrides), "Load snapshot error: ", why)
        if not prepared:
            clone.ends(1)
            continue
        equal("files and mappings", (sorted(opened(clone)), mapped(clone, t.path("one")), mapped(clone, t.path("two"))),
              before)
    if prepared:
        clone.put("/snapshot/load", load_body(t))
        contains("output", clone.ends(0).text(), "o")
        with open(t.path("one"), "rb") as file:
            equal("what the guest has written", file.read(3), b"oWd")
