"""`mayfly snapshot show` and `check`, and Firecracker's flags for a snapshot's version."""

import json
import os
import zlib

from harness import contains, equal, holds, lacks, test
from native_snapshot import load, refused_load, release, save, start
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


def rewritten(t, section, old, new):
    """The state file with a name in a section replaced by one of the same length, and its checksum made good."""
    with open(t.path("state"), "rb") as file:
        state = file.read()
    equal("lengths", len(old), len(new))
    body = state.index(b"\x94" + bytes([0xa0 + len(section)]) + section)
    # Before it stand a bin's head (c4 or c5: 1 or 2 bytes of length) and the checksum (ce: 4 bytes).
    digits = 1 if state[body - 2] == 0xc4 else 2
    head = body - digits - 1
    equal("a bin and a checksum", (state[head], state[head - 5]), (0xc3 + digits, 0xce))
    end = body + int.from_bytes(state[head + 1:body], "big")
    changed = state[body:end].replace(old, new)
    holds("a change", changed != state[body:end])
    t.file("state", state[:head - 4] + zlib.crc32(changed).to_bytes(4, "big") + state[head:body] + changed + state[end:])


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
    rewritten(t, b"config", b"\xa6rootfs", b"\xa6\x1b[2J\xff\n")
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
    for args, why in (((), "show, check or merge what"), (("show",), "no FILE"), (("eat", bad), "unknown command 'eat'"),
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


@test("native")
def snapshot_without_a_generation(t):
    """A version before VMGenID wrote it; or its number is to be where there is no memory."""
    with open(saved(t), "rb") as file:
        state = file.read()
    release(t)
    rewritten(t, b"vmgenid", b"\xce\x00\x0e\x00\x30", b"\xce\xff\xff\xff\xf8")
    refused_load(t, "vmgenid: no guest memory at 0xfffffff8")
    t.file("state", state)
    rewritten(t, b"vmgenid", b"\xa7vmgenid", b"\xa7nothing")
    contains("output", load(t).ends(0).text(), "R")
