"""The jail as who starts one sees it: the layout, what is refused, what is left behind."""

import concurrent.futures
import ctypes
import json
import os
import shutil
import signal
import subprocess
import time

import jails
from harness import becomes, contains, equal, holds, test
from jails import JAILER, Jail
from native_api import loop_device
from native_attacks import own_mounts
from native_taps import Tap


@test("native")
def jail_layout(t):
    jail = Jail(t)
    done = jail.run("none", "nothing")
    equal("status", done.returncode, 0)
    equal("output", done.stdout, "done\n")
    equal("in the jail", sorted(os.listdir(jail.root)), ["dev", f"{jail.name}.pid", "run"])
    node = os.stat(f"{jail.root}/dev/kvm")
    equal("number of /dev/kvm", (os.major(node.st_rdev), os.minor(node.st_rdev)), (10, 232))
    equal("owner", (node.st_uid, node.st_gid), (jail.uid, jail.uid))
    for name in ("", "dev", "dev/net", "run"):
        info = os.stat(f"{jail.root}/{name}")
        equal(f"mode and owner of /{name}", (info.st_mode & 0o7777, info.st_uid), (0o700, jail.uid))


@test("native")
def jail_arguments(t):
    """What Firecracker's jailer adds, then the user's."""
    jail = Jail(t, program=os.path.realpath("/bin/busybox"))
    process = subprocess.Popen(jail.command("x", options=["--dry-run"]), stdout=subprocess.PIPE, text=True)
    contains("a plan", process.communicate()[0], "kept, so that its taps are found", "pivot", "by descriptor")
    holds("nothing made by --dry-run", not os.path.exists(jail.base))


@test("native")
def jail_process(t):
    """What the kernel says of a jailed process."""
    jail = Jail(t)
    process = jail.start("none", "wait", 60)
    with open(f"/proc/{process.pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        equal(name, int(status[name], 16), 0)
    equal("NoNewPrivs", status["NoNewPrivs"], "1")
    equal("Uid", status["Uid"].split(), [str(jail.uid)] * 4)
    equal("Groups", status["Groups"].split(), [])
    equal("descriptors", sorted(os.listdir(f"/proc/{process.pid}/fd")), ["0", "1", "2"])
    with open(f"/proc/{process.pid}/environ") as file:
        equal("environment", file.read(), "")
    for name in ("mnt", "ipc", "uts", "cgroup"):
        holds(f"an own {name} namespace",
              os.readlink(f"/proc/{process.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"))
    with open(f"/proc/{process.pid}/mounts") as file:
        mounts = file.read().splitlines()
    equal("number of mounts", len(mounts), 1)
    contains("its flags", mounts[0], "nosuid", "noexec")
    with open(f"{jail.root}/{jail.name}.pid") as file:
        equal("number in the file", file.read(), str(process.pid))


@test("native", "jail-pid-namespace", options=("--new-pid-ns",))
@test("native", "jail-daemon", options=("--daemonize",))
@test("native", "jail-daemon-with-pid-namespace", options=("--daemonize", "--new-pid-ns"))
def jail_leaves_its_parent(t, options):
    jail = Jail(t)
    equal("status", subprocess.run(jail.command("none", "wait", 60, options=options), check=False,
                                   stdout=subprocess.DEVNULL).returncode, 0)
    becomes("a number in the file", lambda: os.path.exists(f"{jail.root}/{jail.name}.pid"))
    time.sleep(0.2)
    with open(f"{jail.root}/{jail.name}.pid") as file:
        pid = int(file.read())
    t.cleanups.append(lambda: os.path.exists(f"/proc/{pid}/environ") and os.kill(pid, signal.SIGKILL))
    with open(f"/proc/{pid}/cmdline") as file:
        contains("command line", file.read(), jail.name, jail.id, "wait")
    contains("refusal to clean up", jail.clean().stderr, "is running", str(pid))
    os.kill(pid, signal.SIGKILL)
    becomes("an end", lambda: not os.path.exists(f"/proc/{pid}/exe") or b"Z" in open(f"/proc/{pid}/stat", "rb").read())
    equal("status of the clean-up", jail.clean().returncode, 0)


@test("native", "jail-daemon-that-fails", options=("--daemonize",))
@test("native", "jail-pid-namespace-that-fails", options=("--new-pid-ns",))
@test("native", "jail-daemon-with-pid-namespace-that-fails", options=("--daemonize", "--new-pid-ns"))
def jail_that_fails_after_a_fork(t, options):
    """The process that was started ends only then, and with its status; the reason is said, and nothing left."""
    jail = Jail(t)
    done = jail.run("none", "wait", 60, options=[*options, "--cgroup", "pids.max=many"])
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, "cannot write 'many'")
    holds("no folder", not os.path.exists(jail.dir))
    equal("cgroups", jail.cgroups(), [])
    jail = Jail(t, program=os.path.realpath("/bin/true"))
    done = jail.run(options=options)
    equal("status without a program", done.returncode, 1)
    contains("reason", done.stderr, "link it statically")


@test("native", "jail-without-streams", options=())
@test("native", "jail-daemon-without-streams", options=("--daemonize",))
def jail_without_streams(t, options):
    """Of the jailer's own descriptors none takes the number of a closed stream."""
    jail = Jail(t)
    process = subprocess.Popen(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh",
                                *jail.command("none", "wait", 60, options=options)])
    t.cleanups.append(lambda: (process.kill(), process.wait()))
    number = f"{jail.root}/{jail.name}.pid"
    becomes("a number in the file", lambda: os.path.exists(number) and os.path.getsize(number))
    with open(number) as file:
        pid = int(file.read())
    t.cleanups.append(lambda: os.path.exists(f"/proc/{pid}/environ") and os.kill(pid, signal.SIGKILL))
    becomes("the program", lambda: os.path.realpath(f"/proc/{pid}/exe") == os.path.realpath(jails.PRISONER))
    equal("descriptors", {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")},
          {"/null"} if options else set())  # as it is called in there


@test("native", "jail-new-namespaces", options=("--new-net-ns", "--new-user-ns"), names=("net", "user"))
def jail_namespaces(t, options, names):
    jail = Jail(t)
    process = jail.start("none", "wait", 60, options=options)
    for name in names:
        holds(f"an own {name} namespace",
              os.readlink(f"/proc/{process.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"))
    with open(f"/proc/{process.pid}/uid_map") as file:
        equal("mapped users", file.read().split(), [str(jail.uid), str(jail.uid), "1"])


@test("native")
def jail_binds_are_read_only(t):
    jail = Jail(t)
    source = t.file("secret", b"x")
    os.chmod(source, 0o666)
    options = ["--bind-ro", f"{source}:/in/file"]
    contains("reading", jail.run("none", "open", "/in/file", options=options).stdout, "done")
    jail.clean()
    contains("writing", jail.run("none", "write", "/in/file", options=options).stdout, "refused: EROFS")
    jail.clean()
    holds("the source still there", os.path.exists(source))


@test("native")
def jail_given_a_disk(t):
    """A block device of the host's, to write or to read alone; a neighbour of the same kind is not the instance's."""
    disks = [loop_device(t, t.file(f"disk{number}", size=1 << 20)) for number in range(2)]
    for mode, written in ("", "done\n"), (":ro", "refused: EACCES\n"):
        options = ["--device", f"{disks[0]}:/in/disk{mode}"]
        contains("plan", Jail(t).run("none", "nothing", options=[*options, "--dry-run"]).stdout, "device       /in/disk")
        equal("reading", Jail(t).run("none", "open", "/in/disk", options=options).stdout, "done\n")
        equal("writing", Jail(t).run("none", "write", "/in/disk", options=options).stdout, written)
    jail = Jail(t)
    os.makedirs(jail.root)
    os.mknod(f"{jail.root}/other", 0o60666, os.stat(disks[1]).st_rdev)
    os.chmod(f"{jail.root}/other", 0o666)
    equal("another's", jail.run("none", "open", "/other", options=options).stdout, "refused: EPERM\n")
    equal("status of the clean-up", jail.clean().returncode, 0)
    holds("what the jailer made gone", not os.path.exists(f"{jail.root}/in"))
    holds("the disk itself still there", os.path.exists(disks[0]))


@test("native")
def jail_disk_to_read_whatever_its_mode(t):
    """The policy, not the node's mode, is the wall: the jailed user owns the node."""
    disk = loop_device(t, t.file("disk", size=1 << 20))
    jail = Jail(t)
    os.makedirs(jail.root)
    os.mknod(f"{jail.root}/same", 0o60666, os.stat(disk).st_rdev)
    os.chmod(f"{jail.root}/same", 0o666)
    equal("writing", jail.run("none", "write", "/same", options=["--device", f"{disk}:/disk:ro"]).stdout, "refused: EPERM\n")


@test("native", "jail-device-that-is-none", source="/dev/null", why="is not a block device")
@test("native", "jail-device-missing", source="/dev/nothing", why="cannot find /dev/nothing")
def jail_device_refused(t, source, why):
    jail = Jail(t)
    done = jail.run("none", "nothing", options=["--device", f"{source}:/disk"])
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, "--device", why)
    holds("nothing left", not os.path.exists(jail.dir))


@test("native")
def jail_on_tmpfs(t):
    jail = Jail(t)
    done = jail.run("none", "fill", 8, options=["--tmpfs", 4])
    contains("a full tmpfs", done.stdout, "refused: ENOSPC")
    equal("left in the folder", os.listdir(jail.root), [])


@test("native")
def jail_copies_the_program_if_told_to(t):
    jail = Jail(t)
    equal("output", jail.run("none", "nothing", options=["--copy-exec"]).stdout, "done\n")
    equal("owner of the copy", os.stat(f"{jail.root}/{jail.name}").st_uid, 0)


@test("native")
def jail_limits(t):
    jail = Jail(t)
    process = jail.start("none", "wait", 60, options=["--resource-limit", "no-file=77",
                                                      "--resource-limit", "fsize=65536"])
    with open(f"/proc/{process.pid}/limits") as file:
        limits = {line[:26].strip(): line[26:].split()[:2] for line in file}
    equal("open files", limits["Max open files"], ["77", "77"])
    equal("file size", limits["Max file size"], ["65536", "65536"])
    equal("core file", limits["Max core file size"], ["0", "0"])


VALUES = ({"cpu.shares": "512", "cpuset.cpus": "0", "memory.limit_in_bytes": str(64 << 20), "pids.max": "9",
           "blkio.throttle.read_bps_device": "{} 1000000"},
          {"cpu.weight": "50", "cpuset.cpus": "0", "memory.max": str(64 << 20), "pids.max": "9", "io.max": "{} rbps=1000000"})


@test("lab", "version-2-cgroup-of-every-controller")
@test("native")
def jail_cgroup_of_every_controller(t):
    """Each value is in its file, and the process in each group."""
    version2 = os.path.exists(f"{jails.CGROUPS}/cgroup.controllers")
    disk = os.stat(loop_device(t, t.file("disk", size=1 << 20))).st_rdev
    values = {name: value.format(f"{os.major(disk)}:{os.minor(disk)}") for name, value in VALUES[version2].items()}
    jail = Jail(t)
    process = jail.start("none", "wait", 60, options=[word for name, value in values.items()
                                                      for word in ("--cgroup", f"{name}={value}")])
    for name, value in values.items():
        group = [group for group in jail.cgroups() if os.path.exists(f"{group}/{name}")][0]
        with open(f"{group}/{name}") as file:
            contains(name, file.read(), value)
        with open(f"{group}/cgroup.procs") as file:
            equal(f"who is in the group of {name}", file.read().split(), [str(process.pid)])


# Refusals --------------------------------------------------------------------------------------------


@test("native")
def jail_id_in_use(t):
    """Many at once with one id: one wins, the others say why not."""
    jail = Jail(t)
    processes = [subprocess.Popen(jail.command("none", "wait", 60), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True) for _ in range(8)]
    t.cleanups.append(lambda: [process.kill() for process in processes])
    becomes("seven that ended", lambda: sum(process.poll() is not None for process in processes) == 7)
    losers = [process for process in processes if process.poll() is not None]
    for process in losers:
        equal("status", process.returncode, 1)
        contains("reason", process.stderr.read(), f"id {jail.id} is in use")
    holds("the winner's jail still whole", os.path.exists(f"{jail.root}/dev/kvm"))


@test("native", "jail-script", content=b"#!/bin/sh\n", mode=0o755, why="is not an ELF program")
@test("native", "jail-not-executable", content=b"\x7fELF", mode=0o644, why="is not an executable file")
def jail_program_refused(t, content, mode, why):
    program = t.file("program", content)
    os.chmod(program, mode)
    jail = Jail(t, program=program)
    done = jail.run("x")
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, why)
    holds("nothing left", not os.path.exists(jail.dir))


@test("native")
def jail_dynamic_program(t):
    """It cannot start in there. By then the jail cannot be undone, and the message says what undoes it."""
    jail = Jail(t, program=os.path.realpath("/bin/true"))
    done = jail.run()
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, "link it statically", f"cleanup --id {jail.id}")
    equal("status of the clean-up", jail.clean().returncode, 0)
    holds("nothing left", not os.path.exists(jail.dir))


@test("native", "jail-bad-id", options=["--id", "../x"], why="letters, digits and '-'")
@test("native", "jail-id-of-300", options=["--id", "x" * 300], why="1 to 64 characters")
@test("native", "jail-id-with-newline", options=["--id", "a\nb"], why="letters, digits and '-'")
@test("native", "jail-base-with-dots", options=["--id", "a", "--chroot-base-dir", "/tmp/../x"], why="'..'")
def jail_words_refused(t, options, why):
    jails.need_root()
    done = subprocess.run([JAILER, *options, "--exec-file", "/bin/true", "--uid", "1", "--gid", "1"],
                          capture_output=True, text=True, check=False)
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, why)


@test("native")
def jail_step_that_fails_is_undone(t):
    """A bind mount of what is not there, late in the plan: all that came before is taken back."""
    jail = Jail(t)
    done = jail.run("none", "nothing", options=["--bind-ro", "/no/such/file:/x", "--cgroup", "pids.max=5"])
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, "--bind-ro: cannot open /no/such/file")
    holds("no folder", not os.path.exists(jail.dir))
    equal("cgroups", jail.cgroups(), [])


@test("native")
def jail_cgroup_value_that_is_refused(t):
    jail = Jail(t)
    done = jail.run("none", "nothing", options=["--cgroup", "pids.max=many"])
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, "cannot write 'many'", "pids.max")
    holds("no folder", not os.path.exists(jail.dir))
    equal("cgroups", jail.cgroups(), [])


@test("native")
def jail_id_in_use_elsewhere(t):
    """The same id below another base would share the first one's cgroup, and change its limits."""
    one, other = Jail(t), Jail(t)
    one.start("none", "wait", 60, options=["--cgroup", "pids.max=9"])
    other.base, other.id = t.path("other"), one.id
    for options in ["--cgroup", "pids.max=5"], []:
        done = other.run("none", "nothing", options=options)
        equal("status", done.returncode, 1)
        contains("reason", done.stderr, "has processes in it", one.id, "--chroot-base-dir")
        equal("files left", os.listdir(f"{other.base}/{one.name}"), [])
    for group in one.cgroups():
        if os.path.exists(f"{group}/pids.max"):
            with open(f"{group}/pids.max") as file:
                equal("the first one's limit", file.read(), "9\n")


@test("native")
def jail_again_after_files_were_removed(t):
    """Who removes an instance's folder himself, as one does with Firecracker's, leaves its cgroup with its program; a
    cgroup takes 64 of those."""
    for _ in range(70):
        jail = Jail(t)
        jail.id = f"e2e-{os.getpid()}-again"
        equal("output", jail.run("none", "nothing").stdout, "done\n")
        shutil.rmtree(f"{jail.base}/{jail.name}/{jail.id}")


@test("native")
def jail_cgroups_above_go_with_the_last(t):
    """Those that a jailer made for --parent-cgroup, once nobody is in them; none that was there before."""
    there, made = f"there-{os.getpid()}", f"made-{os.getpid()}/x"
    mine = [f"{mount}/{there}" for mount in (f"{jails.CGROUPS}/pids", jails.CGROUPS) if
            os.path.exists(f"{mount}/cgroup.procs")] + [f"{jails.CGROUPS}/unified/{there}"]
    mine = [path for path in mine if os.path.isdir(os.path.dirname(path))]
    for path in mine:
        os.mkdir(path)
        t.cleanups.append(lambda path=path: os.rmdir(path))
    boxes = [Jail(t), Jail(t)]
    for box in boxes:
        equal("output", box.run("none", "nothing", options=["--cgroup", "pids.max=9", "--parent-cgroup",
                                                            f"{there}/{made}"]).stdout, "done\n")
    for box in boxes:
        holds("the groups above", all(os.path.isdir(f"{path}/{made}") for path in mine), mine)
        equal("status of the clean-up", box.clean().returncode, 0)
    equal("left in them", [name for path in mine for name in os.listdir(path) if os.path.isdir(f"{path}/{name}")], [])
    done = boxes[0].run("none", "nothing", options=["--cgroup", "pids.max=many", "--parent-cgroup", f"{there}/{made}"])
    equal("status", done.returncode, 1)
    equal("left in them", [name for path in mine for name in os.listdir(path) if os.path.isdir(f"{path}/{name}")], [])


@test("native")
def jail_relative_paths(t):
    jail = Jail(t)
    jail.base, base = os.path.relpath(jail.base, os.getcwd()).lstrip("./"), jail.base
    os.chdir("/")
    jail.base = base.lstrip("/")
    equal("output", jail.run("none", "nothing").stdout, "done\n")
    holds("the jail", os.path.isdir(f"{base}/{jail.name}/{jail.id}/root"))
    equal("status of the clean-up", jail.clean().returncode, 0)
    holds("no folder", not os.path.exists(f"{base}/{jail.name}/{jail.id}"))


# Planted links ---------------------------------------------------------------------------------------


@test("native", "jail-planted-dev-link", name="dev")
@test("native", "jail-planted-run-link", name="run")
def jail_planted_link(t, name):
    """Whoever had the folder before may have left a way out of it."""
    jail = Jail(t)
    outside = t.path("outside")
    os.mkdir(outside)
    os.makedirs(jail.root)
    os.symlink(outside, f"{jail.root}/{name}")
    done = jail.run("none", "nothing")
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, f"/{name} in the jail is no folder of its own")
    equal("made outside", os.listdir(outside), [])
    equal("owner outside", os.stat(outside).st_uid, 0)
    jail.clean()
    holds("what was there before still there", os.path.islink(f"{jail.root}/{name}"))


@test("native")
def jail_planted_hard_link(t):
    """The file of the process's number is made anew, never written over."""
    jail = Jail(t)
    victim = t.file("victim", b"precious")
    os.makedirs(jail.root)
    os.link(victim, f"{jail.root}/{jail.name}.pid")
    done = jail.run("none", "nothing")
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, f"cannot write /{jail.name}.pid")
    with open(victim, "rb") as file:
        equal("content", file.read(), b"precious")


@test("native", "jail-planted-root-link", link="root")
@test("native", "jail-planted-id-link", link="")
def jail_planted_folder_link(t, link):
    jail = Jail(t)
    outside = t.path("outside")
    os.mkdir(outside)
    path = f"{jail.dir}/{link}".rstrip("/")
    os.makedirs(os.path.dirname(path))
    os.symlink(outside, path)
    done = jail.run("none", "nothing")
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, f"cannot open the folder {link or jail.id}")
    equal("made outside", os.listdir(outside), [])


@test("native", "jail-planted-bind-target-link", kind="link")
@test("native", "jail-planted-bind-target-pipe", kind="pipe")
def jail_planted_bind_target(t, kind):
    """It is covered, or refused where a kernel cannot cover a link; not followed, nor opened: to open a pipe's end waits."""
    jail = Jail(t)
    source, outside = t.file("source", b"x"), t.file("outside", b"precious")
    os.chmod(source, 0o644)
    os.makedirs(f"{jail.root}/in")
    os.chown(f"{jail.root}/in", jail.uid, jail.uid)
    os.symlink(outside, f"{jail.root}/in/file") if kind == "link" else os.mkfifo(f"{jail.root}/in/file")
    done = jail.run("none", "open", "/in/file", options=["--bind-ro", f"{source}:/in/file"], limit=10)
    holds("it covered or refused", done.stdout == "done\n" or kind == "link" and "cannot mount" in done.stderr, done)
    with open(outside, "rb") as file:
        equal("content", file.read(), b"precious")


# What a clean-up leaves alone, and what not ---------------------------------------------------------


@test("native")
def jail_cleanup_and_a_users_mount(t):
    """A folder that the user has bound into the jail since, of the same filesystem: its files are not the jailer's."""
    own_mounts()
    jail = Jail(t)
    jail.run("none", "nothing")
    images, target = t.path("images"), f"{jail.root}/images"
    for folder in images, target:
        os.mkdir(folder)
    t.file("images/precious", b"x")
    subprocess.run(["mount", "--bind", images, target], check=True)
    done = jail.clean()
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, f"cleanup of {jail.id}: cannot remove its folder")
    equal("the user's files", os.listdir(images), ["precious"])
    subprocess.run(["umount", target], check=True)
    equal("status once it is unmounted", jail.clean().returncode, 0)
    holds("no folder", not os.path.exists(jail.dir))
    equal("the user's files", os.listdir(images), ["precious"])


@test("native")
def jail_cleanup_of_deep_folders(t):
    """However deep the jailed program has made them, and with names like the ones that a clean-up uses."""
    jail = Jail(t)
    jail.run("none", "nothing")
    fds = [os.open(jail.root, os.O_RDONLY)]
    for number in range(500):
        name = ".deep-0" if number % 7 == 0 else "d"
        os.mkdir(name, dir_fd=fds[-1])
        os.symlink(t.dir, "link", dir_fd=fds[-1])
        fds.append(os.open(name, os.O_RDONLY, dir_fd=fds[-1]))
        os.close(fds.pop(0))
    os.close(fds[0])
    done = jail.clean()
    equal("status and messages", (done.returncode, done.stderr), (0, ""))
    holds("no folder", not os.path.exists(jail.dir))


@test("native")
def jail_in_a_folder_of_the_users(t):
    """Files placed beforehand are used and outlive the clean-up; what the jailer made does not."""
    jail = Jail(t)
    os.makedirs(jail.root)
    source = t.file("disk", b"x")
    os.link(source, f"{jail.root}/disk")
    os.chown(source, jail.uid, jail.uid)
    contains("reading", jail.run("none", "open", "/disk").stdout, "done")
    equal("status of the clean-up", jail.clean().returncode, 0)
    equal("left", os.listdir(jail.dir), ["root"])
    equal("left in the root", os.listdir(jail.root), ["disk"])


# What is left ----------------------------------------------------------------------------------------


def mounts():
    with open("/proc/self/mountinfo") as file:
        return len(file.readlines())


def processes(word):
    """Those that say this word, or see a mount with it: a namespace lives as long as somebody is in it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for name in ("cmdline", "mountinfo"):
            try:
                with open(f"/proc/{pid}/{name}", errors="replace") as file:
                    if int(pid) != os.getpid() and word in file.read():
                        found.append(f"{pid} {name}")
            except OSError:
                pass
    return found


def bpf_programs():
    """Their numbers by name."""
    lines = subprocess.run(["/usr/sbin/bpftool", "-j", "prog", "show"], capture_output=True, check=True, text=True)
    return {program["id"] for program in json.loads(lines.stdout) if program.get("name") in ("devices", "tap")}


def cgroup_folders():
    return {os.path.join(folder, name) for folder, folders, _ in os.walk(jails.CGROUPS) for name in folders}


def live_and_die(jail, options):
    done = subprocess.run(jail.command("none", "nothing", options=options), capture_output=True, text=True, check=False)
    equal(f"status of {jail.id}", (done.returncode, done.stderr), (0, ""))
    for which in ("the clean-up", "another"):
        done = jail.clean()
        equal(f"status of {which} of {jail.id}", (done.returncode, done.stderr), (0, ""))


@test("native", limit=600, alone=True)
def jail_hygiene(t):
    """A thousand, some at once, some with a tap: nothing stays but the folder that all share."""
    tap = Tap(t)
    program = shutil.copy(jails.PRISONER, t.path("hygienist"))  # its own, so that its cgroups' parent is
    all_jails = [Jail(t, program=program) for _ in range(1000)]
    t.cleanups = [cleanup for cleanup in t.cleanups if getattr(cleanup, "__self__", None) not in all_jails]
    before, programs, groups = mounts(), bpf_programs(), cgroup_folders()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(live_and_die, jail, ["--cgroup", "pids.max=9"] + (
            ["--tap", f"{tap.name},mac=02:00:00:00:00:01"] if number % 10 == 0 else []))
            for number, jail in enumerate(all_jails)]
        for job in jobs:
            job.result()
    base = all_jails[0].base
    equal("files left", os.listdir(f"{base}/hygienist"), [])
    equal("mounts", mounts(), before)
    equal("processes and their namespaces", processes(base), [])
    equal("cgroups", sorted(group for group in cgroup_folders() - groups if "hygienist" in group), [])
    becomes("no BPF program for each", lambda: len(bpf_programs() - programs) < 20)  # others may run jails meanwhile
    holds("no pin", not os.path.exists("/sys/fs/bpf/mayfly"))
    tap.udp("10.9.0.2", "10.9.0.1", mac=b"\x02\0\0\0\0\x09")
    holds("the tap still there, and nothing on it", tap.arrives())


TRACEME, SYSCALL, SETOPTIONS = 0, 24, 0x4200  # ptrace
EXITKILL, TRACEEXEC = 1 << 20, 1 << 4
EXECUTED = signal.SIGTRAP | 4 << 8


def killed_before_call(command, number):
    """Runs the command up to its system call of that number and kills it there. False: it was another program by then."""
    libc = ctypes.CDLL(None)
    pid = os.fork()
    if pid == 0:
        libc.ptrace(TRACEME, 0, 0, 0)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        os.execv(command[0], command)
    os.waitpid(pid, 0)
    libc.ptrace(SETOPTIONS, pid, 0, EXITKILL | TRACEEXEC)
    for _ in range(2 * number - 1):  # a stop before and one after each
        libc.ptrace(SYSCALL, pid, 0, 0)
        _, status = os.waitpid(pid, 0)
        if status >> 8 == EXECUTED or not os.WIFSTOPPED(status):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return False
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


@test("native", limit=300)
def jail_killed_at_any_step(t):
    """kill -9 of the jailer before each of its system calls, then a clean-up: whatever it had done, nothing stays."""
    tap = Tap(t)
    before, number, killed = mounts(), 0, True
    while killed:
        number += 1
        jail = Jail(t)
        t.cleanups.pop()
        killed = killed_before_call(jail.command("none", "nothing", options=[
            "--cgroup", "pids.max=9", "--parent-cgroup", f"killed-{os.getpid()}/x", "--tmpfs", 1, "--bind-ro",
            "/etc:/in/etc", "--tap", f"{tap.name},mac=02:00:00:00:00:01,ip=10.9.0.2"]), number)
        done = jail.clean()
        equal(f"status of clean-up {number}", (done.returncode, done.stderr), (0, ""))
        holds("no folder", not os.path.exists(jail.dir), f"{number}: {jail.dir}")
        equal("cgroups", [group for group in cgroup_folders() if f"killed-{os.getpid()}" in group], [])
        holds("no pin", not os.path.exists("/sys/fs/bpf/mayfly"), number)
    holds("more than a few system calls", number > 150, number)
    equal("mounts", mounts(), before)
    tap.udp("10.9.0.3", "10.9.0.1", mac=b"\x02\0\0\0\0\x09")
    holds("the tap still there, and nothing on it", tap.arrives())
