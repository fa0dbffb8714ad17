"""Snapshots whose memory is in huge pages, on a host that has some: copied, mapped and filled in by a handler."""

import mmap
import os
import re

from api import Served
from harness import contains, holds, test
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


def template(t):
    """The memory file's contents in a memfd of huge pages, which is written to by a mapping alone."""

    fd = os.memfd_create("template", MFD_HUGE_2M)
    with open(t.path("memory"), "rb") as file:
        os.ftruncate(fd, os.fstat(file.fileno()).st_size)
        with mmap.mmap(fd, 0) as into:
            at = 0
            while data := file.read(1 << 20):
                if data.strip(b"\0"):
                    into[at:at + len(data)] = data
                at += len(data)
    return fd


@test("lab", alone=True)
def snapshot_in_huge_pages(t):
    with open(HUGE, encoding="utf-8") as file:
        before = int(file.read())
    try:
        set_huge(160)
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
        fd = template(t)
        clone.put("/snapshot/load", {"snapshot_path": t.path("state"), "mem_file_path": {"fd": 0}}, [fd])
        runs(clone)
        os.close(fd)
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
