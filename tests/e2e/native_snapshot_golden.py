"""Snapshots of earlier versions: each golden state file is loaded and its guest goes on; and a format that has changed since
the newest of them says so, and gets one more.

    MAYFLY_NEW_GOLDEN=tests/unit/golden/snapshot-N.state tests/e2e/run snapshot-is-as-the-newest-golden-one

writes it. The files of before stay."""

import glob
import os
import shutil

import msgpack
from api import Served
from harness import ROOT, Failure, contains, equal, holds, test
from native_snapshot import release, save
from native_snapshot_devices import ask_for_settings, start_with
from native_snapshot_hostile import read_state, write_state

GOLDEN = sorted(glob.glob(os.path.join(ROOT, "tests/unit/golden/snapshot-*.state")))

# What of a vCPU's section is this host's: with another's no guest would run here, whatever the format.
OF_THE_HOST = ("msrs", "xsave", "xcrs", "tsc_khz", "tsc", "has_tsc_offset", "tsc_offset")


def ask_for_all(t, vm):
    ask_for_settings(t, vm)
    vm.put("/vsock", {"guest_cid": 33, "uds_path": t.path("vsock")})
    vm.put("/mmds/config", {"version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.9.9", "imds_compat": True})
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 128, "smt": True, "huge_pages": "Transparent"})


def save_now(t, ask):
    """Of this version; its state. The guest waits, as that of the golden files does."""
    vm = start_with(t, ask)
    save(t, vm)
    vm.end()
    if os.path.exists(t.path("vsock")):
        os.unlink(t.path("vsock"))
    return read_state(t)


def ask_for_a_drive(t, vm):
    vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})


def read_golden(path):
    with open(path, "rb") as file:
        return [msgpack.unpackb(body) for _, body in list(msgpack.Unpacker(file))[1:]]


def at_home(golden, now):
    """The golden state with what is the host's of the other."""
    here = {(name, index): fields for name, index, _, fields in now}
    for name, index, _, fields in golden:
        if name == "cpuid":
            fields["entries"] = here[name, index]["entries"]
        elif name == "vcpu":
            fields.update({key: here[name, index][key] for key in OF_THE_HOST})
        elif name == "clock":
            fields.update(here[name, index])
        elif name == "snapshot":
            fields["id"] = here[name, index]["id"]
            if "capabilities" in fields:
                fields["capabilities"] = here[name, index]["capabilities"]
    return golden


@test("native", "snapshot-golden-1", number=1, ask=ask_for_a_drive)
@test("native", "snapshot-golden-2", number=2, ask=ask_for_all)
@test("native", "snapshot-golden-3", number=3, ask=ask_for_all)
def snapshot_golden(t, number, ask):
    now = save_now(t, ask)
    golden = read_golden(os.path.join(ROOT, f"tests/unit/golden/snapshot-{number}.state"))
    write_state(t, at_home(golden, now))
    release(t)
    config = next(fields for name, _, _, fields in golden if name == "config")
    body = {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory"),
            "drive_overrides": [{"drive_id": "rootfs", "path_on_host": t.path("disk")}]}
    if config["pmems"]:
        body["pmem_overrides"] = [{"id": "pmem0", "path_on_host": t.path("pmem")}]
    if config["has_vsock"]:
        body["vsock_override"] = {"uds_path": t.path("vsock")}
    for prepared in (False, True):
        clone = Served(t, name=f"{prepared}.sock")
        if prepared:
            ask(t, clone)
            clone.put("/snapshot/prepare", {})
        clone.put("/snapshot/load", body)
        shown = clone.get("/vm/config")
        equal("the drive", shown["drives"][0]["path_on_host"], t.path("disk"))
        equal("interfaces", [net["mtu"] for net in shown["network-interfaces"]], [1400] * len(config["nets"]))
        clone.patch("/vm", {"state": "Resumed"})
        contains("output", clone.ends(0).text(), "R")


def of_no_machine(bodies):
    """Without names of where it was made."""
    for name, _, _, fields in bodies:
        if name == "config":
            fields["drives"][0]["path"], fields["pmems"][0]["path"] = "/golden/disk", "/golden/pmem"
            fields["vsock_path"], fields["kernel"] = "/golden/vsock", "/golden/kernel"
        elif name == "vsock" and "path" in fields:
            fields["path"] = "/golden/vsock"
        elif name == "snapshot":
            fields["host_kernel"] = "6.12.0-10-amd64"
    return bodies


def shape(value):
    """Names of fields and kinds of values, without the values."""
    if isinstance(value, dict):
        return {key: shape(value[key]) for key in value}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def same(old, new):
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(same(old[key], new[key]) for key in old)
    if isinstance(old, list) and isinstance(new, list):
        return not old or not new or same(old[0], new[0])
    return old == new


@test("native")
def snapshot_is_as_the_newest_golden_one(t):
    """Who changes a table of fields gives it another version, and writes a golden file of that."""
    now = save_now(t, ask_for_all)
    wanted = os.environ.get("MAYFLY_NEW_GOLDEN")
    if wanted:
        write_state(t, of_no_machine(now))
        shutil.copy(t.path("state"), os.path.join(ROOT, wanted))
        return
    equal("golden files", [os.path.basename(path) for path in GOLDEN],
          [f"snapshot-{number}.state" for number in range(1, len(GOLDEN) + 1)])
    golden = {(name, index): (version, fields) for name, index, version, fields in read_golden(GOLDEN[-1])}
    holds("the same sections", {(name, index) for name, index, _, _ in now} == golden.keys(), golden.keys())
    for name, index, version, fields in now:
        equal(f"version of {name}, or a new golden file", golden[name, index][0], version)
        if not same(shape(golden[name, index][1]), shape(fields)):
            raise Failure(f"the fields of {name} in version {version}", shape(fields))
