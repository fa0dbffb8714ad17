"""Landlock: what is refused though the system call is let through; and a kernel that has none of it."""

import ctypes
import errno
import os
import socket

from harness import Skip, contains, equal, holds, lacks, test
from jails import Jail, unjailed, without_call
from vm import Vm, artefact, payload

CREATE_RULESET, RESTRICT_SELF = 444, 446
TCP, SCOPES = 4, 6  # the versions that these came in
LINE = "no Landlock in this kernel"


def need_version(version):
    came = ctypes.CDLL(None).syscall(CREATE_RULESET, None, 0, 1)
    if came < version:
        raise Skip(f"this kernel's Landlock is version {came}, not {version}")


@test("native", "landlock-exec", attempt="exec", argument="/bin/true", works="")
@test("native", "landlock-mknod", attempt="mknod", argument="made")
@test("native", "landlock-mkfifo", attempt="mkfifo", argument="made")
@test("native", "landlock-symlink", attempt="symlink", argument="made")
@test("native", "landlock-bind-tcp", attempt="bind-tcp", version=TCP)
def landlock_wall(t, attempt, argument="", works="done\n", version=1):
    """On the host, as root, with every system call: the wall is Landlock's alone."""
    need_version(version)
    path = t.path(argument) if argument == "made" else argument
    equal("guarded", unjailed(t, "guarded", attempt, path).stdout, "refused: EACCES\n")
    lacks("files made", os.listdir(t.dir), "made")
    equal("not guarded", unjailed(t, "none", attempt, path).stdout, works)


@test("native")
def landlock_lets_the_monitor_work(t):
    for attempt, argument in (("open", "/etc/passwd"), ("create", t.path("made"))):
        equal(attempt, unjailed(t, "guarded", attempt, argument).stdout, "done\n")


@test("native")
def landlock_signal(t):
    """To a process that is not the monitor's own, of whatever user."""
    need_version(SCOPES)
    equal("guarded", unjailed(t, "guarded", "kill", os.getpid()).stdout, "refused: EPERM\n")
    equal("not guarded", unjailed(t, "none", "kill", os.getpid()).stdout, "done\n")


@test("native")
def landlock_keeps_the_root(t):
    """A folder of the host that came by a socket, as a client's descriptors do: nothing below it opens."""
    need_version(1)
    outside = t.path("outside")
    os.mkdir(outside)
    with open(f"{outside}/file", "wb"):
        pass
    for folder in (t.dir, outside):
        os.chmod(folder, 0o755)
    folder = os.open(outside, os.O_RDONLY | os.O_DIRECTORY)
    for kind, wanted in (("guarded", "refused: EACCES\n"), ("none", "done\n")):
        jail = Jail(t)
        os.makedirs(f"{jail.root}/run")
        os.chmod(jail.base, 0o755)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{jail.root}/run/socket")
            os.chmod(f"{jail.root}/run/socket", 0o777)
            listener.listen()
            process = jail.popen(kind, "descriptor", "/run/socket")
            listener.settimeout(20)
            connection, _ = listener.accept()
            socket.send_fds(connection, [b"x"], [folder])
            equal(kind, process.communicate(timeout=20)[0], wanted)


@test("native", "landlock-of-io", kind="io")
@test("native", "landlock-of-vcpu", kind="vcpu")
def landlock_of_a_thread(t, kind):
    """Who needs no files has none, whatever the filter."""
    path = t.file("file")
    equal(kind, unjailed(t, f"no-seccomp-{kind}", "open", path).stdout, "refused: EACCES\n")
    equal("control", unjailed(t, "no-seccomp-control", "open", path).stdout, "done\n")


@test("native", "dropped-in-control", kind="control", attempt="chroot", argument="/")
@test("native", "dropped-in-io", kind="io", attempt="raw-socket")
@test("native", "dropped-in-vcpu", kind="vcpu", attempt="chroot", argument="/")
def capabilities_dropped(t, kind, attempt, argument=""):
    """A monitor of root's that nobody jailed keeps no capability that it does not need."""
    equal(kind, unjailed(t, f"no-seccomp-{kind}", attempt, argument).stdout, "refused: EPERM\n")
    equal("before it is armed", unjailed(t, "guarded", attempt, argument).stdout, "done\n")


@test("native")
def landlock_missing(t):
    """Without it the same attempt works, and a monitor says so, once."""
    before = without_call(CREATE_RULESET, errno.ENOSYS)
    path = t.path("made")
    equal("the attempt", unjailed(t, "guarded", "mkfifo", path, before=before).stdout, "done\n")
    monitor = payload(t, "byte", before=before).ends(0)
    equal("lines that say so", monitor.errors().count(LINE), 1)
    lacks("messages where it is there", payload(t, "byte").ends(0).errors(), LINE)


@test("native")
def landlock_refused(t):
    """A monitor that cannot confine itself where it should be able to does not start."""
    need_version(1)
    monitor = payload(t, "byte", before=without_call(RESTRICT_SELF, errno.E2BIG))
    monitor.ends(152)
    contains("message", monitor.errors(), "cannot confine the process by Landlock")


@test("native")
def landlock_without_seccomp(t):
    """--no-seccomp takes the filters away and nothing else."""
    monitor = Vm(t, "run", "--kernel", artefact("payload/wait.elf"), "--no-seccomp")
    monitor.until("a guest that runs", lambda: "fc_vcpu 0" in monitor.thread_names())
    holds("no filter", "Seccomp:\t0" in monitor.proc("status"))
    holds("no new privileges", "NoNewPrivs:\t1" in monitor.proc("status"))
