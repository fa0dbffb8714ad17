"""Snapshots and clients that mean no good: every field spoilt, two loads at once, a client that dies, a full disk."""

import copy
import json
import os
import random
import subprocess
import threading
import time
import zlib

import msgpack
from api import Client, Served
from harness import MAYFLY, Failure, Skip, becomes, contains, equal, holds, test
from native_snapshot import (create, load, load_body, memory, merge_is_all, release, run_a_little, save, start, start_writing)
from native_snapshot_devices import ask_for_all, saved_with_all

# Fields ---------------------------------------------------------------------------------------------

SECCOMP = 148  # a monitor's status when it asked for what it must not

VALUES = (0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, -1, "", "x" * 5000, b"\0" * 64, [], {}, None, True, 1.5)


def read_state(t, name="state"):
    """[[name, index, version, fields], ...]"""
    with open(t.path(name), "rb") as file:
        parts = list(msgpack.Unpacker(file))
    return [msgpack.unpackb(body) for _, body in parts[1:]]


def write_state(t, bodies, name="state"):
    """With checksums that hold."""
    data = msgpack.packb(["mayfly snapshot", 1, len(bodies)])
    for body in map(msgpack.packb, bodies):
        data += msgpack.packb([zlib.crc32(body), body])
    return t.file(name, data)


def leaves(value, path=()):
    """Where there is something to spoil: fields, and the first elements of lists."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], path + (key,))
    elif isinstance(value, list):
        for index in range(min(len(value), 2)):
            yield from leaves(value[index], path + (index,))


def spoil(bodies, section, path, value):
    spoilt = copy.deepcopy(bodies[section])
    at = spoilt
    for key in (3, *path[:-1]):
        at = at[key]
    if path:
        at[path[-1]] = value
    else:
        spoilt[3] = value
    return bodies[:section] + [spoilt] + bodies[section + 1:]


def same_kind(value, old):
    """A few bits of it, where a whole other value is refused at once."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, int):
        return old ^ 1 << random.randrange(64)
    if isinstance(old, bytes) and old:
        at = random.randrange(len(old))
        return old[:at] + bytes([old[at] ^ 1 << random.randrange(8)]) + old[at + 1:]
    return value


def get(bodies, section, path):
    at = bodies[section][3]
    for key in path:
        at = at[key]
    return at


class Prepared:
    """A process with one of each device that takes load after load until one succeeds."""

    def __init__(self, t):
        self.t, self.vm, self.count = t, None, 0

    def prepare(self):
        """The one before was killed; of such a process the kernel lets the tap go a little after its end."""
        becomes("a tap that is free", lambda: "is in use" not in self.answer_to_prepare(), 20)

    def answer_to_prepare(self):
        answer = self.vm.client.call("PUT", "/snapshot/prepare", {})
        holds("an answer", answer.status == 204 or "tap0 is in use" in answer.body, answer)
        return answer.body

    def try_load(self, what):
        if not self.vm:
            if os.path.exists(self.t.path("vsock")):
                os.unlink(self.t.path("vsock"))
            self.vm = Served(self.t, name=f"prepared{self.count}.sock")
            ask_for_all(self.t, self.vm)
            self.prepare()
            self.count += 1
        answer = self.vm.client.call("PUT", "/snapshot/load", load_body(self.t, resume_vm=False))
        if answer.status == 204:
            self.run_a_moment(what)
            return True
        equal(f"status with {what}", answer.status, 400)
        contains(f"why {what} is refused", answer.fault(), "Load snapshot error: ")
        holds("a reason", len(answer.fault()) > len("Load snapshot error: ") + 10, answer.fault())
        return False


    def run_a_moment(self, what):
        """Whatever the guest does with what it got, it is the guest's end at most."""
        try:
            self.vm.client.call("PATCH", "/vm", {"state": "Resumed"})
        except (Failure, OSError):  # it ended before it could answer
            self.vm.wait()
        time.sleep(0.005)
        status = self.vm.process.poll()
        holds(f"no crash with {what}", status is None or 0 <= status != SECCOMP, self.vm.said())
        self.vm.end()
        self.vm = None


@test("native", limit=240)
def snapshot_with_each_field_spoilt(t):
    """Each is refused with a reason, or can be; the process survives both, and takes the good one after all."""
    saved_with_all(t)
    bodies = read_state(t)
    prepared, loaded, refused = Prepared(t), 0, 0
    for section, (name, index, _, fields) in enumerate(bodies):
        for path in leaves(fields):
            value = random.choice(VALUES)
            if path and random.random() < 0.5:
                value = same_kind(value, get(bodies, section, path))
            what = f"{name} {index} {path} {value!r:.40}"
            t.log(what)
            write_state(t, spoil(bodies, section, path, value))
            if prepared.try_load(what):
                loaded += 1
            else:
                refused += 1
    t.log(f"{loaded} loaded, {refused} refused, {prepared.count} processes")
    holds("most are refused", refused > loaded, f"{refused} and {loaded}")
    write_state(t, bodies)
    holds("the good one is taken", prepared.try_load("nothing"))


@test("native")
def snapshot_with_sections_missing_and_twice(t):
    vm = start(t)
    save(t, vm)
    vm.end()
    bodies = read_state(t)
    for section, (name, index, _, _) in enumerate(bodies):
        write_state(t, bodies[:section] + bodies[section + 1:])
        clone = Served(t, name=f"without{section}.sock")
        answer = clone.client.call("PUT", "/snapshot/load", load_body(t, resume_vm=False))
        if name in ("vmgenid", "vmclock", "mmds"):  # of an older mayfly's
            equal("status", answer.status, 204)
            clone.end()
            continue
        equal(f"status without {name} {index}", answer.status, 400)
        clone.ends(1)
    write_state(t, bodies)
    load(t, sock="good.sock", resume_vm=False).end()


@test("native")
def snapshot_of_another_processor(t):
    """A feature that this host lacks is named by the load and by `snapshot check`; a model that differs is no matter."""
    vm = start(t)
    save(t, vm)
    vm.end()
    bodies = read_state(t)
    entries = next(fields for name, _, _, fields in bodies if name == "cpuid")["entries"]
    leaf = next(entry for entry in entries if entry["function"] == 7 and entry["index"] == 0)
    was = leaf["ecx"]
    lacking = next(1 << bit for bit in range(31, -1, -1) if not was >> bit & 1)
    leaf["ecx"] = was | lacking
    write_state(t, bodies)
    clone = Served(t, name="clone.sock")
    clone.refused("PUT", "/snapshot/load", load_body(t), "processor lacks", f"0x7.0.ecx {lacking:#x}")
    clone.ends(1)
    done = subprocess.run([MAYFLY, "snapshot", "check", t.path("state")], capture_output=True, text=True, timeout=20,
                          check=False)
    equal("status of the check", done.returncode, 1)
    contains("what is missing", done.stdout + done.stderr, f"0x7.0.ecx {lacking:#x}")


@test("native")
def snapshot_of_another_kvm(t):
    """The capabilities that the state needs are listed; one that this host's KVM lacks is named by load and check."""
    vm = start(t)
    save(t, vm)
    vm.end()
    told = json.loads(subprocess.run([MAYFLY, "snapshot", "show", t.path("state"), "--json"], capture_output=True, timeout=20,
                                     check=True).stdout)
    for name in ("KVM_CAP_SPLIT_IRQCHIP", "KVM_CAP_IMMEDIATE_EXIT", "KVM_CAP_XSAVE"):
        holds(f"it needs {name}", name in told["needs"]["capabilities"], told["needs"]["capabilities"])
    bodies = read_state(t)
    next(fields for name, _, _, fields in bodies if name == "snapshot")["capabilities"].append(99999)
    write_state(t, bodies)
    done = subprocess.run([MAYFLY, "snapshot", "check", t.path("state")], capture_output=True, text=True, timeout=20,
                          check=False)
    equal("the check", (done.returncode, done.stdout), (1, "missing: its KVM lacks capability 99999, which the state needs\n"))
    for prepared in (False, True):
        clone = Served(t, name=f"{prepared}.sock")
        if prepared:
            clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
            clone.put("/snapshot/prepare", {})
        clone.refused("PUT", "/snapshot/load", load_body(t), "this host's KVM lacks what its state needs: capability 99999")


# Clients --------------------------------------------------------------------------------------------


def at_once(*calls):
    answers = [None] * len(calls)

    def run(number):
        answers[number] = calls[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@test("native")
def snapshot_loaded_twice_at_once(t):
    """By two clients into one process: one has it, the other is refused. Into two processes: both have theirs."""
    vm = start(t)
    save(t, vm)
    vm.end()
    for attempt in range(5):
        clone = Served(t, name=f"clone{attempt}.sock")
        clients = [Client(clone.path), Client(clone.path)]
        answers = at_once(*(lambda c=client: c.call("PUT", "/snapshot/load", load_body(t)) for client in clients))
        equal("statuses", sorted(answer.status for answer in answers), [204, 400])
        contains("why", next(answer for answer in answers if answer.status == 400).body, "not supported after starting")
        equal("state", clone.get("/")["state"], "Running")
        clone.end()
    release(t)
    clones = [Served(t, name=f"both{number}.sock") for number in range(2)]
    answers = at_once(*(lambda c=clone: c.client.call("PUT", "/snapshot/load", load_body(t)) for clone in clones))
    equal("statuses", [answer.status for answer in answers], [204, 204])
    for clone in clones:
        contains("output", clone.ends(0).text(), "R")


def send_and_die(vm, path, text):
    client = Client(vm.path)
    client.send(f"PUT {path} HTTP/1.1\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode())
    client.socket.close()


@test("native")
def snapshot_client_dies_in_the_middle(t):
    """Half a request does nothing; a whole one is carried out though nobody hears of it."""
    vm = start(t)
    vm.patch("/vm", {"state": "Paused"})
    body = json.dumps({"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")})
    client = Client(vm.path)
    client.send(f"PUT /snapshot/create HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body[:-10]}".encode())
    client.socket.close()
    equal("state", vm.get("/")["state"], "Paused")
    holds("no file", not os.path.exists(t.path("state")) and not os.path.exists(t.path("memory")))
    send_and_die(vm, "/snapshot/create", body)
    equal("state", vm.get("/")["state"], "Paused")
    becomes("a whole pair", lambda: os.path.exists(t.path("state")))
    vm.patch("/vm", {"state": "Resumed"})
    vm.end()
    release(t)
    clone = Served(t, name="clone.sock")
    send_and_die(clone, "/snapshot/load", json.dumps(load_body(t)))
    contains("output", clone.ends(0).text(), "R")


# A full disk ----------------------------------------------------------------------------------------


def small_disk(t, size):
    path = t.path("small")
    os.mkdir(path)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
                                           capture_output=True, check=False).returncode != 0:
        raise Skip("a small filesystem cannot be mounted here")
    t.cleanups.append(lambda: subprocess.run(["umount", "-l", path], check=False))
    return path


@test("native")
def snapshot_on_a_small_disk(t):
    """Full and diff saves fail by name there, leave nothing, and no page that was written is lost to the next diff."""
    disk = small_disk(t, "512k")
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    run_a_little(vm)
    for kind in ("Full", "Diff"):
        vm.refused("PUT", "/snapshot/create", {"snapshot_path": f"{disk}/state", "mem_file_path": f"{disk}/memory",
                                               "snapshot_type": kind}, "No space left on device", f"{disk}/memory")
        equal("what is left", os.listdir(disk), [])
    create(t, vm, "1", "Diff")
    create(t, vm, "all")
    merge_is_all(t, "0", "1")
    vm.patch("/vm", {"state": "Resumed"})
    equal("state", vm.get("/")["state"], "Running")
    vm.end()


@test("native")
def snapshot_state_on_a_full_disk(t):
    """Memory finds its place, the state does not: the old pair stays."""
    disk = small_disk(t, "4k")
    vm = start(t)
    save(t, vm)
    with open(f"{disk}/filler", "wb") as file:
        file.write(b"x" * 4096)
    before = memory(t, "")
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": f"{disk}/state", "mem_file_path": t.path("memory")},
               "No space left on device", f"{disk}/state")
    holds("the old memory", memory(t, "") == before)
    equal("what is left", sorted(os.listdir(disk)), ["filler"])
    holds("nothing beside it", not [name for name in os.listdir(t.dir) if name.endswith(".saving")])
    vm.end()
    release(t)
    load(t).ends(0)
