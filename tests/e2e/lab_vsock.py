"""vsock: Linux's own driver and programs of the host, connected both ways."""

import os
import socket
import threading
import time

import files
from harness import Failure, artefact, becomes, contains, equal, holds, test
from vm import WAIT, Vm, place

PORT = 52


def guest(t, *words, options=(), path=None, cid=None):
    """A guest with a vsock; the words are for tests/guest/vsock."""
    path = path or t.path("v.sock")
    device = path if cid is None else f"{path},cid={cid}"
    return Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", artefact("vsock.cpio"), "--vsock", device,
              *options, "--", *words)


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
