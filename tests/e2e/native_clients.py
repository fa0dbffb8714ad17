"""The API's clients at their worst, seen from outside; tests/unit/test_api_server.c has those that need patience."""

import contextlib
import os
import resource
import signal
import socket
import subprocess

from api import Client, Served
from harness import MAYFLY, becomes, contains, equal, holds, test
from native_api import configure

START = b'{"action_type":"InstanceStart"}'


@test("native")
def api_client_that_dies_at_a_start(t):
    """Nobody reads the answer; the guest runs, and others are told so."""
    vm = Served(t)
    configure(vm, t)
    dying = Client(vm.path)
    dying.send(b"PUT /actions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(START), START))
    dying.socket.close()
    becomes("a guest that runs", lambda: vm.get("/")["state"] == "Running")
    vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "after starting")


@test("native")
def api_request_behind_a_signal(t):
    """As of Firecracker, which dies of it: no answer, but the end of the connection."""
    vm = Served(t)
    configure(vm, t)
    vm.start()
    vm.signal(signal.SIGTERM)
    vm.client.send(b'PATCH /vm HTTP/1.1\r\nContent-Length: 18\r\n\r\n{"state":"Paused"}')
    try:
        equal("what is answered", vm.client.socket.recv(1000), b"")
    except ConnectionResetError:
        pass
    vm.ends(128 + signal.SIGTERM)


@test("native")
def api_out_of_descriptors(t):
    """A client that comes when there is no descriptor for it is served when there is one, and nobody need come after
    it."""
    vm = Served(t)
    vm.get("/")  # all that it opens at its start is open
    usual = resource.prlimit(vm.process.pid, resource.RLIMIT_NOFILE)
    used = len(os.listdir(f"/proc/{vm.process.pid}/fd"))
    resource.prlimit(vm.process.pid, resource.RLIMIT_NOFILE, (used, usual[1]))
    waiting = Client(vm.path)
    waiting.socket.settimeout(0.3)
    waiting.send(b"GET / HTTP/1.1\r\n\r\n")
    try:
        holds("no answer", False, waiting.socket.recv(100))
    except socket.timeout:
        pass
    resource.prlimit(vm.process.pid, resource.RLIMIT_NOFILE, usual)
    waiting.socket.settimeout(10)
    equal("status", waiting.answer().status, 200)
    vm.get("/version")
    vm.signal(signal.SIGTERM)
    vm.ends(128 + signal.SIGTERM)
    contains("messages", vm.errors(), "cannot accept a client, will try again: Too many open files")


@test("native")
def api_standard_error_that_nobody_reads(t):
    """It is a pipe by chance, and full: the log that goes there waits for nobody either."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(4096))
    os.set_blocking(write_end, True)
    path = t.path("api.sock")
    with subprocess.Popen([MAYFLY, "--api-sock", path], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=write_end) as process:
        t.cleanups.append(process.kill)
        becomes("a socket", lambda: os.path.exists(path))
        client = Client(path)
        body = {"vsock_id": "deprecated", "guest_cid": 3, "uds_path": "v"}
        equal("status", client.call("PUT", "/vsock", body).status, 204)
        contains("metrics", client.call("GET", "/metrics/prometheus").body, "mayfly_logger_missed_log_count_total 1\n")
        process.kill()
    os.close(read_end)
    os.close(write_end)
