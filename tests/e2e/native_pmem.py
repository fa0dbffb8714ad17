"""Pmem without Linux: files that cannot be one, and a file cut short under a vCPU that reads it."""

import os

import harness
from harness import contains, equal, test
from vm import Vm, artefact, payload


@test("native", "pmem-cut-short-under-mayfly-run", program=harness.MAYFLY, words=["run"])
@test("lab", "pmem-cut-short-where-nobody-watches-files", program=harness.LIVE, words=[])
def pmem_cut_short(t, program, words):
    """The guest has interrupts off, so a real KVM has no way but to say that the page is gone: KVM_RUN fails (EFAULT). A
    software KVM tries for ever, until the file watch has put zeroes there."""
    if not os.access(program, os.X_OK):
        raise harness.Skip(f"there is no {program}; make test builds it")
    image = t.file("image", b"x" * (2 << 20))
    vm = Vm(t, *words, "--kernel", artefact("payload/pmem.elf"), "--pmem", image + ":ro", binary=program)
    vm.wait_for("R")
    os.truncate(image, 4096)
    vm.ends(0)
    equal("output", vm.out, b"RZ")
    equal("lines that name the file:", vm.errors().count(image), 1)


@test("native")
def pmem_refusals(t):
    empty, folder = t.file("empty"), t.path("folder")
    os.mkdir(folder)
    for option, text in ((empty, "is empty"), (folder, "is not a regular file"), ("/dev/urandom", "is not a regular file"),
                         (t.path("none"), "No such file"), ("fd=77", "descriptor 77 is not open")):
        vm = payload(t, "byte", "--pmem", option + ":ro").ends(152)
        contains("messages", vm.errors(), "pmem0", text)


@test("native")
def balloon_larger_than_memory(t):
    vm = payload(t, "byte", "--mem", 64, "--balloon", 65).ends(152)
    contains("messages", vm.errors(), "balloon: 65 MiB are more than the guest's memory of 64 MiB")
