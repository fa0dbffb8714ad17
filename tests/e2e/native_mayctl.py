"""mayctl with payload guests: methods as commands, events, help; folders of microVMs; the library."""

import fcntl
import json
import os
import socket
import struct
import subprocess
import termios
import threading
import time
import xml.etree.ElementTree

import harness
import msgpack
from api import Served
from harness import Failure, artefact, becomes, contains, equal, holds, lacks, test
from native_snapshot import need_kvm, release, save, start
from rpc import MAYCTL, mayctl
from vm import Vm


@test("native")
def mayctl_drives_a_vm(t):
    vm = Served(t)
    disk = t.file("disk", size=1 << 20)
    mayctl(t, vm.path, "machine", "set", 1, 64)
    mayctl(t, vm.path, "boot", "set", artefact("payload/spin.elf"), "a=b c")
    mayctl(t, vm.path, "drive", "add", "root", f"fd:{disk}", "root", "ro")
    mayctl(t, vm.path, "drive", "put", "data", f"path_on_host={disk}", "is_root_device=false", "is_read_only=yes",
           "rate_limiter.ops.size=10", "rate_limiter.ops.refill_time=100")
    config = json.loads(mayctl(t, vm.path, "--json", "vm", "config"))
    equal("command line", config["boot-source"]["boot_args"], "a=b c")
    drives = {drive["drive_id"]: drive for drive in config["drives"]}
    equal("limit", drives["data"]["rate_limiter"]["ops"], {"size": 10, "one_time_burst": None, "refill_time": 100})
    equal("root", (drives["root"]["is_root_device"], drives["root"]["is_read_only"]), (True, True))
    contains("configuration for people", mayctl(t, vm.path, "vm", "config"), "mem_size_mib", "64 MiB", "drive_id")
    mayctl(t, vm.path, "vm", "start")
    mayctl(t, vm.path, "vm", "pause")
    contains("state", mayctl(t, vm.path, "vm", "info"), "Paused")
    mayctl(t, vm.path, "vm", "resume")


@test("native")
def mayctl_statuses(t):
    vm = Served(t)
    contains("refusal", mayctl(t, vm.path, "vm", "pause", status=1), "before starting")
    contains("no socket", mayctl(t, t.path("none"), "vm", "info", status=2), "No such file")
    contains("too late", mayctl(t, vm.path, "--timeout", "0.2", "wait", "vm.ended", status=3), "in time")
    for words in (["vm", "fly"], ["drive", "put", "x", "nothing=1"], ["machine", "set", "one", "64"],
                  ["drive", "put", "x", "is_root_device=perhaps"], ["call"], ["wait"], ["--timeout"]):
        mayctl(t, vm.path, *words, status=153)
    mayctl(t, None, status=153)
    contains("a file that is not there", mayctl(t, vm.path, "drive", "add", "x", "fd:" + t.path("no"), status=153),
             "No such file")


@test("native")
def mayctl_events(t):
    vm = Served(t)
    mayctl(t, vm.path, "machine", "set", 1, 64)
    mayctl(t, vm.path, "boot", "set", artefact("payload/spin.elf"))
    events = subprocess.Popen([MAYCTL, "--sock", vm.path, "--json", "events"], stdout=subprocess.PIPE, text=True)
    t.cleanups.append(events.kill)
    mayctl(t, vm.path, "vm", "start")
    waits = subprocess.Popen([MAYCTL, "--sock", vm.path, "wait", "vm.ended"], stdout=subprocess.PIPE, text=True)
    t.cleanups.append(waits.kill)
    while "Paused" not in mayctl(t, vm.path, "vm", "info"):
        mayctl(t, vm.path, "vm", "pause")
    vm.signal(15)
    vm.ends(128 + 15)
    lines = [json.loads(line) for line in events.communicate(timeout=10)[0].splitlines()]
    equal("last event", lines[-1], {"event": "vm.ended", "details": {"how": "stopped", "text": "Terminated"}})
    holds("the pause among them", {"event": "vm.state", "details": {"state": "Paused"}} in lines, str(lines))
    contains("what was waited for", waits.communicate(timeout=10)[0], "vm.ended", "stopped")
    equal("statuses", (events.returncode, waits.returncode), (0, 0))


@test("native")
def mayctl_helps(t):
    text = mayctl(t, None, "help")
    for name in [line[3:].strip() for line in mayctl(t, None, "protocol").splitlines() if line.startswith("## ")]:
        contains("help", text, name.replace(".", " "))
        contains(f"help of {name}", mayctl(t, None, "help", *name.split(".")), "Usage: mayctl", "Allowed ")
    contains("help of a command", mayctl(t, None, "help", "drive", "add"), "<drive_id>", "path_on_host", "[ro]")


def completions(t, line, script="<(mayctl completion bash)"):
    """What bash offers at the end of the line."""
    program = line.split()[0]
    script = f'''
        PATH={MAYCTL.rsplit("/", 1)[0]}:$PATH
        . {script}
        compopt() {{ :; }}
        COMP_WORDS=({line})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _{program}
        printf '%s\\n' "${{COMPREPLY[@]}}"'''
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    if ended.stderr:
        raise Failure("completion", ended.stderr)
    return ended.stdout.split()


@test("native")
def mayctl_completes(t):
    equal("commands that begin so", sorted(set(completions(t, "mayctl ba"))), ["balloon"])
    holds("methods of drives", {"add", "put", "patch"} <= set(completions(t, "mayctl --sock s drive ''")))
    fields = completions(t, "mayctl drive put x is_")
    equal("fields", sorted(fields), ["is_read_only=", "is_root_device="])
    equal("values", completions(t, "mayctl drive put x is_root_device = t"), ["true"])
    equal("values at once", completions(t, "mayctl machine put huge_pages '='"), ["None", "Transparent", "2M"])
    equal("options of run", completions(t, "mayctl run --ini"), ["--initrd"])
    holds("commands", "console" in completions(t, "mayctl --sock s ''"))
    lacks("events", " ".join(completions(t, "mayctl wait vm.")), "balloon")
    mayfly = os.path.join(os.path.dirname(__file__), "../../cmd/mayfly.bash-completion")
    for line, words in (("mayfly sn", ["snapshot"]), ("mayfly snapshot ''", ["show", "check", "merge"]),
                        ("mayfly snapshot show x --", ["--json"]), ("mayfly snapshot merge x --", ["--output"])):
        equal(line, completions(t, line, mayfly), words)


# A folder of them --------------------------------------------------------------------------------------


def started(t, name):
    vm = Served(t, "--id", name.split("/")[-2] if "/root/" in name else "one", name=name)
    mayctl(t, vm.path, "machine", "set", 1, 64)
    mayctl(t, vm.path, "boot", "set", artefact("payload/spin.elf"))
    mayctl(t, vm.path, "vm", "start")
    return vm


def deaf_socket(path):
    """One that takes connections and never answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(5)
    return listener


def peer(t, path, serve):
    """One that does with its first client what serve(connection) does."""
    listener = deaf_socket(path)

    def run():
        try:
            with listener.accept()[0] as connection:
                serve(connection)
        except OSError:
            pass  # the client has left

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    t.cleanups.append(listener.close)
    return path


def drips(connection):
    """The beginning of an answer, a byte now and then."""
    for byte in b"\x94\x01\x01\xc0\xdb\x00\x00\x10\x00" + b"x" * 200:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def floods(connection):
    event = msgpack.packb([2, "vm.state", [{}]]) * 1000
    while True:
        connection.sendall(event)


@test("native")
def mayctl_of_peers_that_are_none(t):
    """Each ends in time and in bounded memory, whatever the other side says or does not."""
    begin = time.monotonic()
    dripping = peer(t, t.path("drip.sock"), drips)
    contains("a dripping peer", mayctl(t, dripping, "--timeout", "0.5", "version", status=3), "in time")
    contains("a flood", mayctl(t, peer(t, t.path("flood.sock"), floods), "version", status=2), "more came than")
    for timeout in ("0", "0.0005"):
        deaf = deaf_socket(t.path(f"deaf{timeout}.sock"))
        mayctl(t, t.path(f"deaf{timeout}.sock"), "--timeout", timeout, "version", status=3)
        deaf.close()
    holds("an end in time", time.monotonic() - begin < 10, str(time.monotonic() - begin))


@test("native")
def mayctl_lists_hostile_sockets(t):
    """Names that are no text, peers that drip, and queues that are full cost one second together."""
    os.mkdir(t.path("m"))
    named = os.path.join(os.fsencode(t.path("m")), b"\xff\x1b[2J.sock")
    os.rename(Served(t, name="m/one.sock").path, os.path.join(os.fsencode(t.path("m")), b"\xfe.sock"))
    listeners = [socket.socket(socket.AF_UNIX) for _ in range(5)]
    listeners[0].bind(named)
    listeners[0].close()
    waiting = []
    for number, listener in enumerate(listeners[1:]):
        listener.bind(t.path(f"m/full{number}.sock"))
        listener.listen(0)
        for _ in range(2):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(t.path(f"m/full{number}.sock"))
    peer(t, t.path("m/drip.sock"), drips)
    begin = time.monotonic()
    rows = json.loads(mayctl(t, None, "--json", "ps", t.path("m")))
    took = time.monotonic() - begin
    holds("two looks of a second", took < 4, str(took))
    states = {row["socket"].rsplit("/", 1)[1]: row["state"] for row in rows}
    equal("states", states, {"?.sock": "Not started", "?\x1b[2J.sock": "dead", "drip.sock": "no answer",
                             **{f"full{number}.sock": "no answer" for number in range(4)}})
    text = mayctl(t, None, "ps", t.path("m"))
    contains("a table", text, "??[2J.sock")
    lacks("the table", text, "\x1b")
    mayctl(t, None, "top", t.path("m"), "1x", status=153)
    for each in [*listeners, *waiting]:
        each.close()


@test("native")
def mayctl_refuses_what_cannot_be(t):
    vm = Served(t)
    contains("a list of parameters", mayctl(t, vm.path, "call", "vm.info", "[]", status=153), "one JSON object")
    contains("a number as metadata", mayctl(t, vm.path, "mmds", "put", "5", status=153), "one JSON object")
    for words in (["vm", "info"], ["--json", "vm", "info"]):
        with open("/dev/full", "w") as full:
            ended = subprocess.run([MAYCTL, "--sock", vm.path, *words], stdout=full, stderr=subprocess.PIPE, timeout=20)
        equal("status of a full disk", ended.returncode, 1)
        contains("why", ended.stderr.decode(), "cannot be written")
    contains("a trace of nothing", mayctl(t, vm.path, "trace", status=1), "it has not started")


@test("native")
def mayctl_restores(t):
    need_kvm()
    save(t, start(t))
    release(t)
    for verb, more in (("restore", ()), ("load", ("resume",))):
        vm = Served(t, name=f"{verb}.sock")
        mayctl(t, vm.path, "snapshot", verb, t.path("state"), t.path("memory"), *more)
        vm.wait_for("R")
        vm.ends(0)
    vm = Served(t, name="old.sock")
    mayctl(t, vm.path, "snapshot", "restore", t.path("state"), "mem_file_path=" + t.path("memory"))
    vm.wait_for("R")


@test("native")
def mayctl_lists_a_folder(t):
    jail = "m/mayfly/vm7/root/run"
    os.makedirs(t.path(jail))
    os.symlink(t.path("m"), t.path("m/loop"))
    running = started(t, "m/one.sock")
    jailed = Served(t, "--id", "vm7", name=jail + "/firecracker.socket")
    deaf = deaf_socket(t.path("m/deaf.sock"))
    deaf_socket(t.path("m/dead.sock")).close()
    begin = time.monotonic()
    rows = {row["socket"]: row for row in json.loads(mayctl(t, None, "--json", "ps", t.path("m")))}
    holds("an end in time", time.monotonic() - begin < 5, str(time.monotonic() - begin))
    equal("sockets", sorted(rows), sorted([running.path, jailed.path, t.path("m/deaf.sock"), t.path("m/dead.sock")]))
    row = rows[running.path]
    equal("the running one", (row["id"], row["state"], row["vcpus"], row["memory_bytes"]), ("one", "Running", 1, 64 << 20))
    holds("its times", row["uptime_ns"] > 0 and row["vcpu_ns"] > 0 and row["vcpu_percent"] is not None, str(row))
    holds("its memory", 0 < row["resident_bytes"] <= 64 << 20, str(row))
    equal("the jailed one", (rows[jailed.path]["id"], rows[jailed.path]["state"]), ("vm7", "Not started"))
    equal("the others", [rows[t.path(f"m/{name}.sock")]["state"] for name in ("deaf", "dead")], ["no answer", "dead"])
    deaf.close()
    contains("a table", mayctl(t, None, "ps", t.path("m")), "uptime", "Running", "64 MiB", "dead")
    mayctl(t, None, "ps", t.path("nowhere"), status=153)


@test("native")
def mayctl_top_without_a_terminal(t):
    vm = started(t, "one.sock")
    tables = mayctl(t, None, "--json", "top", vm.path, 2)
    contains("two looks", tables.replace('"exits_per_s": null', "", 1), '"exits_per_s": ')
    equal("tables", tables.count('"state"'), 2)


@test("native")
def mayctl_top_on_a_terminal(t):
    vm = started(t, "one.sock")
    top = Vm(t, "top", vm.path, terminal=True, binary=MAYCTL)
    top.until("a table", lambda: b"Running" in top.out)
    holds("keys that are not echoed", not top.terminal_modes()[3] & termios.ECHO)
    seen = len(top.out)
    fcntl.ioctl(top.master, termios.TIOCSWINSZ, struct.pack("HHHH", 5, 40, 0, 0))
    top.until("another drawing", lambda: b"Running" in top.out[seen:])
    top.send(b"q")
    top.ends(0)
    equal("the terminal's modes", top.terminal_modes(), top.found_modes)
    contains("what it leaves", top.text(), "\033[?25h\033[?1049l")


@test("native")
def mayctl_trace_draws(t):
    vm = started(t, "one.sock")
    becomes("a run", lambda: "first KVM_RUN" in mayctl(t, vm.path, "trace"))
    contains("bars", mayctl(t, vm.path, "trace"), "first KVM_RUN", "\u2588", " ms")
    mayctl(t, None, "trace", vm.path, "--svg", t.path("trace.svg"))
    root = xml.etree.ElementTree.parse(t.path("trace.svg")).getroot()
    lying = {"id": "<a>&", "moments": [{"moment": "start <&>", "at_ns": 0}, {"moment": "<b>&", "at_ns": 5}]}
    path = peer(t, t.path("lies.sock"), lambda it: (it.recv(4096), it.sendall(msgpack.packb([1, 1, None, lying]))))
    mayctl(t, path, "trace", "--svg", t.path("lies.svg"))
    texts = [text.text for text in xml.etree.ElementTree.parse(t.path("lies.svg")).iter() if text.text]
    holds("names as they are", any("<b>&" in text for text in texts), str(texts))
    holds("bars in the picture", len(root.findall("{http://www.w3.org/2000/svg}rect")) > 3)


@test("native")
def client_library_is_installed(t):
    """A C program built against what `make install` leaves, away from the sources."""
    ended = subprocess.run(["make", "-s", "install", "PREFIX=" + t.path("usr")], cwd=harness.ROOT, capture_output=True,
                           text=True, timeout=50, env={**os.environ, "MAKEFLAGS": ""})
    equal("status of make install", (ended.returncode, ended.stderr[-500:]), (0, ""))
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "mayfly-client"], capture_output=True, text=True,
                           env={**os.environ, "PKG_CONFIG_PATH": t.path("usr/lib/pkgconfig")}, check=True).stdout
    subprocess.run(["gcc", "-Wall", "-Wextra", "-Werror", os.path.join(harness.ROOT, "examples/client.c"), "-o",
                    t.path("client"), *flags.split()], cwd=t.dir, check=True)
    names = subprocess.run(["nm", "-g", "--defined-only", t.path("usr/lib/libmayfly-client.a")], capture_output=True,
                           text=True, check=True).stdout
    equal("names that are no interface", [line for line in names.splitlines()
                                          if " " in line and "mayfly_client_" not in line], [])
    vm = Served(t)
    ended = subprocess.run([t.path("client"), vm.path, artefact("payload/byte.elf")], capture_output=True, text=True,
                           timeout=20, check=False)
    equal("what it says", (ended.stdout, ended.stderr, ended.returncode), ("vm.ended: reset\n", "", 0))
    vm.ends(0)
    holds("completion", os.path.exists(t.path("usr/share/bash-completion/completions/mayctl")))


def make(*args):
    """As one types it, though it is a make that runs the tests."""
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *args], cwd=harness.ROOT, capture_output=True, text=True, timeout=50, env=env,
                          check=False)


@test("native")
def installed_below_a_folder_with_a_space(t):
    to = t.path("of two words")
    ended = make("-s", "install", "DESTDIR=" + to, "PREFIX=/usr")
    equal("status of make install", (ended.returncode, ended.stderr[-500:]), (0, ""))
    Vm(t, "--version", binary=os.path.join(to, "usr/bin/mayfly")).ends(0)
    with open(os.path.join(to, "usr/lib/pkgconfig/mayfly-client.pc"), encoding="utf-8") as file:
        lacks("the library's description", file.read(), to)


@test("native")
def make_with_nothing_to_do_is_silent(t):
    make()
    ended = make()
    equal("status and words of a second make", (ended.returncode, ended.stdout, ended.stderr), (0, "", ""))
