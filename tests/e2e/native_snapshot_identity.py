"""Who a clone is: drives, taps, addresses, sockets, output and metadata in the call that loads it, and in a prepared process."""

import os
import socket
import struct

from api import Served
from files import elf, segment
from harness import contains, equal, holds, lacks, test
from lab_net import open_tap
from native_snapshot import WAIT, load_body, release, save, start, waiting_kernel
from native_snapshot_devices import ask_for_all, listens, own_network

NEW_MAC, OLD_MAC = "02:00:00:00:00:77", "02:00:00:00:00:33"
MMDS = {"version": "V2", "network_interfaces": ["eth0"], "ipv4_address": "169.254.9.9", "imds_compat": True}


def save_and_leave(t, vm):
    """Its guest waits; the files are as a clone finds them."""
    vm.put("/boot-source", {"kernel_image_path": waiting_kernel(t)})
    vm.start()
    vm.wait_for("S")
    save(t, vm)
    vm.end()
    os.unlink(t.path("vsock"))
    release(t)


def saved_with_mmds(t):
    own_network()
    t.file("pmem", b"x" * (2 << 20))
    t.file("disk", size=1 << 20)
    vm = Served(t)
    ask_for_all(t, vm)
    vm.put("/mmds/config", MMDS)
    vm.put("/mmds", {"who": "the first"})
    save_and_leave(t, vm)


def clone_of(t, prepared, name="clone.sock"):
    clone = Served(t, name=name)
    if prepared:
        ask_for_all(t, clone, vsock="shape")
        clone.put("/snapshot/prepare", {})
    return clone


def identity(t, fds=True):
    """As a request, and its descriptors."""
    disk = t.file("other-disk", size=2 << 20)
    body = {"drive_overrides": [{"drive_id": "rootfs", "path_on_host": {"fd": 1} if fds else disk}],
            "network_overrides": [{"iface_id": "eth0", "host_dev_name": {"fd": 0} if fds else "tap1",
                                   "guest_mac": NEW_MAC}],
            "vsock_override": {"uds_path": {"fd": 3} if fds else t.path("elsewhere"), "guest_cid": 77},
            "serial_override": {"serial_out_path": {"fd": 2} if fds else t.path("output")},
            "mmds": {"who": "the clone"}}
    if not fds:
        return body, []
    output = os.open(t.path("output"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    return body, [open_tap("tap1"), os.open(disk, os.O_RDWR), output, listener(t.path("elsewhere"))]


def listener(path, kind=socket.SOCK_STREAM, listens_there=True, family=socket.AF_UNIX):
    """A socket of ours, as a descriptor."""
    made = socket.socket(family, kind)
    if path is not None:
        made.bind(path)
    if listens_there:
        made.listen()
    return made.detach()


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def opened(vm):
    folder = f"/proc/{vm.process.pid}/fd"
    return [os.readlink(f"{folder}/{name}") for name in os.listdir(folder)]


@test("native", "snapshot-identity-by-name", prepared=False, fds=False)
@test("native", "snapshot-identity-by-descriptor", prepared=False, fds=True)
@test("native", "snapshot-identity-of-a-prepared-process-by-name", prepared=True, fds=False)
@test("native", "snapshot-identity-of-a-prepared-process-by-descriptor", prepared=True, fds=True)
def snapshot_identity(t, prepared, fds):
    saved_with_mmds(t)
    clone = clone_of(t, prepared)
    body, passed = identity(t, fds)
    clone.put("/snapshot/load", load_body(t, resume_vm=False, **body), passed)
    if fds:
        holds("our listener", f"socket:[{os.fstat(passed[3]).st_ino}]" in opened(clone), opened(clone))
    for fd in passed:
        os.close(fd)
    config = clone.get("/vm/config")
    equal("its MAC", config["network-interfaces"][0]["guest_mac"], NEW_MAC)
    equal("its CID", config["vsock"], {"guest_cid": 77, "uds_path": t.path("elsewhere")})
    equal("how it reaches metadata", config["mmds-config"], MMDS)
    equal("its metadata", clone.get("/mmds"), {"who": "the clone"})
    if not fds:
        equal("its image", config["drives"][0]["path_on_host"], t.path("other-disk"))
        equal("its tap", config["network-interfaces"][0]["host_dev_name"], "tap1")
    files = opened(clone)
    holds("the new image", t.path("other-disk") in files and t.path("disk") not in files, files)
    holds("a socket of its own", listens(t.path("elsewhere")))
    holds("none of the shape", not os.path.exists(t.path("shape")))
    clone.patch("/vm", {"state": "Resumed"})
    clone.ends(0)
    lacks("standard output", clone.text(), "R")
    with open(t.path("output"), encoding="utf-8") as file:
        contains("the serial port's output", file.read(), "R")
    equal("a socket that is another's, afterwards", os.path.exists(t.path("elsewhere")), fds)


@test("native", "snapshot-identity-by-a-wrong-socket", prepared=False)
@test("native", "snapshot-identity-of-a-prepared-process-by-a-wrong-socket", prepared=True)
def snapshot_identity_wrong_socket(t, prepared):
    """What cannot be a vsock's socket is refused, at the load and where it is put; a prepared process goes on."""
    saved_with_mmds(t)
    wrong = [(os.open(t.path("disk"), os.O_RDWR), "is no socket"),
             (listener(None, listens_there=False), "does not listen"),
             (listener(t.path("seqpacket"), socket.SOCK_SEQPACKET), "is no Unix socket for streams"),
             (listener(t.path("datagrams"), socket.SOCK_DGRAM, False), "is no Unix socket for streams"),
             (listener(None, family=socket.AF_INET), "is no Unix socket for streams"),
             (listener(t.path("silent"), listens_there=False), "does not listen"),
             (listener(f"\0{t.path('abstract')}"), "has no path"),
             (listener(f"/tmp/{os.getpid()}-".ljust(97, "l")), "at most 96 bytes")]
    os.unlink(f"/tmp/{os.getpid()}-".ljust(97, "l"))
    clone = clone_of(t, prepared) if prepared else None
    before = sorted(opened(clone)) if prepared else []
    putter = Served(t, name="putter.sock")
    for number, (fd, why) in enumerate(wrong):
        vm = clone or Served(t, name=f"{number}.sock")
        answer = vm.client.call("PUT", "/snapshot/load", load_body(t, vsock_override={"uds_path": {"fd": 0}}), [fd])
        equal("status", answer.status, 400)
        contains("the refusal", answer.fault(), "Load snapshot error: vsock: ", why)
        answer = putter.client.call("PUT", "/vsock", {"guest_cid": 3, "uds_path": {"fd": 0}}, [fd])
        equal("status", answer.status, 400)
        contains("the refusal", answer.fault(), "Vsock config error: vsock: ", why)
        os.close(fd)
    if prepared:
        equal("open files", sorted(opened(clone)), before)
        holds("the shape's socket", listens(t.path("shape")))
    answer = putter.client.call("PUT", "/vsock", {"guest_cid": 3, "uds_path": {"fd": 1}}, [])
    contains("of one that did not come", answer.fault(), "no descriptor 1 came along, but 0")


@test("native")
def snapshot_of_a_vsock_by_descriptor(t):
    """Put before the start: shown and saved by its path; a clone makes one there, and only its own goes with it."""
    fd = listener(t.path("vsock"))
    vm = start(t, drive=False, before=lambda vm: vm.put("/vsock", {"guest_cid": 33, "uds_path": {"fd": 0}}, [fd]))
    os.close(fd)
    equal("its socket", vm.get("/vm/config")["vsock"], {"guest_cid": 33, "uds_path": t.path("vsock")})
    holds("it listens", listens(t.path("vsock")))
    save(t, vm)
    vm.end()
    holds("its file stays", os.path.exists(t.path("vsock")))
    os.unlink(t.path("vsock"))
    release(t)
    clone = Served(t, name="clone.sock")
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    holds("a socket of its own", listens(t.path("vsock")))
    clone.patch("/vm", {"state": "Resumed"})
    clone.ends(0)
    holds("which goes with it", not os.path.exists(t.path("vsock")))


@test("native")
def snapshot_identity_goes_on_in_the_next_snapshot(t):
    """A clone that was saved is who it was as a clone; the MAC that its guest may still use is told."""
    saved_with_mmds(t)
    clone = clone_of(t, False)
    body, _ = identity(t, fds=False)
    clone.put("/snapshot/load", load_body(t, resume_vm=False, **body))
    save(t, clone, "2")
    clone.end()
    os.unlink(t.path("elsewhere"))
    second = Served(t, name="second.sock")
    second.put("/snapshot/load", load_body(t, "2", resume_vm=False))
    config = second.get("/vm/config")
    equal("its MAC", config["network-interfaces"][0]["guest_mac"], NEW_MAC)
    equal("its tap", config["network-interfaces"][0]["host_dev_name"], "tap1")
    equal("its CID", config["vsock"], {"guest_cid": 77, "uds_path": t.path("elsewhere")})
    equal("its image", config["drives"][0]["path_on_host"], t.path("other-disk"))
    equal("how it reaches metadata", config["mmds-config"], MMDS)
    equal("metadata, which is in no snapshot", second.get("/mmds"), {})


@test("native")
def snapshot_identity_that_fails_is_undone(t):
    """What came first is taken back when what comes later fails, and the next load finds all as it was."""
    saved_with_mmds(t)
    clone = clone_of(t, True)
    before = sorted(opened(clone))
    body, _ = identity(t, fds=False)
    for wrong, why in (({"network_overrides": [{"iface_id": "eth0", "host_dev_name": "none/such"}]}, "none/such"),
                       ({"vsock_override": {"uds_path": t.file("taken")}}, "Address already in use"),
                       ({"mmds": nested(200)}, "mmds: "),
                       ({"serial_override": {"serial_out_path": t.path("no/such")}}, "serial port's output")):
        clone.refused("PUT", "/snapshot/load", load_body(t, **{**body, **wrong}), "Load snapshot error: ", why)
        equal("open files", sorted(opened(clone)), before)
        holds("the shape's socket", listens(t.path("shape")))
    equal("state", clone.get("/")["state"], "Not started")
    clone.put("/snapshot/load", load_body(t, resume_vm=False))
    config = clone.get("/vm/config")
    equal("its MAC", config["network-interfaces"][0]["guest_mac"], OLD_MAC)
    equal("its image", config["drives"][0]["path_on_host"], t.path("disk"))
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "R")


@test("native", "snapshot-identity-of-what-is-not-there", prepared=False)
@test("native", "snapshot-identity-of-what-is-not-prepared", prepared=True)
def snapshot_identity_of_nobody(t, prepared):
    """An override of a device that there is not is a 400 that says so."""
    vm = start(t, drive=False)
    save(t, vm)
    vm.end()
    for number, (body, why) in enumerate((
            ({"network_overrides": [{"iface_id": "eth0", "guest_mac": NEW_MAC}]}, "Unknown Network Device."),
            ({"drive_overrides": [{"drive_id": "rootfs", "path_on_host": t.path("x")}]}, "Unknown drive: rootfs."),
            ({"vsock_override": {"guest_cid": 5}}, "Unknown Vsock Device."),
            ({"mmds": {}}, "mmds: the saved microVM has no metadata service"),
            ({"serial_override": {"serial_out_path": {"fd": 0}}}, "no descriptor 0 came along, but 0"),
            ({"serial_override": {"serial_out_path": {"x": 0}}}, "invalid type: map"),
            ({"network_overrides": [{"iface_id": "eth0", "guest_mac": "2:0"}]}, "MAC address is invalid"),
            ({"network_overrides": [{"iface_id": "eth0"}]}, "missing field `host_dev_name`"),
            ({"vsock_override": {}}, "missing field `uds_path`"),
            ({"vsock_override": {"guest_cid": 2}}, "guest_cid 2 is not from 3 to"))):
        clone = Served(t, name=f"{number}.sock")
        if prepared:
            clone.put("/snapshot/prepare", {})
        clone.refused("PUT", "/snapshot/load", load_body(t, **body), why)
    with open("/dev/null", "rb") as null:
        answer = Served(t, name="fd.sock").client.call(
            "PUT", "/snapshot/load", load_body(t, serial_override={"serial_out_path": {"fd": 1}}), [null.fileno()])
    equal("status, of a descriptor that did not come", answer.status, 400)
    contains("the refusal", answer.fault(), "descriptor")


@test("native")
def snapshot_identity_that_cannot_be(t):
    """The refusal names the field, or the device as the client knows it."""
    saved_with_mmds(t)
    eth0, rootfs = {"iface_id": "eth0"}, {"drive_id": "rootfs"}
    for number, (body, why) in enumerate((
            ({"network_overrides": [{**eth0, "guest_mac": "01:00:00:00:00:01"}]}, "net eth0: its MAC is not the address of one station"),
            ({"network_overrides": [{**eth0, "host_dev_name": ""}]}, "network_overrides: a host_dev_name is empty"),
            ({"drive_overrides": [{**rootfs, "path_on_host": ""}]}, "drive_overrides: a path_on_host is empty"),
            ({"pmem_overrides": [{"id": "p", "path_on_host": ""}]}, "pmem_overrides: a path_on_host is empty"),
            ({"serial_override": {"serial_out_path": ""}}, "serial_override: serial_out_path is empty"),
            ({"snapshot_path": ""}, "snapshot_path is empty"),
            ({"mem_backend": {"backend_type": "File", "backend_path": ""}}, "mem_backend: backend_path is empty"))):
        Served(t, name=f"{number}.sock").refused("PUT", "/snapshot/load", load_body(t, **body), why)
    with open("/dev/null", "rb") as null:
        answer = Served(t, name="fd.sock").client.call(
            "PUT", "/snapshot/load", load_body(t, serial_override={"serial_out_path": {"fd": 0}}), [null.fileno()])
    contains("the refusal of a descriptor to read from", answer.fault(), "it is not open for writing")


@test("native")
def snapshot_identity_named_twice(t):
    """Of what is said twice of one device neither is dropped without a word."""
    saved_with_mmds(t)
    eth0, rootfs = {"iface_id": "eth0"}, {"drive_id": "rootfs", "path_on_host": t.path("disk")}
    mac, tap = {**eth0, "guest_mac": NEW_MAC}, {**eth0, "host_dev_name": "tap1"}
    clone = clone_of(t, True)
    for overrides in ([mac, tap], [tap, mac], [mac, mac], [tap, tap]):
        clone.refused("PUT", "/snapshot/load", load_body(t, network_overrides=overrides), "interface eth0 is named twice")
    clone.refused("PUT", "/snapshot/load", load_body(t, drive_overrides=[rootfs, rootfs]), "drive rootfs is named twice")
    clone.put("/snapshot/load", load_body(t, network_overrides=[{**mac, **tap}]))
    clone.ends(0)


@test("native", "snapshot-identity-that-is-the-same", prepared=False)
@test("native", "snapshot-identity-that-is-the-same-in-a-prepared-process", prepared=True)
def snapshot_identity_same(t, prepared):
    """Who always says which tap, socket and image there are to be may say those that it has."""
    saved_with_mmds(t)
    clone = clone_of(t, prepared)
    socket = t.path("shape" if prepared else "vsock")
    clone.put("/snapshot/load", load_body(t, resume_vm=False, vsock_override={"uds_path": socket}, network_overrides=[
        {"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": OLD_MAC}], drive_overrides=[
        {"drive_id": "rootfs", "path_on_host": t.path("disk")}], pmem_overrides=[
        {"id": "pmem0", "path_on_host": t.path("pmem")}]))
    config = clone.get("/vm/config")
    equal("its socket", config["vsock"]["uds_path"], socket)
    holds("it listens", listens(socket))
    equal("its tap", config["network-interfaces"][0]["host_dev_name"], "tap0")
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "R")


def two_interfaces(vm):
    for number in range(2):
        vm.put(f"/network-interfaces/eth{number}", {"iface_id": f"eth{number}", "host_dev_name": f"tap{number}",
                                                    "guest_mac": f"02:00:00:00:00:3{number}"})


@test("native", "snapshot-identity-with-a-mac-twice", prepared=False)
@test("native", "snapshot-identity-with-a-mac-twice-in-a-prepared-process", prepared=True)
def snapshot_identity_mac_twice(t, prepared):
    """No clone has the same address on both interfaces; changed about they are fine."""
    own_network()
    vm = start(t, drive=False, before=two_interfaces)
    save(t, vm)
    vm.end()
    for number, (macs, why) in enumerate((((1, None), "interfaces eth0 and eth1 have the same MAC"), ((5, 5), "same MAC"),
                                          ((1, 0), None))):
        clone = Served(t, name=f"{number}.sock")
        if prepared:
            two_interfaces(clone)
            clone.put("/snapshot/prepare", {})
        overrides = [{"iface_id": f"eth{i}", "guest_mac": f"02:00:00:00:00:3{mac}"} for i, mac in enumerate(macs)
                     if mac is not None]
        body = load_body(t, resume_vm=False, network_overrides=overrides)
        if why:
            clone.refused("PUT", "/snapshot/load", body, why)
        else:
            clone.put("/snapshot/load", body)
        clone.end()


# Waits for the flag, then writes four bytes out.
TALK = WAIT.replace(b"\x74\xf5\xee", b"\x74\xf5\xee\xee\xee\xee")


@test("native")
def snapshot_with_a_limit_of_output(t):
    """What /serial says before the load holds: of four bytes two have room, and the rest is dropped."""
    vm = Served(t)
    vm.put("/boot-source", {"kernel_image_path": t.file("kernel", elf(segment(data=TALK.ljust(4096, b"\0"))))})
    vm.start()
    vm.wait_for("S")
    save(t, vm)
    vm.end()
    release(t)
    for limit, wanted in (({}, b"RRRR"), ({"rate_limiter": {"size": 2, "refill_time": 1 << 40}}, b"RR")):
        output = t.path(f"output{len(wanted)}")
        clone = Served(t, name=f"{len(wanted)}.sock")
        clone.put("/serial", {"serial_out_path": output, **limit})
        clone.put("/snapshot/load", load_body(t))
        clone.ends(0)
        with open(output, "rb") as file:
            equal("output", file.read(), wanted)


def vmclock(t, name=""):
    """seq_count, disruption_marker and vm_generation_counter of the page."""
    with open(t.path(f"memory{name}"), "rb") as file:
        file.seek(0xef000)
        page = file.read(112)
    equal("its magic", page[:4], b"VCLK")
    return struct.unpack_from("<I", page, 12) + struct.unpack_from("<Q", page, 16) + struct.unpack_from("<Q", page, 104)


@test("native")
def snapshot_advances_the_vmclock(t):
    """Each load is a jump in time and another generation; a save is not, nor is a guest that goes on."""
    vm = start(t)
    save(t, vm)
    first = vmclock(t)
    vm.patch("/vm", {"state": "Resumed"})
    save(t, vm)
    equal("the counters of one that was saved twice", vmclock(t), first)
    vm.end()
    for number in (1, 2):
        clone = Served(t, name=f"{number}.sock")
        clone.put("/snapshot/load", load_body(t, "" if number == 1 else "1", resume_vm=False))
        save(t, clone, str(number))
        clone.end()
        equal("the counters", vmclock(t, str(number)), (first[0] + 2 * number, first[1] + number, first[2] + number))
