"""The API socket with payload guests: a start by hand, the command line, bad clients."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

from api import Client, Served
from harness import MAYFLY, ROOT, Skip, artefact, becomes, contains, equal, holds, lacks, test
from vm import Vm


def configure(vm, t, payload="spin", mem=128):
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": mem})
    vm.put("/boot-source", {"kernel_image_path": artefact(f"payload/{payload}.elf")})
    vm.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True,
                              "path_on_host": t.file("disk", size=1 << 20)})


def reads(fd):
    """What is there; nothing while nothing is."""
    with contextlib.suppress(BlockingIOError):
        return os.read(fd, 100)
    return b""


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
    vm.put("/serial", {"serial_out_path": t.path("serial")})
    descriptors = len(os.listdir(f"/proc/{vm.process.pid}/fd"))
    for _ in range(3):
        vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "Start microvm error: ")
        equal("state", vm.get("/")["state"], "Not started")
    equal("descriptors left by a failed start", len(os.listdir(f"/proc/{vm.process.pid}/fd")), descriptors)
    configure(vm, t, "byte")
    vm.start()
    vm.ends(0)


def packed(value):
    """MessagePack, as far as it is needed here."""
    if isinstance(value, bool):
        return bytes([0xc2 + value])
    if isinstance(value, str):
        return struct.pack("BB", 0xd9, len(value)) + value.encode()
    if isinstance(value, list):
        return bytes([0x90 | len(value)]) + b"".join(map(packed, value))
    if isinstance(value, dict):
        return bytes([0x80 | len(value)]) + b"".join(packed(key) + packed(item) for key, item in value.items())
    return bytes([value])


@test("native")
def api_drive_patched_by_descriptor(t):
    """What is shown of the drive is the descriptor then, not the path that it had; and the other way round."""
    vm = Served(t)
    configure(vm, t)
    vm.start()
    fd = os.open(t.file("other", size=2 << 20), os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as rpc:
        rpc.settimeout(10)
        rpc.connect(vm.path)
        change = {"drive_id": "rootfs", "path_on_host": {"fd": 0}}
        socket.send_fds(rpc, [packed([0, 1, "drive.patch", [change]])], [fd])
        equal("the answer", rpc.recv(1000), bytes([0x94, 1, 1, 0xc0, 0xc0]))
    shown = vm.get("/vm/config")["drives"][0]["path_on_host"]
    equal("what is shown", list(shown), ["fd"])
    held = f"/proc/{vm.process.pid}/fd"
    equal("its file", os.readlink(f"{held}/{shown['fd']}"), t.path("other"))
    vm.patch("/drives/rootfs", {"drive_id": "rootfs", "path_on_host": t.path("disk")})
    equal("what is shown", vm.get("/vm/config")["drives"][0]["path_on_host"], t.path("disk"))
    lacks("open files", " ".join(os.readlink(f"{held}/{name}") for name in os.listdir(held)), t.path("other"))


def loop_device(t, image):
    if not shutil.which("losetup"):
        raise Skip("there is no losetup")
    made = subprocess.run(["losetup", "--show", "-f", image], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        raise Skip(f"no loop device: {made.stderr.strip()}")
    device = made.stdout.strip()
    t.cleanups.append(lambda: subprocess.run(["losetup", "-d", device], check=False))
    return device


@test("native")
def api_drive_patched_to_a_block_device(t):
    """What the kernel can do with one is found out without a system call that the API's thread may not make."""
    device = loop_device(t, t.file("image", size=2 << 20))
    vm = Served(t, devices=[device])
    configure(vm, t)
    vm.start()
    for path in (device, t.path("disk"), device):
        vm.patch("/drives/rootfs", {"drive_id": "rootfs", "path_on_host": path})
    equal("what is shown", vm.get("/vm/config")["drives"][0]["path_on_host"], device)
    equal("state", vm.get("/")["state"], "Running")


@test("native")
def api_serial_pipe_without_a_reader(t):
    vm = Served(t)
    configure(vm, t)
    os.mkfifo(t.path("serial"))
    vm.put("/serial", {"serial_out_path": t.path("serial")})
    vm.start()
    reader = os.open(t.path("serial"), os.O_RDONLY | os.O_NONBLOCK)
    becomes("the guest's byte", lambda: reads(reader) == b"S")
    os.close(reader)


@test("native")
def api_refusals_name_the_drive(t):
    """By the name that the client gave it, not by the guest's."""
    vm = Served(t)
    configure(vm, t)
    os.unlink(t.path("disk"))
    vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, f"drive rootfs: cannot open {t.path('disk')}")
    t.file("disk", size=1 << 20)
    vm.start()
    os.mkfifo(t.path("fifo"))
    vm.refused("PATCH", "/drives/rootfs", {"drive_id": "rootfs", "path_on_host": t.path("fifo")},
               f"drive rootfs: {t.path('fifo')}: is a ")


@test("native")
def api_start_that_fails_keeps_no_copies(t):
    """Not even of a descriptor whose device was not reached."""
    vm = Served(t)
    configure(vm, t)
    os.unlink(t.path("disk"))
    fd = os.open(t.file("other", size=1 << 20), os.O_RDWR)
    with socket.socket(socket.AF_UNIX) as rpc:
        rpc.settimeout(10)
        rpc.connect(vm.path)
        drive = {"drive_id": "other", "is_root_device": False, "path_on_host": {"fd": 0}}
        socket.send_fds(rpc, [packed([0, 1, "drive.put", [drive]])], [fd])
        equal("the answer", rpc.recv(1000), bytes([0x94, 1, 1, 0xc0, 0xc0]))
    held = f"/proc/{vm.process.pid}/fd"
    for _ in range(3):
        vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "cannot open")
        equal("descriptors of the image", [os.readlink(f"{held}/{name}") for name in os.listdir(held)].count(t.path("other")), 1)
    t.file("disk", size=1 << 20)
    vm.start()
    equal("state", vm.get("/")["state"], "Running")


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


# The configuration file and the other options ---------------------------------------------------------


def config(t, payload="byte", **more):
    whole = {"boot-source": {"kernel_image_path": artefact(f"payload/{payload}.elf")},
             "drives": [{"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.file("disk", size=1 << 20)}],
             "machine-config": {"vcpu_count": 1, "mem_size_mib": 128}, **more}
    return t.file("config.json", json.dumps(whole).encode())


@test("native")
def api_config_file_without_api(t):
    vm = Vm(t, f"--config-file={config(t)}", "--no-api").ends(0)
    contains("guest's output", vm.text(), "M")


@test("native")
def api_config_file_with_sections_that_are_none(t):
    """Firecracker's are ignored, too; whoever misspelt one is told."""
    vm = Vm(t, "--no-api", "--config-file", config(t, network_interfaces=[], **{"a\nb": 1, "vsock": None})).ends(0)
    contains("messages", vm.errors(), "there is no section `network_interfaces`; it is ignored\n", "no section `a")
    lacks("messages", vm.errors(), "vsock", "`a\n")


@test("native")
def api_config_file_with_api(t):
    vm = Served(t, "--config-file", config(t, "spin"))
    equal("state", vm.get("/")["state"], "Running")
    vm.refused("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128}, "after starting")


def refused_config(t, path, *words):
    vm = Vm(t, "--config-file", path, "--no-api").ends(1)
    contains("messages", vm.errors(), *words)


@test("native")
def api_config_files_that_cannot_be(t):
    refused_config(t, t.path("nowhere.json"), "nowhere.json", "No such file")
    refused_config(t, t.file("a.json", b"{"), "EOF while parsing an object at line 1 column 1")
    refused_config(t, t.file("b.json", b"[]"), "no JSON object")
    refused_config(t, t.file("c.json", b"{}"), "missing field `boot-source`")
    refused_config(t, config(t, drives={}), "drives: it is no list")
    refused_config(t, config(t, drives=[{"drive_id": "a"}]), "drives[0]: missing field `is_root_device`")
    refused_config(t, config(t, **{"machine-config": {"vcpu_count": 0, "mem_size_mib": 1}}), "machine-config:", "vCPUs")
    refused_config(t, config(t, vsock={"guest_cid": 3}), "vsock: missing field `uds_path`")
    refused_config(t, config(t, vsock={"guest_cid": 3, "uds_path": t.path("v".ljust(96 - len(t.path("")), "v") + "v")}),
                   "vsock:", "97 bytes long", "at most 96")
    refused_config(t, t.path(""), "no file of at most")


@test("native")
def api_options_that_cannot_be(t):
    for args, words in [(["--no-api"], "config-file"), (["--api-sock"], "requires a value"), (["--nothing"], "nothing"),
                        (["--id", "a_b"], "letters, digits and hyphens"), (["--id="], "1 to 64"),
                        (["--enable-pci"], "no PCI"), (["--api-sock", "a", "--api-sock=b"], "more than once"),
                        (["--http-api-max-payload-size", "x"], "not a number"), (["--no-api=1"], "takes no value"),
                        (["--no-seccomp", "--seccomp-filter", "x"], "cannot be used together")]:
        contains(f"messages of {args}", Vm(t, *args).ends(153).errors(), words)


@test("native")
def api_options_that_are_no_text(t):
    """Each is part of a JSON request, which says nothing of a value that it cannot hold."""
    for option in ("--log-path", "--level", "--module", "--metrics-path"):
        vm = Vm(t, "--api-sock", t.path("api.sock"), option, os.fsdecode(os.fsencode(t.path("")) + b"\xff"))
        contains(f"messages of {option}", vm.ends(152 if option == "--level" else 1).errors(), f"{option}: its value is no UTF-8")


@test("native")
def api_boot_timer(t):
    """From the start that worked, however long the microVM waited for it, with the CPU time beside it."""
    vm = Served(t, "--boot-timer", "--log-path", t.path("log"))
    configure(vm, t, "broken")
    os.rename(t.path("disk"), t.path("away"))
    vm.refused("PUT", "/actions", {"action_type": "InstanceStart"}, "cannot open")
    os.rename(t.path("away"), t.path("disk"))
    time.sleep(1)
    asked = time.monotonic()
    vm.start()
    with open(t.path("log")) as file:
        becomes("the line", lambda: any("Guest-boot-time" in line for line in file))
        waited = time.monotonic() - asked
        file.seek(0)
        line = file.read()
    found = re.search(r"Guest-boot-time = +(\d+) us (\d+) ms, +(\d+) CPU us (\d+) CPU ms\n", line)
    holds("Firecracker's words", found, line)
    us, ms, cpu_us, cpu_ms = (int(number) for number in found.groups())
    equal("milliseconds", (ms, cpu_ms), (us // 1000, cpu_us // 1000))
    holds("the time", 0 < us <= waited * 1e6 and 0 < cpu_us, (us, cpu_us, waited))
    moments = {one["moment"]: one["at_ns"] for one in vm.get("/vm/trace")["moments"]}
    holds("what the failed start reached is forgotten", moments["KVM VM and memory"] > moments["start asked for"] > 1e9, moments)


@test("native")
def api_level_that_is_none(t):
    vm = Vm(t, "--api-sock", t.path("api.sock"), "--level", "loud").ends(152)
    contains("messages", vm.errors(), "--level 'loud': there are Off, Error, Warning, Info, Debug and Trace")


@test("native")
def api_log_and_metrics(t):
    log, metrics = t.path("log"), t.path("metrics")
    vm = Served(t, "--id", "vm7", "--log-path", log, "--level", "Info", "--show-level", "--metrics-path", metrics)
    configure(vm, t)
    vm.refused("PUT", "/metrics", {"metrics_path": metrics}, "Reinitialization of metrics not allowed.")
    vm.refused("PUT", "/metrics", {"metrics_path": 1}, "invalid type: integer `1`")
    equal("bytes of metrics before the start", os.path.getsize(metrics), 0)
    vm.start()
    becomes("a line at the start", lambda: os.path.getsize(metrics) > 0)
    vm.put("/actions", {"action_type": "FlushMetrics"})
    vm.client.call("GET", "/nothing")
    vm.get("/version")
    text = vm.client.call("GET", "/metrics/prometheus")
    equal("status", text.status, 200)
    contains("metrics as text", text.body, "# TYPE mayfly_put_api_requests_drive_count counter\n",
             "mayfly_put_api_requests_metrics_fails_total 1\n", 'mayfly_block_read_bytes_total{id="rootfs"} 0\n')
    vm.signal(signal.SIGTERM)
    vm.ends(128 + signal.SIGTERM)
    with open(log) as file:
        contains("the log", file.read(), "[vm7:", ":INFO] api: boot.put: done")
    with open(metrics) as file:
        lines = [json.loads(line) for line in file]
    equal("lines of metrics", len(lines), 3)
    equal("drives put", [line["put_api_requests"]["drive_count"] for line in lines], [1, 0, 0])
    equal("versions asked for", [line["get_api_requests"]["vmm_version_count"] for line in lines], [0, 0, 1])
    equal("groups", [name in lines[0] for name in ("block", "block_rootfs", "vcpu", "uart", "events")], [True] * 5)


@test("native", "api-metrics-of-a-crash", number=signal.SIGSEGV, name="sigsegv", status=150, vm_id="crash1")
@test("native", "api-metrics-of-a-hangup", number=signal.SIGHUP, name="sighup", status=156, vm_id="crash2")
@test("native", "api-metrics-of-a-crash-without-id", number=signal.SIGILL, name="sigill", status=157, vm_id="crash3", emit_id=False)
def api_metrics_of_a_signal(t, number, name, status, vm_id, emit_id=True):
    """The last line says what ended the process, whether that could be done in order or not."""
    vm = Served(t, "--id", vm_id)  # an id of its own: in jails it is the jail's, too
    vm.put("/metrics", {"metrics_path": t.path("metrics"), "emit_id": emit_id})
    configure(vm, t)
    vm.start()
    vm.signal(number)
    vm.ends(status)
    with open(t.path("metrics")) as file:
        last = json.loads(file.read().splitlines()[-1])
    equal("signals", {key for key, value in last["signals"].items() if value}, {name})
    equal("the other counts", (last["seccomp"], last["vmm"], last.get("id")),
          ({"num_faults": 0}, {"panic_count": 0}, vm_id if emit_id else None))


@test("native")
def api_metrics_of_a_forbidden_call(t):
    """The byte that the guest writes takes a call that its thread may not make."""
    policy = os.path.join(ROOT, "jailer/policy/mayfly.policy")
    with open(policy) as file:
        lines = [line for line in file if not line.startswith("pwritev2")]
    vm = Vm(t, "--no-api", "--config-file", config(t), "--metrics-path", t.path("metrics"),
            "--seccomp-filter", t.file("policy", "".join(lines).encode())).ends(148)
    contains("messages", vm.errors(), "the system call pwritev2")
    # The guest runs while the line of the start is written: that may be the last one, or not be written any more.
    with open(t.path("metrics")) as file:
        equal("faults", sum(json.loads(line)["seccomp"]["num_faults"] for line in file), 1)


@test("native")
def api_the_log_says_why_it_ended(t):
    """A daemon has no standard error: what is said there the log has too, whatever ends the process."""
    policy = os.path.join(ROOT, "jailer/policy/mayfly.policy")
    with open(policy) as file:
        lines = [line for line in file if not line.startswith("pwritev2")]
    triple = config(t, "triple")
    os.rename(triple, t.path("triple.json"))
    for args, status, words in [
            (["--config-file", config(t)], 0, "the guest has restarted (i8042)"),
            (["--config-file", t.path("triple.json")], 160, "the guest crashed: vCPU 0: triple fault"),
            (["--config-file", t.file("no.json", b"{")], 1, "no.json: EOF while parsing an object at line 1 column 1"),
            (["--config-file", config(t), "--metadata", t.path("none")], 1, "none: No such file or directory"),
            (["--config-file", config(t), "--seccomp-filter", t.file("policy", "".join(lines).encode())], 148,
             "the system call pwritev2 (")]:
        log = t.path("log")
        Vm(t, "--no-api", "--log-path", log, "--level", "Info", "--show-level", *args).ends(status)
        with open(log) as file:
            text = file.read()
        contains(f"the log of an end with {status}", text, ":mayfly:INFO] mayfly v", words)
        holds("an error is one", (":ERROR] " in text.splitlines()[-1]) == (status != 0), text)
        os.remove(log)


@test("native")
def api_the_log_says_which_signal_ended_it(t):
    vm = Served(t, "--log-path", t.path("log"))
    vm.signal(signal.SIGTERM)
    vm.ends(128 + signal.SIGTERM)
    with open(t.path("log")) as file:
        contains("the log", file.read().splitlines()[-1], "] ended by signal SIGTERM (Terminated)")


@test("native")
def api_metrics_of_exits(t):
    """One byte to the serial port, and the reset."""
    Vm(t, "--no-api", "--config-file", config(t), "--metrics-path", t.path("metrics")).ends(0)
    with open(t.path("metrics")) as file:
        lines = [json.loads(line)["vcpu"] for line in file]
    times = lines[-1]["exit_io_out_agg"]
    time_of_all = sum(line["exit_io_out_agg"]["sum_us"] for line in lines)
    equal("exits", [sum(line[key] for line in lines) for key in ("exit_io_out", "exit_io_in", "failures")], [2, 0, 0])
    holds("times of exits", times["min_us"] <= times["max_us"] <= time_of_all <= 2 * times["max_us"] + 1 and time_of_all, lines)
    for line in lines:
        equal("times of what was not", line["exit_mmio_read_agg"], {"min_us": 0, "max_us": 0, "sum_us": 0})


@test("native")
def api_a_log_that_nobody_reads(t):
    """A full pipe stops nothing; what found no room is counted."""
    os.mkfifo(t.path("log"))
    reader = os.open(t.path("log"), os.O_RDONLY | os.O_NONBLOCK)
    vm = Served(t, "--log-path", t.path("log"), "--level", "Info")
    for _ in range(3000):
        vm.get("/version")
    body = vm.client.call("GET", "/metrics/prometheus").body
    line = next(line for line in body.split("\n") if line.startswith("mayfly_logger_missed_log_count_total "))
    holds("messages that found no room", int(line.split()[1]) > 0, line)
    missed = int(line.split()[1])
    with contextlib.suppress(BlockingIOError):
        while True:
            os.read(reader, 1 << 20)
    vm.get("/version")
    contains("the log's next lines", os.read(reader, 1 << 16).decode(), f"log: {missed + 1} messages found no room\n", "done\n")
    os.close(reader)
