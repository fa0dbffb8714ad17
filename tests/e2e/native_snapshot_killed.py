"""A save that is cut off by SIGKILL at any moment: nothing or a whole pair, the old, the new, or one that a load refuses."""

import os
import random
import struct
import time
import zlib
from collections import Counter

import msgpack
from api import Served
from harness import Failure, equal, holds, test
from native_snapshot import load_body, start_writing

PAGES, FIRST = 512, 2 << 20  # what the payload that writes writes to
POINTS = 200


def sections(path):
    """{(name, index): fields} of a state file, which must be whole."""
    with open(path, "rb") as file:
        parts = list(msgpack.Unpacker(file))
    equal("a state file's head", parts[0], ["mayfly snapshot", 1, len(parts) - 1])
    found = {}
    for checksum, body in parts[1:]:
        equal("a section's checksum", zlib.crc32(body), checksum)
        name, index, _, fields = msgpack.unpackb(body)
        found[name, index] = fields
    return found


def memory_id(path):
    return os.getxattr(path, "user.mayfly.snapshot").decode()


def state_id(path):
    return sections(path)["snapshot", 0]["id"].hex()


def check_whole(t, name):
    """Memory is of the moment that the vCPU's registers are of: the guest counts, and each page has the last count but
    those of its neighbours."""
    count = sections(t.path(f"state{name}"))["vcpu", 0]["regs"]["rcx"]
    with open(t.path(f"memory{name}"), "rb") as file:
        equal("length of the memory file", file.seek(0, os.SEEK_END), 128 << 20)
        file.seek(FIRST)
        data = file.read(PAGES * 4096)
    counts = [struct.unpack_from("<I", data, page * 4096)[0] for page in range(PAGES)]
    last = max(counts)
    holds("memory of the moment of the state", last in (count, count - 1), f"{last} written, {count} in the register")
    holds("every page of one moment", counts == [max(0, last - (last - page) % PAGES) for page in range(PAGES)])


def busy_guest(t, name):
    vm = start_writing(t, name=f"{name}.sock")
    vm.patch("/vm", {"state": "Paused"})
    return vm


def save_request(t, vm, name):
    """Sent, not answered."""
    body = (f'{{"snapshot_path": "{t.path("state" + name)}", "mem_file_path": "{t.path("memory" + name)}"}}').encode()
    vm.client.send(b"PUT /snapshot/create HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def how_long(t):
    """A save, in seconds, the slowest of some."""
    vm = busy_guest(t, "timing")
    longest = 0
    for _ in range(5):
        begin = time.monotonic()
        save_request(t, vm, "timing")
        equal("a save", vm.client.answer().status, 204)
        longest = max(longest, time.monotonic() - begin)
    vm.end()
    check_whole(t, "timing")
    return longest


def killed_save(t, vm, name, seconds):
    """The process is gone after so long, wherever it was."""
    save_request(t, vm, name)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    vm.end()
    os.unlink(vm.path)


def loads(t, name):
    """None when it does, else why not."""
    clone = Served(t, name="check.sock")
    answer = clone.client.call("PUT", "/snapshot/load", load_body(t, name, resume_vm=False))
    clone.end()
    if os.path.exists(clone.path):
        os.unlink(clone.path)
    return None if answer.status == 204 else answer.fault()


def forget(t, name):
    for file in (f"state{name}", f"memory{name}", f".state{name}.saving", f".memory{name}.saving"):
        if os.path.exists(t.path(file)):
            os.unlink(t.path(file))


def points(t):
    longest = how_long(t)
    for number in range(POINTS):
        yield number, random.uniform(0, longest * 1.3)


@test("native", limit=300)
def snapshot_killed_while_it_saves(t):
    """Into fresh names. What a save left beside them is in no later save's way."""
    seen = Counter()
    for number, seconds in points(t):
        vm = busy_guest(t, "fresh")
        killed_save(t, vm, "", seconds)
        has_state, has_memory = (os.path.exists(t.path(file)) for file in ("state", "memory"))
        kind = (has_state, has_memory, os.path.exists(t.path(".memory.saving")))
        seen[kind] += 1
        if has_state:
            holds("memory that goes with the state", has_memory)
            equal("its id", memory_id(t.path("memory")), state_id(t.path("state")))
            check_whole(t, "")
        if seen[kind] <= 3:
            equal("a load", loads(t, "") is None, has_state)
        if number % 10:
            forget(t, "")
        else:
            for file in ("state", "memory"):  # the half ones stay
                if os.path.exists(t.path(file)):
                    os.unlink(t.path(file))
    t.log(f"state, memory, a half one: {dict(seen)}")
    holds("kills on either side of the renames", len(seen) > 1, dict(seen))


@test("native", limit=300)
def snapshot_killed_while_it_saves_over_another(t):
    """The old pair, the new one, or two that do not belong together and that a load names."""
    seen = Counter()
    for _, seconds in points(t):
        vm = busy_guest(t, "over")
        save_request(t, vm, "")
        equal("the first save", vm.client.answer().status, 204)
        old = state_id(t.path("state"))
        vm.patch("/vm", {"state": "Resumed"})
        vm.patch("/vm", {"state": "Paused"})
        killed_save(t, vm, "", seconds)
        state, memory = state_id(t.path("state")), memory_id(t.path("memory"))
        kind = "mixed" if state != memory else "old" if state == old else "new"
        seen[kind] += 1
        if kind != "mixed":
            check_whole(t, "")
        if kind == "mixed" or seen[kind] <= 3:
            check_load(t, kind)
        forget(t, "")
    t.log(f"pairs: {dict(seen)}")
    holds("kills before and after the renames", seen["old"] and seen["new"], dict(seen))


def check_load(t, kind):
    why = loads(t, "")
    if kind != "mixed":
        equal("why a whole pair is refused", why, None)
    elif not why or "do not belong together" not in why:
        raise Failure("a mixed pair refused by name", why)
