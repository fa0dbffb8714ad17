"""`mayfly snapshot show` and `check`, and Firecracker's flags for a snapshot's version."""

import json
import os
import zlib

from harness import contains, equal, holds, lacks, test
from native_snapshot import save, start
from vm import Vm

BAD_CONFIG, BAD_ARGUMENTS, FAILURE = 152, 153, 1


def mayfly(t, *args, status=0):
    """Its output; or what it complains about."""
    vm = Vm(t, *args)
    equal(f"status of mayfly {' '.join(args)}", vm.wait(20), status)
    return vm.text() + vm.errors()


def saved(t, **shape):
    vm = start(t, **shape)
    save(t, vm)
    vm.end()
    return t.path("state")


def rewritten(t, old, new):
    """The state file with a name replaced by one of the same length, and the checksums made good."""
    with open(t.path("state"), "rb") as file:
        state = file.read()
    equal("lengths", len(old), len(new))
    at = state.index(old)
    body = state.rindex(b"\x94\xa6config", 0, at)
    # Before it stand a bin's head (c5: 2 bytes of length) and the checksum (ce: 4 bytes).
    equal("a bin", state[body - 3], 0xc5)
    length = int.from_bytes(state[body - 2:body], "big")
    equal("a checksum", state[body - 8], 0xce)
    state = state.replace(old, new)
    crc = zlib.crc32(state[body:body + length])
    t.file("state", state[:body - 7] + crc.to_bytes(4, "big") + state[body - 3:])


@test("native")
def snapshot_show(t):
    state = saved(t, mem=256, vcpus=2)
    told = json.loads(mayfly(t, "snapshot", "show", state, "--json"))
    equal("vCPUs", told["vcpus"], 2)
    equal("memory", told["memory_bytes"], 256 << 20)
    equal("kind", told["kind"], "full")
    equal("kernel", told["host_kernel"], os.uname().release)
    drive = told["devices"][0]
    equal("the drive", (drive["kind"], drive["id"], drive["path"]), ("drive", "rootfs", t.path("disk")))
    equal("its queues", drive["queues"], 1)
    equal("vCPU sections", [s["index"] for s in told["sections"] if s["name"] == "vcpu"], [0, 1])
    holds("features", any(f["leaf"] == 1 and f["bits"] for f in told["needs"]["processor"]["features"]))
    if told["memory_has_id"]:
        equal("id of the memory", os.getxattr(t.path("memory"), "user.mayfly.snapshot").decode(), told["id"])
    table = mayfly(t, "snapshot", "show", state)
    contains("the table", table, told["id"], "256 MiB", "rootfs", t.path("disk"), "vmgenid",
             told["needs"]["processor"]["vendor"])


@test("native")
def snapshot_check(t):
    state = saved(t)
    equal("a good one", mayfly(t, "snapshot", "check", state), "This host can run it.\n")
    os.rename(t.path("disk"), t.path("elsewhere"))
    told = mayfly(t, "snapshot", "check", state, status=FAILURE)
    contains("what is missing", told, "missing: drive rootfs: ", "No such file")
    equal("lines", len(told.splitlines()), 1)


@test("native")
def snapshot_show_hostile_name(t):
    """What a file has for a name is not obeyed by a terminal, and is no broken JSON."""
    state = saved(t)
    rewritten(t, b"\xa6rootfs", b"\xa6\x1b[2J\xff\n")
    table = mayfly(t, "snapshot", "show", state)
    contains("the table", table, "?[2J??")
    lacks("the table", table, "\x1b")
    told = json.loads(mayfly(t, "snapshot", "show", state, "--json"))
    equal("the id", told["devices"][0]["id"], "?[2J??")
    os.unlink(t.path("disk"))
    lacks("what is missing", mayfly(t, "snapshot", "check", state, status=FAILURE), "\x1b")


@test("native")
def snapshot_show_refusals(t):
    bad = t.file("bad", b"\x7fELF" * 100)
    contains("a file of another kind", mayfly(t, "snapshot", "show", bad, status=BAD_CONFIG), "not the state file")
    contains("no file", mayfly(t, "snapshot", "check", t.path("none"), status=BAD_CONFIG), "No such file")
    for args, why in (((), "show or check what"), (("show",), "no FILE"), (("eat", bad), "unknown command 'eat'"),
                      (("show", bad, bad), "one FILE"), (("check", bad, "--json"), "--json is show's"),
                      (("show", bad, "--xml"), "unknown option '--xml'")):
        contains("a refusal", mayfly(t, "snapshot", *args, status=BAD_ARGUMENTS), "mayfly: error: snapshot", why)
    contains("help", mayfly(t, "help", "snapshot"), "Usage: mayfly snapshot show FILE")


@test("native")
def snapshot_version_flags(t):
    state = saved(t)
    version = mayfly(t, "--snapshot-version")
    equal("version", version, "v1.0.0\n")
    equal("the file's", mayfly(t, "--describe-snapshot", state), version)
    bad = t.file("bad", b"\x7fELF" * 100)
    contains("another file", mayfly(t, "--describe-snapshot", bad, status=FAILURE), "not the state file")
