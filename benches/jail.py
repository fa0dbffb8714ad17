"""jail: what building a jail adds to the start of a program, beside Firecracker's jailer."""
import ctypes
import os
import select
import shutil
import subprocess
import time

import report

CGROUPS = "/sys/fs/cgroup"
UID = 31415
TARGET_MS, TARGET_OF_PEER = 2.0, 0.5
CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18
CASES = [(cgroup2, mounts, together) for cgroup2 in (False, True) for mounts in (5, 500) for together in (1, 10, 50)]
FILTER_ROUNDS, FILTER_TARGET = 31, 1.0  # %


class Kind:
    """One way to start the program, and to remove what that left."""

    def __init__(self, name, command, clean):
        self.name, self.command, self.clean = name, command, clean


def version2():
    return os.path.exists(os.path.join(CGROUPS, "cgroup.controllers"))


def limits():
    """A limit of the hierarchy that there is, and which it is, for Firecracker's jailer."""
    if not version2():
        return ["--cgroup", "pids.max=100"], []
    with open(os.path.join(CGROUPS, "cgroup.controllers")) as file:
        return (["--cgroup", "pids.max=100"] if "pids" in file.read().split() else []), ["--cgroup-version", "2"]


def remove_cgroups(name, identity):
    parents = [CGROUPS] if version2() else [os.path.join(CGROUPS, controller) for controller in os.listdir(CGROUPS)]
    for parent in parents:
        path = os.path.join(parent, name, identity)
        if os.path.isdir(path):
            os.rmdir(path)


def kinds(bench, program, base):
    name = os.path.basename(program)
    jailer = os.path.join(bench.build, "mayfly-jailer")
    peer = bench.peer and os.path.join(os.path.dirname(bench.peer), "firecracker-jailer")
    limit, version = limits()
    common = ["--exec-file", program, "--uid", str(UID), "--gid", str(UID), "--chroot-base-dir", base, *limit]

    def ours(*more):
        return lambda identity: [jailer, "--id", identity, *common, *more]

    def clean_ours(identity):
        subprocess.run([jailer, "cleanup", "--id", identity, "--exec-file", name, "--chroot-base-dir", base], check=True)

    def clean_peers(identity):
        shutil.rmtree(os.path.join(base, name, identity))
        remove_cgroups(name, identity)

    found = [Kind("no jail", lambda identity: [program], lambda identity: None),
             Kind("mayfly-jailer", ours(), clean_ours),
             Kind("mayfly-jailer, no device policy", ours("--no-device-policy"), clean_ours)]
    if peer and os.access(peer, os.X_OK):
        found.append(Kind("firecracker-jailer", lambda identity: [peer, "--id", identity, *common, *version],
                          clean_peers))
    return found


def start_together(commands):
    """Seconds from just before each one's start to its first byte."""
    begun, pipes, times = {}, {}, []
    processes = []
    for command in commands:
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        processes.append(process)
        begun[process.stdout.fileno()], pipes[process.stdout.fileno()] = start, process.stdout
    while pipes:
        for fd in select.select(list(pipes), [], [])[0]:
            came = os.read(fd, 1)
            if came == b"M":
                times.append(time.monotonic() - begun[fd])
            del pipes[fd]
    for process in processes:
        if process.wait() != 0:
            raise RuntimeError(f"{process.args[0]} ended with status {process.returncode}")
    return times


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, (len(ordered) * percent + 99) // 100 - 1)]


def measure(all_kinds, together, rounds):
    """{name: seconds}, the kinds in turn so that a slow moment hits all."""
    times = {kind.name: [] for kind in all_kinds}
    for number in range(rounds):
        for kind in all_kinds:
            ids = [f"bench-{os.getpid()}-{number}-{i}" for i in range(together)]
            came = start_together([kind.command(identity) for identity in ids])
            if number > 0:  # the first is for the caches
                times[kind.name] += came
            for identity in ids:
                kind.clean(identity)
    return times


def in_namespace_with_mounts(count, cgroup2, function):
    """In a child: so many mounts besides those of the host; and version 2 of cgroups, without controllers if a version 1
    has them, in the place of whatever the host has."""
    libc = ctypes.CDLL(None, use_errno=True)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(read_end)
            if libc.unshare(CLONE_NEWNS) or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None):
                raise OSError("cannot make a mount namespace")
            if cgroup2 and not version2() and libc.mount(b"none", CGROUPS.encode(), b"cgroup2", 0, None):
                raise OSError("cannot mount cgroup version 2")
            folder = "build/bench/jail/mounts"
            for number in range(count):
                path = os.path.join(folder, str(number))
                os.makedirs(path, exist_ok=True)
                libc.mount(b"none", path.encode(), b"tmpfs", 0, None)
            os.write(write_end, repr(function()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(write_end)
    with os.fdopen(read_end) as file:
        text = file.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise RuntimeError("the measuring child failed")
    return eval(text, {}, {})  # of our own child


def judge(bench, times):
    alone = percentile(times["no jail"], 50)
    added = 1000 * (percentile(times["mayfly-jailer"], 50) - alone)
    limit, text = TARGET_MS, f"adds at most {TARGET_MS} ms"
    if "firecracker-jailer" in times:
        peer = 1000 * (percentile(times["firecracker-jailer"], 50) - alone)
        limit = max(limit, TARGET_OF_PEER * peer)
        text += f" or half of firecracker's {peer:.2f}"
    return bench.verdicts.judge("jail", added, limit, f"{text}, adds {added:.2f}")


def bench_filter(bench):
    """What the filter of I/O threads costs a request: bench-blk_ring prints depth, ns without, ns with, ratio."""
    program = os.path.join(bench.build, "bench-blk_ring")
    done = subprocess.run([program, bench.dir, str(FILTER_ROUNDS), "seccomp"], capture_output=True, text=True, check=True)
    rows = []
    for line in done.stdout.splitlines()[2:]:
        depth, off, on, ratio = line.split()
        cost = 100 * (float(ratio) - 1)
        target = bench.verdicts.judge("seccomp", cost, FILTER_TARGET, f"at most {FILTER_TARGET} %") if depth == "32" else ""
        rows.append([f"depth {depth}", off, on, f"{cost:+.2f} %", target])
    print(f"\nseccomp: ns of processor time for a 4 KiB read by the device, {FILTER_ROUNDS} pairs in turn\n")
    report.table(["", "no filter", "filter", "median cost", "target"], rows, ["ns"], left=1)


def bench_jail(bench):
    if os.geteuid() != 0:
        return bench.verdicts.cannot("jail", "", "a jail is built by root")
    folder = os.path.abspath("build/bench/jail")
    os.makedirs(folder, exist_ok=True)
    # Firecracker's jailer wants its own name in the program's.
    program = shutil.copy(os.path.join(bench.build, "bench-jailed"), os.path.join(folder, "firecracker-jailed"))
    print(f"jail: from the start of the jailer to the first byte of a program that does nothing else; {bench.runs} runs "
          "each, interleaved\n")

    def run(together, rounds):
        return measure(kinds(bench, program, os.path.join(folder, "base")), together, rounds)

    rows = []
    for cgroup2, mounts, together in CASES:
        rounds = 1 + max(2, bench.runs // together)
        times = in_namespace_with_mounts(mounts, cgroup2, lambda n=together, r=rounds: run(n, r))
        case = f"cgroup v{2 if cgroup2 or version2() else 1}, {mounts} mounts more, {together} at once"
        bench.results.setdefault("jail", {})[case] = times
        for name, values in times.items():
            target = judge(bench, times) if (name, mounts, together) == ("mayfly-jailer", 5, 1) else ""
            rows.append([case, name] + [report.ms(1e6 * percentile(values, percent)) for percent in (50, 99)] + [target])
    report.table(["", "", "p50", "p99", "target"], rows, ["ms"], left=2)
    bench_filter(bench)
    return None
