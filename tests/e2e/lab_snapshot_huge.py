"""Snapshots whose memory is in huge pages, on a host that has some: copied, mapped and filled in by a handler."""

import mmap
import os
import re
import subprocess

from api import Served
from harness import contains, equal, holds, test
from lab_shape import HUGE, host_memory, set_huge
from native_snapshot import FLAG, load_body, release, save, start
from native_snapshot_pager import Handler

MFD_HUGE_2M = 0x4 | 21 << 26  # MFD_HUGETLB | MFD_HUGE_2MB


def in_huge_pages(vm):
    used = re.findall(r"^(?:Private|Shared)_Hugetlb:\s+(\d+) kB", vm.proc("smaps"), re.M)
    holds("huge pages in use", sum(map(int, used)) >= 2048, used)


def runs(vm):
    in_huge_pages(vm)
    vm.patch("/vm", {"state": "Resumed"})
    contains("output", vm.ends(0).text(), "R")


def template(t, fd):
    """The memory file's contents in a file of huge pages, which is written to by a mapping alone."""

    with open(t.path("memory"), "rb") as file:
        os.ftruncate(fd, os.fstat(file.fileno()).st_size)
        with mmap.mmap(fd, 0) as into:
            at = 0
            while data := file.read(1 << 20):
                if data.strip(b"\0"):
                    into[at:at + len(data)] = data
                at += len(data)
    return fd


def hugetlbfs(t):
    folder = t.path("pool")
    os.mkdir(folder)
    subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", folder], check=True)
    t.cleanups.append(lambda: subprocess.run(["umount", folder], check=False))
    return folder


def from_hugetlbfs(t):
    """Mapped by its name: its pages are shared, what a clone writes is its own, and a save of it has all of it."""
    path = os.path.join(hugetlbfs(t), "memory")
    fd = template(t, os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    os.close(fd)
    backend = {"backend_type": "File", "backend_path": path}
    clones = [Served(t, name=f"pool{number}.sock") for number in range(2)]
    for clone in clones:
        clone.put("/snapshot/load", load_body(t, resume_vm=False, mem_backend=backend, track_dirty_pages=True))
    save(t, clones[1], "3")
    with open(t.path("memory3"), "rb") as file, open(t.path("memory"), "rb") as first:
        holds("all of it is in the next snapshot", content(file) == content(first))
    clones[1].put("/snapshot/create", {"snapshot_path": t.path("state4"), "mem_file_path": t.path("memory4"),
                                       "snapshot_type": "Diff"})
    clones[1].refused("PUT", "/snapshot/create", {"snapshot_path": t.path("state5"), "mem_file_path": path}, path)
    for clone in clones:
        runs(clone)
    equal("what is left of a save there", os.listdir(os.path.dirname(path)), ["memory"])
    with open(path, "r+b") as file:
        file.truncate(64 << 20)
    short = Served(t, name="short-pool.sock")
    short.refused("PUT", "/snapshot/load", load_body(t, mem_backend=backend), "67108864 bytes, but the memory saved with")
    os.unlink(path)


def content(file):
    """But for what each load writes anew: the generation's number and VMClock."""
    data = bytearray(file.read())
    data[0xe0000:0xf0000] = bytes(0x10000)
    return data


@test("lab")
def snapshot_in_huge_pages(t):
    with open(HUGE, encoding="utf-8") as file:
        before = int(file.read())
    try:
        set_huge(264)
        vm = start(t, huge_pages="2M")
        in_huge_pages(vm)
        save(t, vm)
        vm.end()
        release(t)
        clone = Served(t, name="copied.sock")
        clone.put("/snapshot/load", load_body(t, resume_vm=False))
        save(t, clone, "2")
        with open(t.path("memory2"), "rb") as file:
            file.seek(FLAG)
            holds("its memory in the next snapshot", file.read(1) == b"R")
        runs(clone)
        clone = Served(t, name="mapped.sock")
        fd = template(t, os.memfd_create("template", MFD_HUGE_2M))
        clone.put("/snapshot/load", {"snapshot_path": t.path("state"), "mem_file_path": {"fd": 0}}, [fd])
        runs(clone)
        os.close(fd)
        from_hugetlbfs(t)
        Handler(t)
        clone = Served(t, name="paged.sock")
        backend = {"backend_type": "Uffd", "backend_path": t.path("pager")}
        clone.put("/snapshot/load", load_body(t, resume_vm=False, mem_backend=backend))
        runs(clone)
        set_huge(0)
        holds("none left", host_memory("HugePages_Free") == 0)
        clone = Served(t, name="none.sock")
        clone.refused("PUT", "/snapshot/load", load_body(t), "take 64 of 2 MiB", "nr_hugepages")
        small = Served(t, name="small.sock")
        small.put("/snapshot/load", load_body(t, huge_pages="None"))
        contains("output", small.ends(0).text(), "R")
    finally:
        set_huge(before)
