"""The API socket with payload guests: a start by hand, the command line, bad clients."""

import os
import signal

from api import Client, Served
from harness import artefact, becomes, contains, equal, holds, test
from vm import Vm


def configure(vm, t, payload="spin", mem=128):
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": mem})
    vm.put("/boot-source", {"kernel_image_path": artefact(f"payload/{payload}.elf")})
    vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True,
                              "path_on_host": t.file("disk", size=1 << 20)})


@test("native")
def api_starts_a_guest(t):
    vm = Served(t)
    equal("state", vm.get("/")["state"], "Not started")
    configure(vm, t, "byte")
    equal("status of a start", vm.client.call("PUT", "/actions", {"action_type": "InstanceStart"}).status, 204)
    vm.ends(0)
    contains("guest's output", vm.text(), "M")
    holds("the socket removed", not os.path.exists(vm.path))


@test("native")
def api_phases(t):
    vm = Served(t, "--id", "my-vm-1")
    configure(vm, t)
    vm.start()
    info = vm.get("/")
    equal("state", (info["state"], info["id"]), ("Running", "my-vm-1"))
    vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "not supported after starting the microVM.")
    vm.refused("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 1}, "after starting")
    vm.signal(signal.SIGTERM)
    vm.ends(128 + signal.SIGTERM)


@test("native")
def api_start_that_fails_can_be_tried_again(t):
    vm = Served(t)
    vm.refused("PUT", "/actions", {"action_type": "InstanceStart"},
               "Start microvm error: Cannot start microvm without kernel configuration.")
    vm.put("/boot-source", {"kernel_image_path": t.file("no-kernel", b"nothing" * 100)})
    for _ in range(3):
        vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "Start microvm error: ")
        equal("state", vm.get("/")["state"], "Not started")
    descriptors = len(os.listdir(f"/proc/{vm.process.pid}/fd"))
    vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "Start microvm error: ")
    equal("descriptors left by a failed start", len(os.listdir(f"/proc/{vm.process.pid}/fd")), descriptors)
    configure(vm, t, "byte")
    vm.start()
    vm.ends(0)


# The socket's path ------------------------------------------------------------------------------------


def refused_socket(t, path, *words):
    vm = Vm(t, "--api-sock", path).ends(1)
    contains("messages", vm.errors(), *words)


@test("native")
def api_socket_paths(t):
    vm = Served(t)
    refused_socket(t, vm.path, "Failed to open the API socket at:", "not already used")
    equal("the first one's answer", vm.client.call("GET", "/").status, 200)
    refused_socket(t, t.path("nowhere/api.sock"), "No such file or directory")
    refused_socket(t, t.path("x" * 120), "at most 107")
    refused_socket(t, t.file("file"), "exists and is no socket")
    os.symlink(t.path("elsewhere"), t.path("link"))
    refused_socket(t, t.path("link"), "exists and is no socket")
    holds("nothing made through a symbolic link", not os.path.exists(t.path("elsewhere")))


# Clients ----------------------------------------------------------------------------------------------


@test("native")
def api_eleventh_client(t):
    vm = Served(t)
    clients = [vm.client] + [Client(vm.path) for _ in range(9)]
    for client in clients:
        equal("status", client.call("GET", "/").status, 200)
    eleventh = Client(vm.path)
    answer = eleventh.call("GET", "/")
    equal("the eleventh's answer", (answer.line, answer.body),
          ("HTTP/1.1 503", '{ "error": "Too many open connections" }'))
    equal("what follows", eleventh.socket.recv(10), b"")
    clients.pop().socket.close()
    becomes("a place for another", lambda: Client(vm.path).call("GET", "/").status == 200)


@test("native")
def api_half_a_request(t):
    vm = Served(t)
    halves = [Client(vm.path) for _ in range(5)]
    for client in halves:
        client.send(b"PUT /machine-config HTTP/1.1\r\nContent-Length: 40\r\n\r\n{\"vcpu")
    for _ in range(100):
        vm.get("/")
    halves[0].send(b'_count":1,"mem_size_mib":256}      ')
    equal("the finished one's status", halves[0].answer().status, 204)
    halves[1].socket.close()
    equal("memory", vm.get("/machine-config")["mem_size_mib"], 256)


@test("native")
def api_pipelined_flood(t):
    vm = Served(t)
    flood = Client(vm.path)
    flood.send(b"GET /version HTTP/1.1\r\n\r\n" * 1000)
    for _ in range(1000):
        equal("status", flood.answer().status, 200)
    vm.get("/")


@test("native")
def api_client_that_never_reads(t):
    vm = Served(t)
    deaf = Client(vm.path)
    deaf.socket.settimeout(0.2)
    sent = 0
    try:
        while sent < 1 << 26:
            sent += deaf.socket.send(b"GET /machine-config HTTP/1.1\r\n\r\n" * 1000)
    except TimeoutError:
        pass
    holds("a flood that is held up", sent < 1 << 26, str(sent))
    for _ in range(100):
        vm.get("/")
