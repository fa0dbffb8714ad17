"""The serial port over the API socket: attached clients, their input, those that do not read."""

import base64
import contextlib
import json
import os
import socket
import time

from api import Served
from harness import artefact, becomes, contains, equal, holds, test
from native_payloads import need_kvm
from native_snapshot import release, save, start
from rpc import Rpc

# Bytes that the payload writes when it reads an f. Even byte by byte their notifications are less than a client may leave
# unread, so whoever waits for the end of each misses nothing, however slow it is.
FLOOD = 8192
FLOODS = 36


def guest(t, *args, **settings):
    """One that says S and echoes."""
    need_kvm()
    vm = Served(t, *args, **settings)
    rpc = Rpc(vm.path)
    rpc.call("machine.put", vcpu_count=1, mem_size_mib=64)
    rpc.call("boot.put", kernel_image_path=artefact("payload/echo.elf"))
    return vm, rpc


class Console:
    """A client that is attached, and all that it has heard."""

    def __init__(self, vm, **settings):
        self.rpc = Rpc(vm.path, **settings)
        self.rpc.call("console.attach")
        self.data, self.dropped = b"", 0

    def hears_one(self):
        name, [detail] = self.rpc.event()
        if name == "console.output":
            self.data += base64.b64decode(detail["data"])
            self.dropped += detail["dropped"]

    def hears(self, wanted):
        while wanted not in self.data:
            self.hears_one()
        return self

    def types(self, data):
        return self.rpc.call("console.write", data=base64.b64encode(data).decode())["taken"]

    def floods(self):
        """The payload says FLOOD bytes and a full stop; only these are in `data` then."""
        self.data = b""
        self.types(b"f")
        self.hears(b".")


@test("native")
def console_of_several_clients(t):
    """From the first byte; what one types all hear, and where the port's output goes anyway hears it too."""
    vm, rpc = guest(t)
    first, second = Console(vm), Console(vm)
    rpc.call("action", action_type="InstanceStart")
    first.hears(b"S")
    equal("taken", rpc.call("console.write", text="hello")["taken"], 5)
    first.hears(b"hello")
    second.hears(b"Shello")
    equal("bytes that are no text", first.types(b"\0\xff\x80"), 3)
    second.hears(b"\0\xff\x80")
    second.rpc.call("console.detach")
    late = Console(vm)
    first.types(b"abc")
    late.hears(b"abc")
    equal("what the one that has left heard", second.data, b"Shello\0\xff\x80")
    holds("nothing new for it", not second.rpc.events)
    late.rpc.socket.close()
    first.types(b"ghi")
    first.hears(b"ghi")
    equal("lost", first.dropped + second.dropped, 0)
    vm.wait_for(b"Shello\0\xff\x80abcghi")
    first.types(b"q")
    vm.ends(0)


@test("native")
def console_output_to_its_end(t):
    """Whoever reads loses nothing, and the last byte comes before the end does."""
    vm, rpc = guest(t)
    rpc.call("serial.put", serial_out_path="/dev/null")
    console = Console(vm)
    console.rpc.call("events.subscribe", events=["vm.ended"])
    rpc.call("action", action_type="InstanceStart")
    console.hears(b"S")
    for _ in range(3):
        console.floods()
        equal("bytes", (console.data.count(b"x"), console.dropped), (FLOOD, 0))
    console.types(b"abcq")
    console.hears(b".abc")
    equal("then", console.rpc.event(), ["vm.ended", [{"how": "reset", "text": "the guest has restarted (i8042)"}]])
    vm.ends(0)


@test("native", limit=150)
def console_of_a_client_that_does_not_read(t):
    """It holds up neither the guest nor the others, costs a bounded amount of memory, and learns what it has lost."""
    vm, rpc = guest(t)
    rpc.call("serial.put", serial_out_path="/dev/null")
    deaf = Console(vm)
    deaf.rpc.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    good = Console(vm)
    rpc.call("action", action_type="InstanceStart")
    good.hears(b"S")
    begin = time.monotonic()
    for flood in range(FLOODS):
        good.types(b"f")
        while good.data.count(b".") <= flood:
            good.hears_one()
    good.types(b"!")
    good.hears(b"!")
    t.log(f"{time.monotonic() - begin:.1f} s")
    equal("what the other one has lost", (good.data.count(b"x"), good.dropped), (FLOODS * FLOOD, 0))
    for piece in range(20):  # while it catches up
        good.types(b"%d" % piece)
        good.hears(b"%d" % piece)
        while deaf.rpc.events or piece < 19 and has_input(deaf.rpc.socket):
            deaf.hears_one()
    deaf.hears(b"19")
    equal("all of it, or counted", len(deaf.data) + deaf.dropped, len(good.data))
    holds("some lost", deaf.dropped > 0, str(deaf.dropped))


def has_input(stream):
    stream.setblocking(False)
    try:
        return bool(stream.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        stream.settimeout(10)


@test("native")
def console_input_ahead_of_the_guest(t):
    """What the guest does not take yet waits, up to a bound; the rest is the client's until it hears of room."""
    vm, rpc = guest(t)
    console = Console(vm)
    rpc.refused("console.write", "before starting", text="early")
    rpc.call("action", action_type="InstanceStart")
    console.hears(b"S")
    rpc.call("vm.patch", state="Paused")
    text = bytes(range(ord("A"), ord("Z") + 1)) * 400
    taken = 0
    while more := console.types(text[taken:]):
        taken += more
    equal("ahead of the guest: the port's own, and as much as waits", taken, 4096 + 256)
    rpc.call("vm.patch", state="Resumed")
    while taken < len(text):
        while console.rpc.event()[0] != "console.room":
            pass
        taken += console.types(text[taken:])
    console.types(b"!")
    console.data = b""
    console.hears(b"!")
    vm.wait_for(b"S" + text + b"!")


@test("native")
def console_refusals(t):
    vm, rpc = guest(t)
    rpc.call("action", action_type="InstanceStart")
    rpc.refused("console.write", "one of `text` and `data`")
    rpc.refused("console.write", "one of `text` and `data`", text="a", data="YQ==")
    for data in ("a", "YQ", "====", "Y$==", "YQ==Y"):
        rpc.refused("console.write", "`data` is not base64", data=data)
    equal("nothing at all", rpc.call("console.write", text=""), {"taken": 0})
    rpc.call("console.detach")
    contains("a call by HTTP", vm.client.call("PUT", "/console", {}).body, "Invalid request")


@test("native")
def console_of_a_restored_microvm(t):
    save(t, start(t))
    release(t)
    vm = Served(t, name="clone.sock")
    console = Console(vm)
    console.rpc.call("snapshot.restore", snapshot_path=t.path("state"),
                     mem_backend={"backend_type": "File", "backend_path": t.path("memory")})
    console.hears(b"R")
    vm.ends(0)


@test("native")
def console_with_output_to_a_file(t):
    vm, rpc = guest(t)
    rpc.call("serial.put", serial_out_path=t.path("serial"))
    console = Console(vm)
    rpc.call("action", action_type="InstanceStart")
    console.hears(b"S").types(b"abc")
    console.hears(b"Sabc")
    becomes("the same in the file", lambda: open(t.path("serial"), "rb").read() == b"Sabc")
    equal("output", vm.out, b"")


def read_all(pipe):
    data = b""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(pipe, 1 << 16):
            data += more
    return data


@test("native")
def console_with_output_to_a_pipe_that_nobody_reads(t):
    """The guest goes on; who comes later reads what the pipe has held, then what comes; the rest is counted and told."""
    vm, rpc = guest(t)
    os.mkfifo(t.path("serial"))
    rpc.call("serial.put", serial_out_path=t.path("serial"))
    rpc.call("metrics.put", metrics_path=t.file("metrics"))
    console = Console(vm)
    rpc.call("action", action_type="InstanceStart")
    console.hears(b"S")
    for _ in range(16):
        console.floods()
    vm.wait_for_error("nobody reads the guest's output")
    reader = os.open(t.path("serial"), os.O_RDONLY | os.O_NONBLOCK)
    first = read_all(reader)
    vm.wait_for_error("the guest's output is read again")
    first += read_all(reader)
    holds("its beginning, as much as a pipe holds", len(first) >= 1 << 16 and first.startswith(b"Sxxx"), len(first))
    console.types(b"abc")
    console.hears(b"abc")
    becomes("what comes now", lambda: read_all(reader) == b"abc")
    rpc.call("action", action_type="FlushMetrics")
    lost = sum(json.loads(line)["uart"]["error_count"] for line in open(t.path("metrics"), encoding="utf-8"))
    equal("read and lost", len(first) + lost, 1 + 16 * (FLOOD + 1))
    os.close(reader)
    console.types(b"q")
    vm.ends(0)
    contains("at its end", vm.errors(), f"{lost} bytes of the guest's output were lost")
