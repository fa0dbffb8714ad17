"""Attacks from inside. Each shows the wall that it met, and that the attempt works where there is no wall."""

import concurrent.futures
import ctypes
import os
import re
import signal
import socket
import subprocess
import time

import harness
import jails
from harness import Failure, Skip, becomes, contains, equal, holds, test
from jails import Jail, unjailed

KINDS = ("control", "io", "vcpu")
CLONE_NEWNS, MS_REC, MS_PRIVATE, MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2
libc = ctypes.CDLL(None, use_errno=True)


def own_mounts():
    """What is mounted and unmounted from here on is seen by this test alone."""
    jails.need_root()
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise Skip("a mount namespace cannot be made here")


def forbidden(done, syscall):
    """Ended as a monitor does: its own status, and the thread and the call named."""
    equal("status", done.returncode, 148)
    contains("a message", done.stderr, f"thread attacker: the system call {syscall} (", "is forbidden here")


# The system call itself ------------------------------------------------------------------------------

CALLS = {
    "ptrace": ("ptrace", "1"), "mount": ("mount", ""), "mknod": ("mknodat", "/disk"), "raw-socket": ("socket", ""),
    "packet-socket": ("socket", ""), "internet-socket": ("socket", ""), "mmap-exec": ("mmap", ""),
    "mprotect-exec": ("mprotect", ""), "io-uring-setup": ("io_uring_setup", ""), "sigaction": ("rt_sigaction", ""),
    "user-namespace": ("unshare", ""), "setuid": ("setresuid", ""), "chroot": ("chroot", "/"),
    "fchdir": ("fchdir", "3"), "exec": ("execve", "/x"), "fork": ("clone", ""),
    "read-memory": ("process_vm_readv", "1"), "bpf": ("bpf", ""),
}


def add_calls():
    for attempt, (syscall, argument) in CALLS.items():
        for kind in KINDS:

            def attack(t, attempt=attempt, syscall=syscall, argument=argument, kind=kind):
                forbidden(unjailed(t, kind, attempt, argument), syscall)

            test("native", f"seccomp-{attempt}-in-{kind}")(attack)


add_calls()


@test("native")
def seccomp_lets_the_rest_through(t):
    for kind in KINDS:
        equal("output", unjailed(t, kind, "nothing").stdout, "done\n")


X32 = 0x40000000


@test("native", "seccomp-blocked-in-control", kind="control")
@test("native", "seccomp-blocked-in-io", kind="io")
@test("native", "seccomp-blocked-in-vcpu", kind="vcpu")
def seccomp_without_its_handler(t, kind):
    """Where SIGSYS cannot be handled the kernel ends the process; so it does for calls of another ABI."""
    equal("status", unjailed(t, kind, "blocked").returncode, -signal.SIGSYS)
    for number in (0, 39, 101):
        equal("output", unjailed(t, kind, "call", X32 | number).stdout, "")


def allowed_with_ones(kind):
    """The names of the system calls that the policy lets a thread of this kind make with all bits of all arguments set."""
    names, section = set(), None
    with open(os.path.join(harness.ROOT, "jailer/policy/mayfly.policy"), encoding="utf-8") as file:
        for line in file:
            words = [word for word in line.split("#")[0].split() if word != "rare"]
            if words and words[0].startswith("["):
                section = words[0].strip("[]")
            elif words and section in ("all", kind):
                has_bits = len(words) == 6 and words[2] == "&" and words[3] == words[5]
                if len(words) == 1 or words[1] == "errno" or has_bits:
                    names.add(words[0])
    return names


LAST_CALL = 470
TRAMPOLINES = (335, 336)  # uretprobe, uprobe: the kernel lets its own past every filter


@test("native", "seccomp-every-call-in-control", kind="control", limit=300)
@test("native", "seccomp-every-call-in-io", kind="io", limit=300)
@test("native", "seccomp-every-call-in-vcpu", kind="vcpu", limit=300)
def seccomp_every_call(t, kind):
    """Each system call that there is, with arguments that no condition allows: what is not in the policy ends the process
    with 148 and is named, and nothing in it does."""
    jails.need_root()

    def attack(number):
        done = subprocess.run([jails.PRISONER, kind, "call", str(number)], capture_output=True, text=True, timeout=30,
                              stdin=subprocess.DEVNULL, check=False)
        named = re.search(r"the system call (\w+) \((\d+)\) is forbidden here", done.stderr)
        return number, done.returncode, named and (named[1], int(named[2]))

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        came = list(pool.map(attack, range(LAST_CALL)))
    let_through = {number for number, status, _ in came if status != 148} - set(TRAMPOLINES)
    for number, status, named in came:
        if status == 148:
            holds(f"call {number} named", named and named[1] == number, named)
    forbidden = {named[0] for _, status, named in came if status == 148}
    allowed = allowed_with_ones(kind)
    equal("calls of the policy that ended the process", sorted(allowed & forbidden), [])
    equal("calls let through", len(let_through), len(allowed))


@test("native")
def seccomp_kinds_differ(t):
    """A vCPU thread opens no file and speaks to nobody; the control thread does."""
    path = t.file("file")
    forbidden(unjailed(t, "vcpu", "open", path), "openat")
    forbidden(unjailed(t, "io", "open", path), "openat")
    equal("output", unjailed(t, "control", "open", path).stdout, "done\n")
    forbidden(unjailed(t, "vcpu", "connect", path), "socket")


# The walls behind it: the same attempts with no filter, in a jail ------------------------------------


def refused(t, attempt, argument, error):
    """In the jail it fails with the error; outside it works."""
    equal(f"{attempt} outside", unjailed(t, "none", attempt, argument).stdout, "done\n")
    equal(f"{attempt} inside", Jail(t).run("none", attempt, argument).stdout, f"refused: {error}\n")


@test("native", "jailed-ptrace", attempt="ptrace", error="EPERM")
@test("native", "jailed-kill", attempt="kill", error="EPERM")
@test("native", "jailed-read-memory", attempt="read-memory", error="EPERM")
def jailed_against_a_process(t, attempt, error):
    """Another instance's, as the same user: they must differ in user or in process namespace."""
    other = Jail(t, uid=jails.UID + 1)
    victim = other.start("none", "wait", 60)
    if attempt == "read-memory":
        equal("inside", Jail(t).run("none", attempt, victim.pid).stdout, f"refused: {error}\n")
        return
    refused(t, attempt, victim.pid, error)


@test("native")
def jailed_process_is_not_seen_in_its_own_namespace(t):
    other = Jail(t)
    victim = other.start("none", "wait", 60)
    jail = Jail(t)
    jail.run("none", "kill", victim.pid, options=["--new-pid-ns"])
    contains("the same user, without the namespace", Jail(t).run("none", "kill", victim.pid).stdout, "done")
    process = Jail(t)
    out = t.path("out")
    with open(out, "wb") as file:
        subprocess.run(process.command("none", "kill", victim.pid, options=["--new-pid-ns"]), stdout=file, check=True)
    becomes("an answer", lambda: os.path.getsize(out))
    with open(out) as file:
        equal("with it", file.read(), "refused: ESRCH\n")


@test("native", "jailed-mount", attempt="mount", error="EPERM", argument="")
@test("native", "jailed-raw-socket", attempt="raw-socket", error="EPERM", argument="")
@test("native", "jailed-packet-socket", attempt="packet-socket", error="EPERM", argument="")
@test("native", "jailed-setuid", attempt="setuid", error="EPERM", argument="")
@test("native", "jailed-chroot", attempt="chroot", error="EPERM", argument="/")
@test("native", "jailed-disk", attempt="open", error="ENOENT", argument="/etc/passwd")
@test("native", "jailed-proc", attempt="open", error="ENOENT", argument="/proc/1/status")
def jailed_against_the_host(t, attempt, error, argument):
    if attempt == "mount":
        equal("inside", Jail(t).run("none", attempt, argument).stdout, f"refused: {error}\n")
        return
    refused(t, attempt, argument, error)


@test("native")
def jailed_mknod(t):
    """No capability; and were there one, the device policy."""
    equal("inside", Jail(t).run("none", "mknod", "/disk").stdout, "refused: EPERM\n")


@test("native")
def jailed_against_another_tenant(t):
    """A neighbour's files and sockets are behind its folder's mode, even for who gets out of the root."""
    neighbour = Jail(t, uid=jails.UID + 1)
    neighbour.start("none", "wait", 60)
    path = f"{neighbour.root}/run/api.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.chmod(path, 0o777)
        equal("without a jail", unjailed(t, "none", "connect", path).stdout, "done\n")
        equal("inside", Jail(t).run("none", "connect", path).stdout, "refused: ENOENT\n")
        command = ["setpriv", f"--reuid={jails.UID}", "--clear-groups", jails.PRISONER, "none", "connect", path]
        came = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        equal("as the other user alone", came, "refused: EACCES\n")


@test("native")
def jailed_out_by_a_descriptor(t):
    """A folder that whoever started the jailer held open is not there any more."""
    fd = os.open("/usr", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = Jail(t).run("none", "fchdir", fd, fds=(fd,))
    finally:
        os.close(fd)
    equal("inside", done.stdout, "refused: EBADF\n")


# Devices ---------------------------------------------------------------------------------------------


def plant_node(jail):
    os.makedirs(jail.root)
    os.mknod(f"{jail.root}/null", 0o666 | 0o020000, os.makedev(1, 3))
    os.chmod(f"{jail.root}/null", 0o666)


@test("lab", "version-2-keeps-devices-away")
@test("native")
def jailed_node_that_was_not_given(t):
    """A node that is in the jail, of the jailed user's even, opens only if the policy has it."""
    jail = Jail(t)
    plant_node(jail)
    equal("inside", jail.run("none", "open", "/null").stdout, "refused: EPERM\n")
    jail = Jail(t)
    plant_node(jail)
    equal("without the policy", jail.run("none", "open", "/null", options=["--no-device-policy"]).stdout, "done\n")
    equal("one that was given", Jail(t).run("none", "open", "/dev/urandom").stdout, "done\n")


@test("native")
def ring_is_limited(t):
    """The filters cannot see what is given to a ring: a loop's takes its own operations and no other."""
    for kind in ("none", *KINDS):
        equal(f"in {kind}", unjailed(t, kind, "ring-operation").stdout, "refused: EACCES\n")
    equal("given to another ring", unjailed(t, "none", "bare-ring-operation").stdout, "done\n")


@test("native")
def jailed_node_where_there_is_version_1_alone(t):
    """Without a cgroup2 mount the devices controller does it."""
    if not os.path.isdir(f"{jails.CGROUPS}/devices"):
        raise Skip("this host has no devices controller of version 1")
    own_mounts()
    if libc.umount2(f"{jails.CGROUPS}/unified".encode(), MNT_DETACH) != 0:
        raise Skip("version 2 cannot be unmounted")
    jail = Jail(t)
    plant_node(jail)
    contains("plan", jail.run("none", "nothing", options=["--dry-run"]).stdout, f"{jails.CGROUPS}/devices/")
    equal("inside", jail.run("none", "open", "/null").stdout, "refused: EPERM\n")
    equal("one that was given", Jail(t).run("none", "open", "/dev/urandom").stdout, "done\n")
    equal("status of the clean-up", jail.clean().returncode, 0)
    equal("cgroups left", jail.cgroups(), [])


@test("native")
def jailed_where_there_is_no_cgroup(t):
    """Then the devices cannot be limited, and that is said, not left out."""
    own_mounts()
    if libc.mount(b"none", jails.CGROUPS.encode(), b"tmpfs", 0, None) != 0:
        raise Skip("cgroups cannot be covered")
    done = Jail(t).run("none", "nothing")
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, "neither a cgroup2 mount nor version 1's devices controller", "--no-device-policy")
    done = Jail(t).run("none", "nothing", options=["--no-device-policy", "--cgroup", "pids.max=9"])
    contains("reason", done.stderr, "--cgroup: this host has no cgroup mounted")
    equal("without both", Jail(t).run("none", "nothing", options=["--no-device-policy"]).stdout, "done\n")


# Resources -------------------------------------------------------------------------------------------


def cgroup(one, two):
    version2 = os.path.exists(f"{jails.CGROUPS}/cgroup.controllers")
    return ["--cgroup", two if version2 else one]


@test("lab", "version-2-limits-processes")
@test("native")
def jailed_processes_are_limited(t):
    done = Jail(t).run("none", "forks", 20, options=["--cgroup", "pids.max=8"])
    equal("with 8", done.stdout, "refused: EAGAIN\n")
    done = Jail(t).run("none", "forks", 20, options=["--cgroup", "pids.max=64"])
    equal("with 64", done.stdout, "done\n")


@test("lab", "version-2-limits-processor-time")
@test("native")
def jailed_processor_time_is_limited(t):
    """A twentieth of a processor: 100 ms of it take two seconds, on however idle a machine."""
    with_limit = Jail(t)
    start = time.monotonic()
    done = with_limit.run("none", "burn", 100, options=cgroup("cpu.cfs_quota_us=5000", "cpu.max=5000 100000"))
    took = time.monotonic() - start
    equal("in the end", done.stdout, "done\n")
    holds("two seconds, less what a period gives at once", took > 1.5, f"{took} s")
    holds("a group that was held up", throttled(with_limit) > 10, throttled(with_limit))
    without = Jail(t)
    without.run("none", "burn", 100, options=cgroup("cpu.cfs_quota_us=-1", "cpu.max=max 100000"))
    equal("times held up without a limit", throttled(without), 0)


def throttled(jail):
    """How often its group had to wait for the next period. With version 1 another group of its has no such line."""
    for group in jail.cgroups():
        if os.path.exists(f"{group}/cpu.stat"):
            with open(f"{group}/cpu.stat") as file:
                lines = dict(line.split() for line in file)
            if "nr_throttled" in lines:
                return int(lines["nr_throttled"])
    raise Failure("a group with a limit of processor time", jail.cgroups())


@test("lab", "version-2-limits-memory")
@test("native")
def jailed_memory_is_limited(t):
    def options(mib):
        return cgroup(f"memory.limit_in_bytes={mib}M", f"memory.max={mib}M")

    equal("status with 16 MiB", Jail(t).run("none", "memory", 64, options=options(16)).returncode, -signal.SIGKILL)
    equal("with 128 MiB", Jail(t).run("none", "memory", 64, options=options(128)).stdout, "done\n")


@test("native")
def jailed_file_size_is_limited(t):
    options = ["--resource-limit", f"fsize={1 << 20}"]
    equal("with 1 MiB", Jail(t).run("none", "fill", 2, options=options).stdout, "refused: EFBIG\n")
    equal("without", Jail(t).run("none", "fill", 2).stdout, "done\n")


@test("native")
def guarded_process_is_not_dumpable(t):
    equal("with the guard", unjailed(t, "control", "dumpable").returncode, 148)
    equal("without", unjailed(t, "none", "dumpable").stdout, "done\n")
