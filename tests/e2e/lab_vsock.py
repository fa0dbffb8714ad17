"""vsock: Linux's own driver and programs of the host, connected both ways."""

import os
import resource
import socket
import threading

import files
from harness import Failure, artefact, becomes, contains, equal, holds, test
from vm import Vm

PORT = 52


def guest(t, *words, options=(), path=None, cid=None, **settings):
    """A guest with a vsock; the words are for tests/guest/vsock."""
    path = path or t.path("v.sock")
    device = path if cid is None else f"{path},cid={cid}"
    return Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", artefact("vsock.cpio"), "--vsock", device,
              *options, "--", *words, **settings)


def try_connect(path):
    """The same, None also when the monitor has no descriptor for it."""
    try:
        return connect(path)
    except (ConnectionResetError, BrokenPipeError):
        return None


def connect(path, port=PORT, limit=60):
    """A connection to the guest's port, by the host's protocol; None when the guest refuses."""
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(limit)
    s.connect(path)
    s.sendall(b"CONNECT %d\n" % port)
    answer = b""
    while not answer.endswith(b"\n"):
        byte = s.recv(1)
        if not byte:
            s.close()
            return None
        answer += byte
    if not answer.startswith(b"OK "):
        raise Failure("OK <port>", answer)
    return s


def listen(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(240)
    s.bind(path)
    s.listen(64)
    return s


def read_all(s):
    out = bytearray()
    while data := s.recv(1 << 20):
        out += data
    return bytes(out)


def same(what, came, wanted):
    if came != wanted:
        at = next((i for i, (a, b) in enumerate(zip(came, wanted)) if a != b), min(len(came), len(wanted)))
        equal(what, f"{len(came)} bytes, other from byte {at} on", f"{len(wanted)} bytes")


def serving(t, **settings):
    """A guest that serves PORT, and the path to it."""
    vm = guest(t, "vsock", "serve", str(PORT), **settings)
    vm.wait_for("ready")
    return vm, settings.get("path") or t.path("v.sock")


@test("lab")
def vsock_host_to_guest(t):
    """Bytes both ways over a connection that the host opened, and the end of each direction apart."""
    vm, path = serving(t)
    s = connect(path)
    s.sendall(b"echo\nhello")
    equal("the echo", s.recv(100), b"hello")
    content = files.pattern(1 << 20, 5)
    threading.Thread(target=lambda: (s.sendall(content), s.shutdown(socket.SHUT_WR)), daemon=True).start()
    same("the echo", read_all(s), content)
    s = connect(path)
    s.sendall(b"sink 7\n" + files.pattern(3 << 20, 7))
    s.shutdown(socket.SHUT_WR)
    equal("the guest's answer", read_all(s), b"3145728 bytes\n")
    s = connect(path)
    s.sendall(b"source 3145728 9\n")
    same("what the guest sent", read_all(s), files.pattern(3 << 20, 9))
    s = connect(path)
    s.sendall(b"half\n")
    equal("the guest's half", read_all(s), b"bye")
    s.sendall(b"x" * 100000)
    s.close()
    vm.wait_for("half: 100000 bytes")
    equal("a port without a listener", connect(path, 53), None)
    vm.signal(15)
    vm.ends(143)
    equal("the socket is gone", os.path.exists(path), False)


@test("lab")
def vsock_guest_to_host(t):
    """The guest connects to a port of the host; where nobody listens it is told at once."""
    path = t.path("v.sock")
    listener = listen(path + "_1234")
    vm = guest(t, "sh", "-c", "vsock connect 1234; vsock connect 1235; vsock connect 1234", options=("--cpus", 2))
    s, _ = listener.accept()
    s.sendall(b"source 1048576 3\n")
    same("what the guest sent", read_all(s), files.pattern(1 << 20, 3))
    s.close()
    s, _ = listener.accept()
    s.sendall(b"sink 4\n" + files.pattern(1 << 20, 4))
    s.shutdown(socket.SHUT_WR)
    equal("the guest's answer", read_all(s), b"1048576 bytes\n")
    vm.ends(0)
    contains("output", vm.text(), "vsock: connect: Connection reset by peer")


@test("lab")
def vsock_one_blocked_and_a_hundred_busy(t):
    """One connection whose host reads nothing, one whose guest reads nothing, and a hundred that go on."""
    vm, path = serving(t, options=["--mem", 512, "--cpus", 2])
    blocked, held = connect(path), connect(path)
    blocked.sendall(b"source 8388608 1\n")
    held.sendall(b"hold\n")
    held.setblocking(False)
    try:
        while True:
            held.send(bytes(65536))
    except BlockingIOError:
        pass
    busy = [connect(path) for _ in range(100)]
    for s in busy:
        s.sendall(b"echo\n")
    for round_ in range(10):
        for index, s in enumerate(busy):
            s.sendall(b"%d of %d" % (round_, index))
        for index, s in enumerate(busy):
            equal("the echo", s.recv(100), b"%d of %d" % (round_, index))
    same("what waited", read_all(blocked), files.pattern(8 << 20, 1))


@test("lab")
def vsock_a_thousand_connections(t):
    """All open at once, each with its own words; a shell's usual limit of 1,024 descriptors notwithstanding."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, 8192))
    vm, path = serving(t, options=["--mem", 1024, "--cpus", 2], before=["sh", "-c", 'ulimit -Sn 1024; exec "$@"', "sh"])
    every = []
    for index in range(1000):
        s = connect(path)
        s.sendall(b"echo\n%d" % index)
        every.append(s)
    for index, s in enumerate(every):
        equal("the echo", s.recv(100), b"%d" % index)
    for s in every:
        s.shutdown(socket.SHUT_WR)
    for s in every:
        equal("the end", s.recv(100), b"")


@test("lab")
def vsock_descriptors_run_out(t):
    """Refused, with a line in the log, and the guest goes on; when there are some again, so do connections."""
    vm, path = serving(t, before=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh"])
    first = connect(path)
    first.sendall(b"echo\n")
    more, refused = [], 0
    for _ in range(64):
        more.append(try_connect(path))
        refused += more[-1] is None
    holds("some are refused", 0 < refused < 64, refused)
    vm.wait_for_error("is refused: Too many open files")
    first.sendall(b"still")
    equal("the echo", first.recv(100), b"still")
    for s in more:
        if s:
            s.close()
    becomes("a connection again", lambda: try_connect(path), 60)


@test("lab")
def vsock_path_that_is_taken(t):
    path = t.file("v.sock")
    vm = guest(t, "vsock", "serve", str(PORT)).ends(152)
    contains("messages", vm.errors(), path, "Address already in use")
    holds("the file stays", os.path.exists(path))


@test("lab")
def vsock_machine_that_is_ended(t):
    """Connections end with the guest, on its side as on ours; the socket file goes with the machine."""
    vm, path = serving(t, cid=99)
    s = connect(path)
    s.sendall(b"hold\n")
    vm.signal(15)
    vm.ends(143)
    equal("the end", s.recv(10), b"")
    holds("the socket is gone", not os.path.exists(path))
