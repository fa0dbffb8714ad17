"""Attacks by the monitor itself: tests/jail/compromised.c runs a guest in a jail, and has the thread that it is told make
an attempt, armed and with all that it holds by then."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess

import harness
import jails
from harness import Skip, contains, equal, holds, test
from jails import Jail
from native_attacks import CALLS
from vm import artefact

COMPROMISED = os.path.join(harness.BUILD, "compromised")
THREADS = {"control": "compromised", "io": "io0", "vcpu": "fc_vcpu 0"}  # as the kernel calls them
NAMES = {"control": "main", "io": "io0", "vcpu": "fc_vcpu 0"}  # as they call themselves
RT_TGSIGQUEUEINFO, SI_QUEUE = 297, -1


class SigInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("signo", "errno", "code", "pad", "pid", "uid", "value")]
    _fields_ += [("rest", ctypes.c_char * 100)]


class Compromised:
    """A guest that waits, with a drive, in a jail; and the attempts that can be injected, (name, argument) each."""

    def __init__(self, t, *attempts, options=(), words=()):
        if not os.access(COMPROMISED, os.X_OK):
            raise Skip(f"there is no {COMPROMISED}; make test builds it")
        self.jail = jail = Jail(t, program=COMPROMISED)
        os.makedirs(jail.root)
        shutil.copy(artefact("payload/wait.elf"), f"{jail.root}/kernel")
        with open(f"{jail.root}/disk", "wb") as file:
            file.truncate(1 << 20)
        with open(f"{jail.root}/attempts", "w") as file:
            file.writelines(f"{name} {argument or '-'}\n" for name, argument in attempts)
        for name in ("kernel", "disk", "attempts"):
            os.chown(f"{jail.root}/{name}", jail.uid, jail.uid)
        self.errors = open(t.path("errors"), "w+")
        self.process = subprocess.Popen(
            jail.command("run", "--kernel", "/kernel", "--drive", "/disk", *words, options=options),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors, text=True)
        t.cleanups.append(lambda: (self.process.kill(), self.process.wait(), self.errors.close()))
        # All threads are armed before the guest runs.
        equal("the guest's output", self.process.stdout.read(1), "S")
        self.threads = {}
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/comm") as file:
                self.threads[file.read().strip()] = int(task)

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def inject(self, kind, number=0):
        info = SigInfo(signo=signal.SIGTRAP, code=SI_QUEUE, pid=os.getpid(), value=number)
        done = ctypes.CDLL(None, use_errno=True).syscall(RT_TGSIGQUEUEINFO, self.process.pid, self.threads[THREADS[kind]],
                                                         signal.SIGTRAP, ctypes.byref(info))
        equal("the injection", (done, ctypes.get_errno() if done else 0), (0, 0))

    def answer(self, kind, number=0):
        """What the attempt that is let through says."""
        self.inject(kind, number)
        return self.process.stdout.readline()

    def forbidden(self, kind, syscall):
        """The wall of seccomp: the whole monitor ends, and says which thread asked for what."""
        equal("status", self.process.wait(20), 148)
        contains("messages", self.said(), f"thread {NAMES[kind]}: the system call {syscall} (", "is forbidden here")


def add_calls():
    for attempt, (syscall, argument) in CALLS.items():
        for kind in THREADS:

            def attack(t, attempt=attempt, syscall=syscall, argument=argument, kind=kind):
                monitor = Compromised(t, (attempt, argument))
                monitor.inject(kind)
                monitor.forbidden(kind, syscall)

            test("native", f"compromised-{attempt}-in-{kind}")(attack)


add_calls()


@test("native")
def compromised_control_against_files(t):
    """What the control thread's filter lets through: the jail's root and its device policy are the wall."""
    neighbour = Jail(t, uid=jails.UID + 1)
    neighbour.start("none", "wait", 60)
    secret, path = f"{neighbour.root}/disk", f"{neighbour.root}/run/api.sock"
    with open(secret, "wb") as file:
        file.write(b"x")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.chmod(path, 0o777)
        monitor = Compromised(t, ("open", secret), ("connect", path), ("open", "/proc/1/status"), ("open", "/etc/passwd"),
                              ("open", "/../../../../etc/passwd"), ("open", "/planted"), ("open", "/disk"))
        os.mknod(f"{monitor.jail.root}/planted", 0o20666, os.makedev(1, 3))
        os.chmod(f"{monitor.jail.root}/planted", 0o666)
        came = [monitor.answer("control", number) for number in range(7)]
    equal("another's disk, its socket, /proc, /etc, above the root, a node, its own disk", came,
          ["refused: ENOENT\n"] * 5 + ["refused: EPERM\n", "done\n"])
    equal("the monitor still runs", monitor.process.poll(), None)


@test("native", "compromised-io-opens-nothing", kind="io", attempt="open", syscall="openat")
@test("native", "compromised-vcpu-opens-nothing", kind="vcpu", attempt="open", syscall="openat")
@test("native", "compromised-vcpu-speaks-to-nobody", kind="vcpu", attempt="connect", syscall="socket")
@test("native", "compromised-control-signals-nobody", kind="control", attempt="kill", syscall="kill")
def compromised_kinds_differ(t, kind, attempt, syscall):
    monitor = Compromised(t, (attempt, "1" if attempt == "kill" else "/disk"))
    monitor.inject(kind)
    monitor.forbidden(kind, syscall)


@test("native")
def compromised_ring(t):
    """The drive's own ring takes no other operations, whoever submits them."""
    monitor = Compromised(t, ("ring-operation", ""))
    for kind in "io", "control":
        equal(f"from {kind}", monitor.answer(kind), "refused: EACCES\n")
    equal("the monitor still runs", monitor.process.poll(), None)


@test("native")
def compromised_without_filters(t):
    """Behind the filters: no capability, the jail's root, Landlock."""
    other = Jail(t, uid=jails.UID + 1)
    victim = other.start("none", "wait", 60)
    attempts = [("mount", ""), ("raw-socket", ""), ("packet-socket", ""), ("ptrace", victim.pid), ("kill", victim.pid),
                ("read-memory", victim.pid), ("setuid", ""), ("chroot", "/"), ("mknod", "/node")]
    for kind in THREADS:
        monitor = Compromised(t, *attempts, words=["--no-seccomp"])
        for number, (name, _) in enumerate(attempts):
            holds(f"{name} in {kind} refused", monitor.answer(kind, number) in ("refused: EPERM\n", "refused: EACCES\n"))
    equal("open in io, whose Landlock has nothing", Compromised(t, ("open", "/disk"), words=["--no-seccomp"]).answer("io"),
          "refused: EACCES\n")
    equal("open in control", Compromised(t, ("open", "/disk"), words=["--no-seccomp"]).answer("control"), "done\n")
