"""mayctl console and mayctl run with payload guests: terminals, pipes, ends; the options of mayfly run over a socket."""

import json
import os
import signal
import subprocess
import termios

from api import Served
from harness import PROGRAM, artefact, becomes, contains, equal, holds, lacks, test
from jails import Jail
from native_console import guest
from native_payloads import need_kvm
from native_rpc import descriptors
from rpc import MAYCTL, Rpc, mayctl
from vm import Vm

CTRL_A = b"\x01"


def running(t, **settings):
    """A guest behind a socket that says S and echoes."""
    vm, rpc = guest(t, **settings)
    rpc.call("action", action_type="InstanceStart")
    vm.wait_for("S")
    return vm, rpc


def console(t, vm, *options, **settings):
    return Vm(t, "--sock", vm.path, *options, "console", binary=MAYCTL, **settings)


def payload_options(name, *more):
    return ["run", "--kernel", artefact(f"payload/{name}.elf"), *more]


# console -----------------------------------------------------------------------------------------------


@test("native")
def mayctl_console_on_terminals(t):
    """Two at once; what is typed, Ctrl-A keys, the terminal given back, and the microVM goes on."""
    vm, rpc = running(t)
    first, second = console(t, vm, terminal=True), console(t, vm, terminal=True)
    for one in (first, second):
        one.wait_for_error("Ctrl-A x detaches")
        becomes("a raw terminal", one.is_raw)
    first.send(b"abc\r" + CTRL_A + CTRL_A + b"\x03")
    first.wait_for(b"abc\r\x01\x03")
    second.wait_for(b"abc\r\x01\x03")
    first.send(CTRL_A + b"h")
    first.wait_for_error("Ctrl-A x       detach")
    first.send(CTRL_A)
    first.until("input taken", lambda: not first.to_send)
    first.send(b"x")
    first.ends(0)
    equal("modes", first.terminal_modes(), first.found_modes)
    second.send(b"on")
    second.wait_for(b"on")
    equal("state", rpc.call("vm.info")["state"], "Running")
    second.send(b"q")
    second.ends(0)
    equal("modes", second.terminal_modes(), second.found_modes)
    contains("why", second.errors(), "the microVM has ended: the guest has restarted")
    vm.ends(0)


@test("native")
def mayctl_console_gives_the_terminal_back(t):
    """On signals, and when the microVM's process is killed."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        vm, _ = running(t, name=f"{number}.sock")
        one = console(t, vm, terminal=True)
        becomes("a raw terminal", one.is_raw)
        one.signal(number)
        one.ends(128 + number)
        equal("modes", one.terminal_modes(), one.found_modes)
    one = console(t, vm, terminal=True)
    becomes("a raw terminal", one.is_raw)
    vm.signal(signal.SIGKILL)
    one.ends(2)
    equal("modes", one.terminal_modes(), one.found_modes)
    contains("why", one.errors(), "mayctl: error: ")


@test("native")
def mayctl_console_of_a_process_that_hangs(t):
    """The way out stays open."""
    vm, _ = running(t)
    one = console(t, vm, terminal=True)
    becomes("a raw terminal", one.is_raw)
    vm.signal(signal.SIGSTOP)
    one.send(b"y" * 3000 + CTRL_A + b"x")
    one.ends(0, 5)
    equal("modes", one.terminal_modes(), one.found_modes)
    vm.signal(signal.SIGCONT)


@test("native")
def mayctl_console_with_pipes(t):
    """Every byte value, to a guest that has not started yet; it leaves when it is quiet, or nobody reads."""
    vm, rpc = guest(t)
    data = bytes(byte for byte in range(256) if byte not in b"fq") * 20
    before = descriptors(vm)
    one = console(t, vm, "--timeout", "3", stdin=-1)
    becomes("attached", lambda: descriptors(vm) == before + 3)  # its socket, the console's eventfd and timer
    one.send(data)
    one.close_input()
    rpc.call("action", action_type="InstanceStart")
    one.wait_for(b"S" + data)
    one.ends(0)
    equal("output", one.out, b"S" + data)
    head = subprocess.Popen(["head", "-c", "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    two = subprocess.Popen([MAYCTL, "--sock", vm.path, "console"], stdin=subprocess.DEVNULL, stdout=head.stdin)
    head.stdin.close()
    becomes("an end of its reader", lambda: rpc.call("console.write", text="xyz") and head.poll() == 0)
    becomes("its own", lambda: rpc.call("console.write", text="xyz") and two.poll() == 0)
    contains("what was read, from wherever it came in", "xyzxyz", head.stdout.read().decode())


# run ---------------------------------------------------------------------------------------------------


def config_file(t, payload, **more):
    config = {"machine-config": {"vcpu_count": 1, "mem_size_mib": 64},
              "boot-source": {"kernel_image_path": artefact(f"payload/{payload}.elf")}, **more}
    return t.file("config.json", json.dumps(config).encode())


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()


@test("native")
def mayctl_runs_a_file(t):
    run = Vm(t, "run", config_file(t, "byte"), binary=MAYCTL)
    run.ends(0)
    equal("guest's output", run.text(), "M")
    refused = Vm(t, "run", config_file(t, "byte", drives=[{"drive_id": "a"}]), binary=MAYCTL)
    refused.ends(152)
    contains("refusal", refused.errors(), "drives[0]", "is_root_device")
    equal("lines", refused.errors().count("\n"), 1)
    mayctl(t, None, "run", t.file("bad.json", b"{"), status=153)


@test("native")
def mayctl_run_ends_as_mayfly_run(t):
    """Output, messages and status of both, for each way to an end."""
    need_kvm()
    for options in (payload_options("byte"), payload_options("triple"), payload_options("counter"),
                    payload_options("byte", "--cpus", "99"), payload_options("byte", "--mem", "1"),
                    payload_options("byte", "--drive", "fd=77"), ["run"], payload_options("byte", "--drive"),
                    payload_options("byte", "--console", "none"), payload_options("byte", "--console", "stderr")):
        ours, theirs = Vm(t, *options, binary=MAYCTL), Vm(t, *options)
        theirs.wait()
        ours.ends(theirs.status)
        equal(f"output of {options}", ours.out, theirs.out)
        equal(f"messages of {options}", ours.errors().replace("mayctl: ", "mayfly: "), theirs.errors())
    left = [name for name in os.listdir("/tmp") if name.startswith("mayctl-")]
    t.log(f"folders of others: {left}")


def folders():
    return {name for name in os.listdir("/tmp") if name.startswith("mayctl-")}


@test("native")
def mayctl_run_that_cannot_begin(t):
    """Texts that no JSON holds, and too few descriptors for this or that: a refusal, nothing that stays."""
    need_kvm()
    kernel = artefact("payload/spin.elf")
    named = os.path.join(os.fsencode(t.dir), b"\xff.elf")
    with open(kernel, "rb") as source, open(named, "wb") as copy:
        copy.write(source.read())
    for words in (["--kernel", kernel, "--cmdline", b"a=\xff"], ["--kernel", named],
                  ["--kernel", kernel, "--vsock", b"3:" + os.fsencode(t.dir) + b"/\xff"]):
        ended = subprocess.run([MAYCTL, "run", *words], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        equal(f"status of {words}", ended.returncode, 152)
        contains("why", ended.stderr.decode(errors="replace"), "not UTF-8")
    before = folders()
    for limit in (9, *range(11, 17)):
        ended = subprocess.run(["bash", "-c", f'ulimit -n {limit}; exec "$@"', "-", MAYCTL, "run", "--kernel", kernel,
                                "--drive", t.path("none")], capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
        t.log(f"{limit} descriptors: status {ended.returncode}, {ended.stderr.decode()}")
        holds("a failure", ended.returncode not in (0, -9), str(ended))
    equal("folders left", sorted(folders() - before), [])


@test("native")
def mayctl_run_ends_by_signal(t):
    need_kvm()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        run = Vm(t, *payload_options("spin"), binary=MAYCTL, terminal=True)
        run.wait_for("S")
        becomes("a raw terminal", run.is_raw)
        monitors = children(run.process.pid)
        run.signal(number)
        run.ends(156 if number == signal.SIGHUP else 128 + number)
        equal("modes", run.terminal_modes(), run.found_modes)
        lacks("processes", str([pid for pid in monitors if os.path.exists(f"/proc/{pid}")]), monitors[0])


@test("native")
def mayctl_run_on_a_terminal(t):
    need_kvm()
    run = Vm(t, *payload_options("echo"), binary=MAYCTL, terminal=True)
    run.wait_for("S")
    becomes("a raw terminal", run.is_raw)
    holds("no echo", not run.terminal_modes()[3] & termios.ECHO)
    run.send(b"hello")
    run.wait_for("hello")
    run.send(CTRL_A + b"h")
    run.wait_for_error("Ctrl-A x       end the microVM")
    run.send(CTRL_A + b"x")
    run.ends(0)
    contains("why", run.errors(), "mayfly: ended from the console (Ctrl-A x)")
    equal("modes", run.terminal_modes(), run.found_modes)


@test("native")
def mayctl_run_behind_a_socket(t):
    """A process that waits already: files go there as descriptors, and statuses come from what it tells."""
    need_kvm()
    for name, status, words in (("byte", 0, ""), ("triple", 160, "mayfly: error: the guest crashed"), ("echo", 0, "")):
        vm = Served(t, name=f"{name}.sock")
        disk = t.file("disk", size=1 << 20)
        run = Vm(t, "--sock", vm.path, *payload_options(name, "--mem", "64", "--drive", f"{disk}:ro,num-queues=2"),
                 binary=MAYCTL, stdin=-1)
        if name == "echo":
            run.wait_for("S")
            config = json.loads(mayctl(t, vm.path, "--json", "vm", "config"))
            equal("kernel", sorted(config["boot-source"]["kernel_image_path"]), ["fd"])
            equal("drive", (config["drives"][0]["drive_id"], config["drives"][0]["num_queues"]), ("vda", 2))
            run.send(b"abcq")
            run.wait_for("Sabc")
        run.ends(status)
        contains("messages", run.errors(), words)
        vm.ends(status)
    contains("what cannot be changed", Vm(t, "--sock", Served(t, name="s.sock").path, *payload_options("byte", "--no-seccomp"),
                                          binary=MAYCTL).ends(153).errors(), "already")


@test("native")
def mayctl_run_makes_the_socket_that_is_not_there(t):
    need_kvm()
    path = t.path("vm.sock")
    run = Vm(t, "--sock", path, *payload_options("spin"), binary=MAYCTL)
    run.wait_for("S")
    contains("state", mayctl(t, path, "vm", "info"), "Running")
    mayctl(t, path, "vm", "stop", "that will do")
    run.ends(0)
    contains("why", run.errors(), "mayfly: that will do")
    holds("no socket left", not os.path.exists(path))


@test("native")
def mayctl_run_tells_timings(t):
    need_kvm()
    run = Vm(t, *payload_options("byte", "--timings"), binary=MAYCTL).ends(0)
    contains("a table", run.errors(), "first KVM_RUN", "first guest console byte", "\n  end ")
    contains("help", mayctl(t, None, "run", "--help"), "--kernel PATH", "--agent", "over a socket")


# jailed ------------------------------------------------------------------------------------------------


@test("native")
def mayctl_of_jailed_microvms(t):
    """Two in their jails, filters and all: nothing that they use has a name there. ps finds both; run drives the other."""
    need_kvm()
    jails = [Jail(t, PROGRAM) for _ in range(2)]
    socks = []
    for jail in jails:
        jail.popen()
        socks.append(f"{jail.root}/run/firecracker.socket")
    becomes("API sockets", lambda: all(os.path.exists(path) for path in socks))
    rpc = Rpc(socks[0])
    disk = t.file("disk", size=1 << 20)
    files = [os.open(path, os.O_RDWR) for path in (artefact("payload/spin.elf"), disk)]
    rpc.call("vm.configure_and_start", files,
             **{"machine-config": {"vcpu_count": 1, "mem_size_mib": 64}, "boot-source": {"kernel_image_path": {"fd": 0}},
                "drives": [{"drive_id": "a", "is_root_device": False, "path_on_host": {"fd": 1}}]})
    for fd in files:
        os.close(fd)
    run = Vm(t, "--sock", socks[1], *payload_options("echo", "--mem", "64", "--drive", disk), binary=MAYCTL, stdin=-1)
    run.wait_for("S")
    rows = {row["id"]: row for row in json.loads(mayctl(t, None, "--json", "ps", jails[0].base))}
    equal("ids", sorted(rows), sorted(jail.id for jail in jails))
    for row in rows.values():
        equal("state", (row["state"], row["vcpus"], row["memory_bytes"]), ("Running", 1, 64 << 20))
        holds("figures", row["uptime_ns"] > 0 and row["vcpu_ns"] > 0 and row["exits_per_s"] is not None
              and row["resident_bytes"] > 0, str(row))
    contains("a table with units", mayctl(t, None, "ps", jails[0].base), "64 MiB", " ms", "Running", jails[0].id)
    contains("repeated lines", mayctl(t, None, "top", jails[0].base, 2), jails[1].id, "exits_per_s")
    run.send(b"abcq")
    run.wait_for("Sabc")
    run.ends(0)
    rpc.call("vm.stop")
