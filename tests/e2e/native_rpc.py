"""MessagePack-RPC with payload guests: a session, descriptors, bad peers."""

import os
import socket
import struct

import msgpack
from api import Served
from harness import Failure, artefact, becomes, contains, equal, holds, test
from native_payloads import need_kvm
from native_snapshot import release, save, start, waiting_kernel
from rpc import Refused, Rpc


def configured(t, payload="spin"):
    vm = Served(t)
    rpc = Rpc(vm.path)
    rpc.call("machine.put", vcpu_count=1, mem_size_mib=64)
    rpc.call("boot.put", kernel_image_path=artefact(f"payload/{payload}.elf"))
    return vm, rpc


@test("native")
def rpc_session(t):
    """Everything that a program does with a microVM, with a library that is not ours."""
    vm = Served(t)
    rpc = Rpc(vm.path)
    rpc.call("machine.put", vcpu_count=1, mem_size_mib=64)
    rpc.call("boot.put", kernel_image_path=artefact("payload/spin.elf"))
    rpc.call("drive.put", drive_id="root", is_root_device=True, path_on_host=t.file("disk", size=1 << 20))
    rpc.call("events.subscribe", events=["vm.state", "vm.ended"])
    rpc.call("action", action_type="InstanceStart")
    equal("event", rpc.event(), ["vm.state", [{"state": "Running"}]])
    rpc.call("vm.patch", state="Paused")
    equal("event", rpc.event(), ["vm.state", [{"state": "Paused"}]])
    equal("state", rpc.call("vm.info")["state"], "Paused")
    rpc.call("vm.patch", state="Resumed")
    rpc.refused("machine.put", "after starting", vcpu_count=1, mem_size_mib=64)
    vm.signal(15)
    equal("events", [rpc.event(), rpc.event()],
          [["vm.state", [{"state": "Running"}]], ["vm.ended", [{"how": "stopped", "text": "Terminated"}]]])
    vm.ends(128 + 15)


@test("native")
def rpc_power_off_is_told(t):
    vm, rpc = configured(t, "byte")
    ended = rpc.send("events.wait", events=["vm.ended"])
    rpc.call("action", action_type="InstanceStart")
    equal("how it ended", rpc.answer(ended)["how"], "reset")
    vm.ends(0)


@test("native")
def rpc_pipelined(t):
    _, rpc = configured(t)
    numbers = [rpc.send("version") for _ in range(500)]
    for number in reversed(numbers):
        holds("a version", rpc.answer(number)["firecracker_version"])


@test("native")
def rpc_answers_out_of_order(t):
    _, rpc = configured(t)
    first = rpc.send("events.wait", events=["vm.state"])
    second = rpc.send("vm.info")
    equal("state, told before the older question is", rpc.answer(second)["state"], "Not started")
    holds("the older one still open", first not in rpc.answers)
    rpc.call("action", action_type="InstanceStart")
    equal("the older one's answer", rpc.answer(first), {"state": "Running"})
    many = [rpc.send("events.wait", events=["vm.ended"]) for _ in range(33)]
    contains("the 33rd's refusal", refusal(rpc, many[-1]), "too many")


def refusal(rpc, number):
    """Why the request was refused; one that was not is a failure."""
    try:
        came = rpc.answer(number)
    except Refused as refused:
        return str(refused)
    raise Failure("a refusal", came)


def descriptors(vm):
    return len(os.listdir(f"/proc/{vm.process.pid}/fd"))


@test("native")
def rpc_descriptor_for_a_drive(t):
    vm, rpc = configured(t)
    with open(t.file("disk", size=1 << 20), "r+b") as disk:
        os.unlink(disk.name)
        rpc.call("drive.put", [disk.fileno()], drive_id="root", is_root_device=True, path_on_host={"fd": 0})
    rpc.call("action", action_type="InstanceStart")
    equal("state", rpc.call("vm.info")["state"], "Running")


@test("native")
def rpc_descriptors_that_do_not_fit(t):
    vm, rpc = configured(t)
    drive = {"drive_id": "d", "is_root_device": False}
    before = descriptors(vm)
    with open(t.file("disk", size=1 << 20), "r+b") as disk:
        rpc.refused("drive.put", "path_on_host", **drive, path_on_host={"fd": 0})
        rpc.refused("drive.put", "path_on_host", fds=[disk.fileno()], **drive, path_on_host={"fd": 1})
        rpc.refused("drive.put", "path_on_host", fds=[disk.fileno()], **drive, path_on_host={"fd": -1})
        rpc.call("vm.info", [disk.fileno()] * 10)  # nobody asked for them
    equal("descriptors left", descriptors(vm), before)
    ends = socket.socketpair()
    rpc.call("drive.put", [ends[0].fileno()], **drive, path_on_host={"fd": 0})
    rpc.refused("action", "is a socket", action_type="InstanceStart")
    equal("state", rpc.call("vm.info")["state"], "Not started")


@test("native")
def rpc_flood_of_descriptors(t):
    vm, rpc = configured(t)
    before = descriptors(vm)
    flood = Rpc(vm.path)
    with open(t.file("disk", size=1 << 20), "r+b") as disk:
        try:
            for _ in range(50):
                flood.send("vm.info", [disk.fileno()] * 200)
        except OSError:
            pass
        flood.socket.close()
    rpc.call("vm.info")
    becomes("no descriptors left", lambda: descriptors(vm) == before)


def ends_connection(vm, rpc, data, t):
    """These bytes end their connection and nobody else's."""
    bad = Rpc(vm.path)
    bad.socket.sendall(data)
    message = bad.message()
    while message and message[0] == 1:
        message = bad.message()
    t.log(f"{data[:20]!r}: {message}")
    holds("the reason", message and message[:2] == [2, "error"] and message[2][0]["message"], str(message))
    equal("what follows", bad.message(), None)
    equal("the others' state", rpc.call("vm.info")["state"], "Running")


@test("native")
def rpc_bytes_that_are_none(t):
    vm, rpc = configured(t)
    rpc.call("action", action_type="InstanceStart")
    start = msgpack.packb([0, 1, "vm.info", []])
    for data in (b"\x94\x00\x01" + b"\xa7vm.info" + b"\x91" * 5000,  # a nesting bomb
                 b"\x94\x00\x01" + b"\xa7vm.info" + b"\x81\xa1a" * 2000,
                 b"\x94\xdd\xff\xff\xff\xff",  # arrays, maps and texts longer than anything
                 b"\x94\x00\x01\xdf\xff\xff\xff\xff",
                 b"\x94\x00\x01\xdb\xff\xff\xff\xff" + b"a" * 10,
                 b"\x94\x00\x01\xa7vm.info\x91\xdf\x7f\xff\xff\xff",
                 start + b"\xc1",
                 msgpack.packb([0, 1, "vm.info"]), msgpack.packb([7, 1, "vm.info", []]),
                 msgpack.packb([0, 1 << 40, "vm.info", []]), msgpack.packb([0, -1, "vm.info", []]),
                 msgpack.packb([0, 1, "vm.info", [1]]), msgpack.packb([0, 1, 2, []]),
                 msgpack.packb([0, 1, "vm.info", [{}, {}]]), msgpack.packb([0, 1, "mmds.put", [{"a": b"\xff"}]]),
                 b"\x94\x00\x01\xa7vm.info\x91\x82\xa1a\x01\xa1a\x02",  # a key twice
                 b"\x94\x00\x01\xa7vm.info\x91\x81\xa2a\xff\x01"):  # no UTF-8
        ends_connection(vm, rpc, data, t)


@test("native")
def rpc_half_a_message(t):
    vm, rpc = configured(t)
    whole = msgpack.packb([0, 1, "drive.put", [{"drive_id": "d", "is_root_device": False}]])
    for end in range(1, len(whole), 3):
        half = Rpc(vm.path)
        half.socket.sendall(whole[:end])
        half.socket.close()
    slow = Rpc(vm.path)
    for byte in whole:
        slow.socket.sendall(bytes([byte]))
    slow.last = 1
    rpc.call("vm.info")
    contains("the refusal of what came byte by byte", refusal(slow, 1), "Invalid block config")
    reset = Rpc(vm.path)
    reset.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    reset.send("methods")
    reset.socket.close()
    rpc.call("vm.info")


def resident_kib(vm):
    for line in vm.proc("status").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


@test("native")
def rpc_peer_that_stops_reading(t):
    """It is held up and costs little; that it is cut off a minute later is a unit test of the server's."""
    vm, rpc = configured(t)
    before = resident_kib(vm)
    deaf = Rpc(vm.path, patience=0.5)
    sent = 0
    flood = msgpack.packb([0, 1, "methods", []]) * 1000
    try:
        while sent < 1 << 26:
            sent += deaf.socket.send(flood)
    except (TimeoutError, OSError):
        pass
    holds("a flood that is held up", sent < 1 << 26, str(sent))
    for _ in range(100):
        rpc.call("vm.info")
    holds("bounded memory", resident_kib(vm) < before + 8192, f"{before} KiB, then {resident_kib(vm)}")


@test("native")
def rpc_subscriber_that_stops_reading(t):
    """Events pile up to a bound; then it is disconnected, and the guest has not noticed."""
    vm, rpc = configured(t)
    deaf = Rpc(vm.path)
    deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.call("events.subscribe", events=["vm.state"])
    rpc.call("action", action_type="InstanceStart")
    before, count = descriptors(vm), 0
    while descriptors(vm) == before and count < 60000:
        for _ in range(100):
            rpc.send("vm.patch", state="Paused")
            number = rpc.send("vm.patch", state="Resumed")
        rpc.answer(number)
        rpc.answers.clear()
        count += 200
    t.log(f"{count} events until it was disconnected")
    equal("descriptors", descriptors(vm), before - 1)
    equal("state", rpc.call("vm.info")["state"], "Running")


# Everything at once ------------------------------------------------------------------------------------


def whole(t, **more):
    disk = t.file("disk", size=1 << 20)
    return {"machine-config": {"vcpu_count": 1, "mem_size_mib": 64},
            "boot-source": {"kernel_image_path": artefact("payload/spin.elf")},
            "drives": [{"drive_id": "a", "is_root_device": True, "path_on_host": disk},
                       {"drive_id": "b", "is_root_device": False, "path_on_host": {"fd": 0}}],
            "balloon": {"amount_mib": 1, "deflate_on_oom": False}, "entropy": {},
            "vsock": {"guest_cid": 3, "uds_path": t.path("v.sock")}, **more}


@test("native")
def rpc_configure_and_start(t):
    vm = Served(t)
    rpc = Rpc(vm.path)
    with open(t.file("other", size=1 << 20), "r+b") as other:
        rpc.call("vm.configure_and_start", [other.fileno()], **whole(t))
    equal("state", rpc.call("vm.info")["state"], "Running")
    config = rpc.call("vm.config")
    equal("drives", [drive["drive_id"] for drive in config["drives"]], ["a", "b"])
    equal("memory", config["machine-config"]["mem_size_mib"], 64)


@test("native")
def rpc_configure_and_start_all_or_nothing(t):
    vm = Served(t)
    rpc = Rpc(vm.path)
    fresh = rpc.call("vm.config")
    before = descriptors(vm)
    with open(t.file("other", size=1 << 20), "r+b") as other:
        lie = {"drive_id": "b", "is_root_device": False, "path_on_host": {"fd": 9}}
        for words, change in ((["drives[1]", "descriptor"], {"drives": [whole(t)["drives"][0], lie]}),
                              (["balloon", "too large"], {"balloon": {"amount_mib": 65, "deflate_on_oom": False}}),
                              (["machine-config", "no map"], {"machine-config": "file.json"}),
                              (["boot-source"], {"boot-source": None}),
                              (["unknown field"], {"boot": {}}),
                              (["drives", "no list"], {"drives": {}}),
                              (["Start microvm error"], {"boot-source": {"kernel_image_path": t.path("disk")}})):
            rpc.refused("vm.configure_and_start", *words, fds=[other.fileno()], **whole(t, **change))
            equal(f"configuration after a refusal for {words}", rpc.call("vm.config"), fresh)
            equal("descriptors left", descriptors(vm), before)
        rpc.call("machine.put", vcpu_count=1, mem_size_mib=64)
        rpc.refused("vm.configure_and_start", "configured already", fds=[other.fileno()], **whole(t))
        equal("what was configured", rpc.call("vm.config")["machine-config"]["mem_size_mib"], 64)


@test("native")
def rpc_snapshot_restore(t):
    """A clone in one call, of files that it has no names for."""
    save(t, start(t))
    release(t)
    vm = Served(t, name="clone.sock")
    rpc = Rpc(vm.path)
    rpc.call("events.subscribe", events=["vm.state"])
    before = descriptors(vm)
    with open(t.path("state"), "rb") as state, open(t.path("memory"), "rb") as memory, open(t.file("other", size=1 << 20),
                                                                                           "r+b") as other:
        rpc.call("snapshot.restore", [state.fileno(), memory.fileno(), other.fileno()], snapshot_path={"fd": 0},
                 mem_backend={"backend_type": "File", "backend_path": {"fd": 1}},
                 drive_overrides=[{"drive_id": "rootfs", "path_on_host": {"fd": 2}}])
    vm.wait_for("R")
    holds("descriptors of its own", descriptors(vm) > before)
    equal("events", [rpc.event() for _ in range(2)],
          [["vm.state", [{"state": state}]] for state in ("Paused", "Running")])


@test("native")
def rpc_snapshot_restore_paused_or_refused(t):
    save(t, start(t))
    vm = Served(t, name="clone.sock")
    rpc = Rpc(vm.path)
    mem = {"backend_type": "File", "backend_path": t.path("memory")}
    rpc.refused("snapshot.restore", "descriptor", snapshot_path={"fd": 0}, mem_backend=mem)
    rpc.call("snapshot.restore", snapshot_path=t.path("state"), mem_backend=mem, resume_vm=False)
    equal("state", rpc.call("vm.info")["state"], "Paused")
    for words, files in ((["more than the 16 MiB"], ["memory", "memory"]), (["not the state file"], ["disk", "memory"]),
                         (["bytes, but the memory"], ["state", "state"]), (["not a regular file"], [".", "memory"])):
        vm = Served(t, name="refused.sock")
        rpc = Rpc(vm.path)
        fds = [os.open(t.path(file), os.O_RDONLY) for file in files]
        rpc.refused("snapshot.restore", *words, fds=fds, snapshot_path={"fd": 0},
                    mem_backend={"backend_type": "File", "backend_path": {"fd": 1}})
        for fd in fds:
            os.close(fd)
        vm.ends(1)


# Nothing has a name ------------------------------------------------------------------------------------


@test("native")
def rpc_descriptors_for_every_file(t):
    """Kernel, drive, log, metrics, serial port and both files of a snapshot; and the clone that they make."""
    vm = Served(t)
    rpc = Rpc(vm.path)

    def opened(name, size=0):
        fd = os.open(t.path(name), os.O_RDWR | os.O_CREAT, 0o600)
        os.truncate(fd, max(size, os.path.getsize(t.path(name))))
        t.cleanups.append(lambda: os.close(fd))
        return fd

    rpc.call("logger.put", [opened("log")], log_path={"fd": 0}, level="Info")
    rpc.call("metrics.put", [opened("metrics")], metrics_path={"fd": 0})
    rpc.call("serial.put", [opened("serial")], serial_out_path={"fd": 0})
    rpc.call("machine.put", vcpu_count=1, mem_size_mib=64, track_dirty_pages=True)
    waiting_kernel(t)
    rpc.call("boot.put", [opened("kernel"), opened("none", 5)], kernel_image_path={"fd": 0}, initrd_path={"fd": 1})
    rpc.call("drive.put", [opened("disk", 1 << 20)], drive_id="d", is_root_device=False, path_on_host={"fd": 0})
    rpc.call("action", action_type="InstanceStart")
    becomes("its first byte", lambda: open(t.path("serial"), "rb").read() == b"S")
    rpc.call("action", action_type="FlushMetrics")
    holds("metrics", open(t.path("metrics")).read().startswith("{"))
    contains("the log", open(t.path("log")).read(), "boot.put: done")
    rpc.call("vm.patch", state="Paused")
    files = [opened("state"), opened("memory")]
    rpc.call("snapshot.create", files, snapshot_path={"fd": 0}, mem_file_path={"fd": 1})
    for words, fds in ((["both"], files[:1] * 2), (["regular file"], [files[0], opened_for_reading(t, "memory")]),
                       (["regular file"], [opened_for_reading(t, "."), files[1]])):
        rpc.refused("snapshot.create", *words, fds=fds, snapshot_path={"fd": 0}, mem_file_path={"fd": 1})
    rpc.call("snapshot.create", files, snapshot_path={"fd": 0}, mem_file_path={"fd": 1})
    release(t)
    clone = Served(t, name="clone.sock")
    other = Rpc(clone.path)
    load = {"snapshot_path": {"fd": 0}, "mem_backend": {"backend_type": "File", "backend_path": {"fd": 1}},
            "drive_overrides": [{"drive_id": "d", "path_on_host": {"fd": 2}}]}
    other.call("snapshot.restore", [*files, opened("disk")], resume_vm=False, **load)
    other.refused("snapshot.create", "mapped from", fds=files, snapshot_path={"fd": 0}, mem_file_path={"fd": 1})
    other.call("vm.patch", state="Resumed")
    clone.wait_for("R")
    clone.ends(0)


def opened_for_reading(t, name):
    fd = os.open(t.path(name), os.O_RDONLY)
    t.cleanups.append(lambda: os.close(fd))
    return fd


# What a machine does on its own ------------------------------------------------------------------------


@test("native")
def rpc_device_that_fails_is_told(t):
    """A queue whose rings are nowhere: the driver hears it from the device, the client by an event."""
    need_kvm()
    vm = Served(t)
    rpc = Rpc(vm.path)
    rpc.call("events.subscribe", events=["device.failed", "vm.ready"])
    rpc.call("machine.put", vcpu_count=1, mem_size_mib=64)
    rpc.call("boot.put", kernel_image_path=artefact("payload/broken.elf"))
    rpc.call("entropy.put")
    rpc.call("action", action_type="InstanceStart")
    events = dict(rpc.event() for _ in range(2))
    equal("events", sorted(events), ["device.failed", "vm.ready"])
    equal("device", events["device.failed"][0]["device"], "rng")
    holds("why", events["device.failed"][0]["text"], str(events))
