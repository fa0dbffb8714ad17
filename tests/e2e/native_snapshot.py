"""Snapshots over the API with payload guests: saved, loaded in a fresh process, refused."""

import os
import resource
import struct
import subprocess
import time

from api import Served
from files import elf, segment
from harness import MAYFLY, Skip, contains, equal, holds, lacks, test

FLAG = 0x100800  # what the guest waits for: a byte that is not zero, which it writes out

WAIT = (b"\x66\xba\xf8\x03\xb0S\xee"  # mov $0x3f8,%dx; mov $'S',%al; out %al,%dx
        b"\x8a\x04\x25" + struct.pack("<I", FLAG) +  # 1: mov FLAG,%al
        b"\x3c\x00\x74\xf5"  # cmp $0,%al; je 1b
        b"\xee"  # out %al,%dx
        b"\xb0\xfe\xe6\x64\xf4\xeb\xfd")  # restart: mov $0xfe,%al; out %al,$0x64; 2: hlt; jmp 2b


def waiting_kernel(t):
    return t.file("kernel", elf(segment(data=WAIT.ljust(4096, b"\0"))))


def need_kvm():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm that this user may use")


def start(t, mem=128, vcpus=1, drive=True, before=None, **machine):
    need_kvm()
    vm = Served(t)
    if before:
        before(vm)
    vm.put("/machine-config", {"vcpu_count": vcpus, "mem_size_mib": mem, **machine})
    vm.put("/boot-source", {"kernel_image_path": waiting_kernel(t)})
    if drive:
        vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True,
                                  "path_on_host": t.file("disk", size=1 << 20)})
    vm.start()
    vm.wait_for("S")
    return vm


def save(t, vm, name=""):
    body = {"snapshot_path": t.path(f"state{name}"), "mem_file_path": t.path(f"memory{name}")}
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", body)
    return body


def release(t, letter=b"R", name=""):
    """Writes the byte that the guest waits for into the memory file, as anyone may."""
    with open(t.path(f"memory{name}"), "r+b") as file:
        file.seek(FLAG)
        file.write(letter)


def load_body(t, name="", **more):
    return {"snapshot_path": t.path(f"state{name}"), "resume_vm": True,
            "mem_backend": {"backend_type": "File", "backend_path": t.path(f"memory{name}")}, **more}


def load(t, name="", sock="clone.sock", **more):
    vm = Served(t, name=sock)
    vm.put("/snapshot/load", load_body(t, name, **more))
    return vm


@test("native", "snapshot-load-128M", mem=128)
@test("native", "snapshot-load-4G", mem=4096)
def snapshot_load(t, mem):
    vm = start(t, mem=mem)
    save(t, vm)
    vm.end()
    stat = os.stat(t.path("memory"))
    equal("length of the memory file", stat.st_size, mem << 20)
    holds("a sparse file", stat.st_blocks * 512 < 4 << 20, f"{stat.st_blocks * 512} bytes")
    release(t)
    load(t).ends(0).out.index(b"R")


@test("native")
def snapshot_clones_share_nothing(t):
    """Several clones of one pair at once: each writes to copies of its own."""
    vm = start(t)
    save(t, vm)
    release(t)
    clones = [load(t, sock=f"clone{i}.sock") for i in range(3)]
    for clone in clones:
        clone.ends(0)
        contains("output", clone.text(), "R")
    vm.patch("/vm", {"state": "Resumed"})
    equal("state of the saved one", vm.get("/")["state"], "Running")


@test("native")
def snapshot_load_stays_paused(t):
    vm = start(t, vcpus=2)
    body = save(t, vm)
    vm.end()
    release(t)
    clone = Served(t, name="clone.sock")
    clone.put("/snapshot/load", {"snapshot_path": body["snapshot_path"], "mem_file_path": body["mem_file_path"]})
    equal("state", clone.get("/")["state"], "Paused")
    config = clone.get("/vm/config")
    equal("drives", [drive["drive_id"] for drive in config["drives"]], ["rootfs"])
    equal("vCPUs", config["machine-config"]["vcpu_count"], 2)
    lacks("output", clone.text(), "R")
    clone.patch("/vm", {"state": "Resumed"})
    clone.ends(0)
    contains("output", clone.text(), "R")


@test("native")
def snapshot_of_a_clone(t):
    """A clone is saved in turn: what the first image had and what was written since."""
    vm = start(t)
    save(t, vm)
    vm.end()
    clone = load(t)
    save(t, clone, "2")
    clone.end()
    release(t, b"Q", "2")
    contains("output", load(t, "2", sock="second.sock").ends(0).text(), "Q")


@test("native")
def snapshot_with_another_drive(t):
    vm = start(t)
    save(t, vm)
    vm.end()
    os.rename(t.path("disk"), t.path("elsewhere"))
    release(t)
    clone = Served(t, name="none.sock")
    clone.refused("PUT", "/snapshot/load", load_body(t), "disk: No such file or directory")
    clone.ends(1)
    drives = [{"drive_id": "rootfs", "path_on_host": t.path("elsewhere")}]
    clone = load(t, drive_overrides=drives)
    clone.ends(0)
    clone = Served(t, name="wrong.sock")
    clone.refused("PUT", "/snapshot/load", load_body(t, drive_overrides=[{**drives[0], "drive_id": "x"}]),
                  "Load snapshot error: Unknown drive: x.")


@test("native")
def snapshot_after_a_drive_was_replaced(t):
    """What is saved is the file that the drive has now."""
    vm = start(t)
    vm.patch("/drives/rootfs", {"drive_id": "rootfs", "path_on_host": t.file("new", size=1 << 20)})
    save(t, vm)
    vm.end()
    os.unlink(t.path("disk"))
    clone = load(t)
    equal("its image", clone.get("/vm/config")["drives"][0]["path_on_host"], t.path("new"))
    clone.patch("/drives/rootfs", {"drive_id": "rootfs", "path_on_host": t.file("third", size=1 << 20)})
    save(t, clone, "2")
    clone.end()
    os.unlink(t.path("new"))
    release(t, name="2")
    load(t, "2", sock="second.sock").ends(0)


@test("native")
def snapshot_into_a_prepared_process(t):
    """Its failures leave it as it was; other requests than loads are refused meanwhile."""
    vm = start(t)
    save(t, vm)
    vm.end()
    release(t)
    clone = Served(t, name="prepared.sock")
    clone.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128})
    clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
    clone.put("/snapshot/prepare", {})
    clone.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "not supported in a process that was prepared")
    clone.refused("PUT", "/snapshot/prepare", {}, "not supported in a process that was prepared")
    os.rename(t.path("memory"), t.path("elsewhere"))
    clone.refused("PUT", "/snapshot/load", load_body(t), "memory: No such file")
    os.rename(t.path("elsewhere"), t.path("memory"))
    drives = [{"drive_id": "x", "path_on_host": t.path("disk")}]
    clone.refused("PUT", "/snapshot/load", load_body(t, drive_overrides=drives), "Unknown drive: x.")
    drives = [{"drive_id": "rootfs", "path_on_host": t.file("other", size=1 << 20)}]
    clone.put("/snapshot/load", load_body(t, drive_overrides=drives, resume_vm=False))
    equal("its image", clone.get("/vm/config")["drives"][0]["path_on_host"], t.path("other"))
    clone.patch("/vm", {"state": "Resumed"})
    clone.ends(0)
    contains("output", clone.text(), "R")


@test("native")
def snapshot_of_another_shape(t):
    vm = start(t)
    save(t, vm)
    vm.end()
    for vcpus, mem, drive, why in ((2, 128, True, "it has 1 vCPUs"), (1, 256, True, "it has 128 MiB"),
                                   (1, 128, False, "it has 1 virtio devices")):
        clone = Served(t, name=f"{vcpus}-{mem}-{drive}.sock")
        clone.put("/machine-config", {"vcpu_count": vcpus, "mem_size_mib": mem})
        if drive:
            clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
        clone.put("/snapshot/prepare", {})
        clone.refused("PUT", "/snapshot/load", load_body(t), why, "prepared with")
        equal("state", clone.get("/")["state"], "Not started")


def refused_load(t, why, name="bad.sock", **more):
    vm = Served(t, name=name)
    vm.refused("PUT", "/snapshot/load", load_body(t, **more), "Load snapshot error: ", why)
    vm.ends(1)


@test("native")
def snapshot_files_that_are_no_good(t):
    vm = start(t, drive=False)
    save(t, vm)
    vm.end()
    with open(t.path("state"), "rb") as file:
        state = file.read()
    t.file("state", state[:len(state) // 2])
    refused_load(t, "damaged: a section is cut off")
    t.file("state", state[:200] + bytes([state[200] ^ 1]) + state[201:])
    refused_load(t, "damaged: a section's checksum does not hold")
    t.file("state", b"\x7fELF" * 100)
    refused_load(t, "not the state file of a mayfly snapshot")
    t.file("state", b"", size=17 << 20)
    refused_load(t, "more than the 16 MiB of a state file")
    t.file("state", state)
    os.truncate(t.path("memory"), 64 << 20)
    refused_load(t, "67108864 bytes, but the memory saved with")
    os.unlink(t.path("memory"))
    refused_load(t, "memory: No such file or directory")


@test("native")
def snapshot_pair_that_does_not_belong_together(t):
    vm = start(t)
    save(t, vm)
    save(t, vm, "2")
    try:
        os.getxattr(t.path("memory"), "user.mayfly.snapshot")
    except OSError:
        raise Skip("no user attributes here") from None
    os.rename(t.path("memory2"), t.path("memory"))
    refused_load(t, "do not belong together")


@test("native")
def snapshot_memory_of_nobody(t):
    """An attribute that is no snapshot's id, being empty or too long, is another's; where there is none the file is believed."""
    vm = start(t)
    save(t, vm)
    vm.end()
    try:
        os.getxattr(t.path("memory"), "user.mayfly.snapshot")
    except OSError:
        raise Skip("no user attributes here") from None
    mine = os.getxattr(t.path("memory"), "user.mayfly.snapshot")
    for number, text in enumerate((b"", mine + b"0", mine[:-1], b"x" * 500)):
        os.setxattr(t.path("memory"), "user.mayfly.snapshot", text)
        refused_load(t, "do not belong together: the memory is of " + (text.decode() if len(text) == 32 else "an unknown one"),
                     name=f"{number}.sock")
    os.removexattr(t.path("memory"), "user.mayfly.snapshot")
    Served(t, name="good.sock").put("/snapshot/load", load_body(t, resume_vm=False))


@test("native")
def snapshot_needs_a_pause(t):
    vm = start(t)
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m")},
               "Create snapshot error: Cannot save the microVM state: Operation not allowed: "
               "save/restore unavailable while running")
    vm.patch("/vm", {"state": "Paused"})
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("none/s"), "mem_file_path": t.path("m")},
               "No such file or directory")
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("m"), "mem_file_path": t.path("m")}, "both")
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m"),
                                           "snapshot_type": "Diff"}, "a diff snapshot needs", "track_dirty_pages")
    equal("files left", [name for name in os.listdir(t.dir) if name.endswith(".saving") or name in "sm"], [])
    save(t, vm)


@test("native")
def snapshot_on_a_full_disk(t):
    """A size limit stands for the disk: the save fails, nothing is left, the guest goes on, the next succeeds."""
    vm = start(t)
    save(t, vm)
    before = [open(t.path(name), "rb").read() for name in ("state", "memory")]
    limits = resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")},
               "File too large")
    resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, limits)
    holds("the old pair", [open(t.path(name), "rb").read() for name in ("state", "memory")] == before)
    holds("nothing beside it", not [name for name in os.listdir(t.dir) if name.endswith(".saving")])
    save(t, vm)


@test("native")
def snapshot_under_the_longest_names(t):
    """The name that a file has until it is whole fits too: of 247 bytes and more, of two that differ at their end, of characters
    of several bytes; what a save that was killed has left goes with the next one."""
    vm = start(t)
    vm.patch("/vm", {"state": "Paused"})
    for names in (("s" * 247, "m" * 247), ("s" * 248, "m" * 248), ("x" * 254 + "s", "x" * 254 + "m"), ("\u20ac" * 85, "m" + "\u00e9" * 127)):
        body = {"snapshot_path": t.path(names[0]), "mem_file_path": t.path(names[1])}
        vm.put("/snapshot/create", body)
        vm.put("/snapshot/create", body)
        equal("files left", [name for name in os.listdir(t.dir) if name.endswith(".saving")], [])
    number = 0xcbf29ce484222325
    for byte in b"s" * 248:
        number = (number ^ byte) * 0x100000001b3 % 2**64
    left = t.file(f".{'s' * 230}-{number:016x}.saving", b"half")
    vm.put("/snapshot/create", {"snapshot_path": t.path("s" * 248), "mem_file_path": t.path("m")})
    holds("what was left is gone", not os.path.exists(left))


@test("native")
def snapshot_with_a_folder_in_its_way(t):
    """Where a file is written first there is something that no save left: said by its name, and the guest goes on."""
    vm = start(t)
    vm.patch("/vm", {"state": "Paused"})
    for name in ("s", "m"):
        os.mkdir(t.path(f".{name}.saving"))
        vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m")},
                   f"cannot create {t.path(name)}: in its folder, .{name}.saving is a folder", "remove or rename it")
        os.rmdir(t.path(f".{name}.saving"))
    save(t, vm)


# Writes into one page after the other, from 2 MiB on and round again at 4 MiB: a count that goes up.
WRITE = (b"\x66\xba\xf8\x03\xb0S\xee"  # mov $0x3f8,%dx; mov $'S',%al; out %al,%dx
         b"\x31\xc9"  # xor %ecx,%ecx
         b"\xff\xc1"  # 1: inc %ecx
         b"\x89\xcb\x81\xe3\xff\x01\x00\x00\xc1\xe3\x0c"  # mov %ecx,%ebx; and $0x1ff,%ebx; shl $12,%ebx
         b"\x89\x8b\x00\x00\x20\x00"  # mov %ecx,0x200000(%rbx)
         b"\xeb\xeb")  # jmp 1b


def start_writing(t, track=True, name="api.sock"):
    need_kvm()
    try:
        os.setxattr(t.file("attribute"), "user.test", b"x")
    except OSError:
        raise Skip("no user attributes here") from None
    vm = Served(t, name=name)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "track_dirty_pages": track})
    vm.put("/boot-source", {"kernel_image_path": t.file("kernel", elf(segment(data=WRITE.ljust(4096, b"\0"))))})
    vm.start()
    vm.wait_for("S")
    return vm


def run_a_little(vm):
    vm.patch("/vm", {"state": "Resumed"})
    time.sleep(0.02)
    vm.patch("/vm", {"state": "Paused"})


def create(t, vm, name, kind="Full", state=None):
    vm.put("/snapshot/create", {"snapshot_path": t.path(f"state{state or name}"), "mem_file_path": t.path(f"memory{name}"),
                                "snapshot_type": kind})


def memory(t, name):
    with open(t.path(f"memory{name}"), "rb") as file:
        return file.read()


def blocks(t, name):
    return os.stat(t.path(f"memory{name}")).st_blocks * 512


def merge_files(*paths, output):
    return subprocess.run([MAYFLY, "snapshot", "merge", *paths, "--output", output], capture_output=True, text=True, timeout=120,
                          check=False)


def merge(t, *names, output):
    return merge_files(*[t.path(f"memory{name}") for name in names], output=t.path(f"memory{output}"))


def merge_is_all(t, *names):
    """Merged, they are what the full save "all" has, of the same moment."""
    done = merge(t, *names, output="merged")
    equal("mayfly snapshot merge", (done.returncode, done.stderr), (0, ""))
    holds("merged is what a full save has", memory(t, "merged") == memory(t, "all"))


def save_chain(t, vm):
    """Full, two layers, and all of it at once at the same point."""
    create(t, vm, "0")
    before = memory(t, "0")
    for layer in "12":
        run_a_little(vm)
        create(t, vm, layer, "Diff")
    create(t, vm, "all")
    holds("the guest has written", memory(t, "all") != before)
    holds("a layer is what was written", 0 < blocks(t, "2") < 4 << 20, f"{blocks(t, '2')} bytes")


@test("native")
def snapshot_diff_merged_is_a_full_one(t):
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    save_chain(t, vm)
    merge_is_all(t, "0", "1", "2")
    vm.end()


@test("native")
def snapshot_diff_onto_a_file(t):
    """What is there is merged into, and only when it is of the last save."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    create(t, vm, "old")
    for _ in range(3):
        run_a_little(vm)
        create(t, vm, "old", "Diff")
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("memory0"),
                                           "snapshot_type": "Diff"}, "since snapshot")
    merged = memory(t, "old")
    create(t, vm, "all")
    holds("merged is what a full save has", merged == memory(t, "all"))
    vm.end()


@test("native")
def snapshot_diff_of_a_clone(t):
    vm = start_writing(t, track=False)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "")
    vm.end()
    for field in ("track_dirty_pages", "enable_diff_snapshots"):
        clone = Served(t, name=f"{field}.sock")
        clone.put("/snapshot/load", load_body(t, resume_vm=False, **{field: True}))
        holds("it says so", clone.get("/machine-config")["track_dirty_pages"])
        run_a_little(clone)
        create(t, clone, "1", "Diff")
        create(t, clone, "all")
        merge_is_all(t, "", "1")
        clone.end()
        os.unlink(t.path("memory1"))
    os.rename(t.path("memorymerged"), t.path("memory1"))
    second = load(t, "1", sock="second.sock")
    second.end()


@test("native")
def snapshot_diff_that_fails_loses_nothing(t):
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    run_a_little(vm)
    limits = resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("state1"), "mem_file_path": t.path("memory1"),
                                           "snapshot_type": "Diff"}, "File too large")
    resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, limits)
    holds("nothing is left", not os.path.exists(t.path("memory1")))
    create(t, vm, "1", "Diff")
    create(t, vm, "all")
    merge_is_all(t, "0", "1")
    vm.end()


@test("native")
def snapshot_diff_is_not_loaded_for_a_full_one(t):
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    create(t, vm, "1", "Diff")
    create(t, vm, "2", "Diff")
    vm.end()
    clone = Served(t, name="layer.sock")
    clone.refused("PUT", "/snapshot/load", load_body(t, "1"), "is a diff; merge it")
    clone.ends(1)
    contains("a layer that is left out", merge(t, "0", "2", output="merged").stderr, "is a layer of snapshot")
    holds("nothing is left", not os.path.exists(t.path("memorymerged")))
    contains("what is no layer", merge(t, "1", "0", output="merged").stderr, "is not a layer")
    equal("mayfly snapshot merge", merge(t, "0", "1", "2", output="merged").returncode, 0)
    os.rename(t.path("memorymerged"), t.path("memory2"))
    load(t, "2").end()
