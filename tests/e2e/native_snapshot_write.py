"""How a save writes, by io_uring or without it, and what it tells of how far it is."""

import errno
import json
import os
import pty
import signal
import subprocess

import harness
from api import Served
from harness import MAYFLY, Skip, artefact, contains, equal, holds, lacks, test
from jails import CGROUPS, without_call
from native_snapshot import create, load, memory, need_kvm, release, run_a_little, start_writing
from native_snapshot_killed import save_request
from native_snapshot_pager import Handler, paged, saved
from rpc import MAYCTL, Rpc, mayctl

IO_URING_SETUP = 425
BAD_CALL = 148
BY_HAND = "but by one thread"


# By whom ------------------------------------------------------------------------------------------------


def policy_without(t, call):
    """The control thread may not make this call."""
    with open(os.path.join(harness.ROOT, "jailer/policy/mayfly.policy")) as file:
        before, control, after = file.read().partition("[control]\n")
    own, io, rest = after.partition("[io]\n")
    lines = [line for line in own.splitlines(True) if line.split()[:1] != [call]]
    return t.file("policy", "".join([before, control, *lines, io, rest]).encode())


def paused(t, *options, name="api.sock", **settings):
    need_kvm()
    vm = Served(t, *options, name=name, **settings)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "track_dirty_pages": True})
    vm.put("/boot-source", {"kernel_image_path": artefact("payload/wait.elf")})
    vm.start()
    vm.wait_for("S")
    vm.patch("/vm", {"state": "Paused"})
    return vm


@test("native")
def snapshot_is_written_by_the_ring(t):
    """The control thread writes no memory itself; where the host has no io_uring it does, and ends for it here."""
    policy = policy_without(t, "pwrite64")
    vm = paused(t, "--seccomp-filter", policy)
    create(t, vm, "")
    vm.signal(signal.SIGTERM)
    lacks("messages", vm.ends(128 + signal.SIGTERM).errors(), BY_HAND)
    release(t)
    contains("output", load(t).ends(0).text(), "R")
    vm = paused(t, "--seccomp-filter", policy, name="without.sock", before=without_call(IO_URING_SETUP, errno.ENOSYS))
    save_request(t, vm, "2")
    contains("messages", vm.ends(BAD_CALL).errors(), "the system call pwrite64 (")


@test("native")
def snapshot_without_io_uring(t):
    """The same files, and it is said once."""
    vm = paused(t, before=without_call(IO_URING_SETUP, errno.ENOSYS))
    create(t, vm, "")
    create(t, vm, "2")
    create(t, vm, "3", "Diff")
    holds("one like the other", memory(t, "") == memory(t, "2"))
    vm.signal(signal.SIGTERM)
    equal("how often it is said", vm.ends(128 + signal.SIGTERM).errors().count(BY_HAND), 1)
    release(t)
    contains("output", load(t).ends(0).text(), "R")


def full_cgroup(t, process):
    """A cgroup with the process in it that takes no thread more."""
    for base in (f"{CGROUPS}/pids", CGROUPS):
        folder = f"{base}/mayfly-test-{os.getpid()}"
        try:
            os.mkdir(folder)
        except OSError:
            continue
        t.cleanups.insert(0, lambda folder=folder: os.rmdir(folder))
        if os.path.exists(f"{folder}/pids.max"):
            break
    else:
        raise Skip("no cgroup that counts threads can be made here")
    with open(f"{folder}/cgroup.procs", "w") as file:
        file.write(str(process.pid))
    with open(f"{folder}/pids.current") as current, open(f"{folder}/pids.max", "w") as limit:
        limit.write(current.read())


@test("native")
def snapshot_without_a_thread_for_io_uring(t):
    """The kernel may start none to write with: the save does without."""
    vm = paused(t)
    full_cgroup(t, vm.process)
    create(t, vm, "")
    vm.signal(signal.SIGTERM)
    contains("messages", vm.ends(128 + signal.SIGTERM).errors(), BY_HAND)
    release(t)
    contains("output", load(t).ends(0).text(), "R")


# How far ------------------------------------------------------------------------------------------------


def progress(event):
    equal("the event", event[0], "snapshot.progress")
    details = event[1][0]
    return details["step"], details["done_bytes"], details["total_bytes"]


def save_by(rpc, t, name, **more):
    return rpc.send("snapshot.create", snapshot_path=t.path(f"state{name}"), mem_file_path=t.path(f"memory{name}"), **more)


@test("native")
def snapshot_progress_by_rpc(t):
    """Told to who asked, before the answer: what is copied, what is written, and that it is waited for the disk."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    rpc, silent = Rpc(vm.path), Rpc(vm.path)
    rpc.call("events.subscribe", events=["snapshot.progress"])
    for request, first in (({}, "memory"), ({"snapshot_type": "Diff"}, "copy")):
        run_a_little(vm)
        rpc.events.clear()
        rpc.answer(save_by(rpc, t, "", **request))
        told = [progress(event) for event in rpc.events]
        steps = list(dict.fromkeys(step for step, _, _ in told))
        equal("steps", steps, ["copy", "memory", "sync"] if first == "copy" else ["memory", "sync"])
        for step in steps[:-1]:
            totals = {total for which, _, total in told if which == step}
            done = [done for which, done, _ in told if which == step]
            holds(f"one total of {step}", len(totals) == 1 and totals != {0}, str(told))
            equal(f"the ends of {step}", (done[0], done[-1]), (0, totals.pop()))
            equal(f"the order of {step}", done, sorted(done))
        equal("sync", told[-1], ("sync", 0, 0))
    silent.call("version")
    equal("what is told to who did not ask", silent.events, [])
    awaited = silent.send("events.wait", events=["snapshot.progress"])
    rpc.answer(save_by(rpc, t, ""))
    equal("the first of another's save", silent.answer(awaited)["done_bytes"], 0)


class Stalled:
    """A paused clone whose memory does not come until it is let: a save of it stands still in the middle."""

    def __init__(self, t):
        saved(t)
        self.handler = Handler(t)
        self.clone = paged(t, resume_vm=False)
        self.handler.process.send_signal(signal.SIGSTOP)

    def let(self):
        self.handler.process.send_signal(signal.SIGCONT)


@test("native")
def snapshot_progress_meanwhile(t):
    """It comes while the save is under way, to a client that reads; one that does not holds up nobody and misses it."""
    stalled = Stalled(t)
    rpc, deaf = Rpc(stalled.clone.path, patience=30), Rpc(stalled.clone.path)
    for client in (rpc, deaf):
        client.call("events.subscribe", events=["snapshot.progress"])
    unread = []
    for _ in range(30):  # answers that are more than a socket holds
        unread.append(deaf.send("methods"))
        rpc.call("version")
    number = save_by(rpc, t, "2")
    seen = [progress(rpc.event()) for _ in range(3)]
    holds("nothing is there so far", all(step == "fetch" and done < total for step, done, total in seen), str(seen))
    stalled.let()
    rpc.answer(number)
    equal("the last", progress(rpc.events[-1]), ("sync", 0, 0))
    for each in unread:
        deaf.answer(each)
    equal("what the other was told", deaf.events, [])


def terminal_of(command, until=None, then=None):
    """What a program writes to a terminal that is its standard error, until its end; then() once `until` is there."""
    master, slave = pty.openpty()
    process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=slave)
    os.close(slave)
    text = b""
    while True:
        try:
            text += os.read(master, 4096)
        except OSError:  # it has ended
            break
        if then and until.encode() in text:
            then()
            then = None
    os.close(master)
    out = process.communicate(timeout=20)[0]
    return process.returncode, out.decode(), text.decode()


@test("native")
def mayctl_shows_a_save(t):
    """On a terminal a line that goes again; elsewhere, and with --json, only when it is asked for."""
    stalled = Stalled(t)
    vm, words = stalled.clone, ("snapshot", "save", t.path("state2"), t.path("memory2"))
    status, out, shown = terminal_of([MAYCTL, "--sock", vm.path, *words], "fetching memory: ", stalled.let)
    equal("status and output", (status, out), (0, ""))
    contains("the terminal", shown, "\rfetching memory: 0 %, 0 of 128 MiB\x1b[K", "\rwaiting for the disk\x1b[K")
    holds("a terminal without it", shown.endswith("\r\x1b[K"), repr(shown))
    status, out, shown = terminal_of([MAYCTL, "--sock", vm.path, "--json", *words])
    equal("with --json", (status, out, shown), (0, "", ""))
    equal("without a terminal", mayctl(t, vm.path, *words), "")
    for options in (["--progress"], ["--progress", "--json"]):
        ended = subprocess.run([MAYCTL, "--sock", vm.path, *options, *words], capture_output=True, text=True, timeout=20)
        lines = ended.stderr.splitlines()
        equal(f"status and output with {options}", (ended.returncode, ended.stdout), (0, ""))
        equal(f"first and last with {options}", (lines[0], lines[-1]),
              ("fetching memory: 0 %, 0 of 128 MiB", "waiting for the disk"))
    refused = subprocess.run([MAYCTL, "--sock", vm.path, "--progress", "snapshot", "save", t.path("no/s"), t.path("no/m")],
                             capture_output=True, text=True, timeout=20)
    equal("status of a refusal", refused.returncode, 1)
    contains("a refusal", refused.stderr, "No such file or directory")


@test("native")
def mayctl_waits_no_longer_for_a_save(t):
    """--timeout is for all of it, however much is told meanwhile."""
    stalled = Stalled(t)
    words = ("--timeout", "0.5", "--progress", "snapshot", "save", t.path("state2"), t.path("memory2"))
    contains("too late", mayctl(t, stalled.clone.path, *words, status=3), "fetching memory: 0 %", "in time")
    stalled.let()


@test("native")
def snapshot_for_no_more_users(t):
    """Who may not read a file that is there may not read what takes its place; and a name is needed."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    for name in ("state0", "memory0"):
        os.chmod(t.path(name), 0o600)
    for kind in ("Diff", "Full"):
        create(t, vm, "0", kind)
        for name in ("state0", "memory0"):
            equal(f"mode of {name} after {kind}", oct(os.stat(t.path(name)).st_mode & 0o777), oct(0o600))
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": "", "mem_file_path": t.path("m")}, "snapshot_path is empty")
    vm.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": ""}, "mem_file_path is empty")
    vm.end()


@test("native")
def snapshot_merge_shows_progress(t):
    """On a terminal."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    run_a_little(vm)
    create(t, vm, "1", "Diff")
    vm.end()
    command = [MAYFLY, "snapshot", "merge", t.path("memory0"), t.path("memory1"), "--output", t.path("merged")]
    status, out, shown = terminal_of(command)
    equal("status and output", (status, out), (0, ""))
    contains("the terminal", shown, "\rcopying: 0 %, 0 of ", "\rwaiting for the disk\x1b[K")
    holds("a terminal without it", shown.endswith("\r\x1b[K"), repr(shown))
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    equal("without a terminal", (done.returncode, done.stdout, done.stderr), (0, "", ""))
