"""The part `snapshot`: a payload's clones, from the request (or the spawn) to their first byte."""
import json
import os
import shutil
import socket
import subprocess
import threading
import time

import memory
import report
import spawning

FLAG = 0x100800  # of the payload `wait`: its place in memory and in the memory file
SIZES = (128, 8192)  # MiB
FRESH_TARGET, SIZE_TARGET, IDLE_KIB = 0.25, 1.3, 1024
PREPARED_P50, PREPARED_P99 = 500, 2000  # µs
LIMIT = 20  # s, for anything
CLONING, CLONERS = 4, 8  # s of nothing but clones, and how many are made at once
TITLES = {"firecracker": "firecracker, fresh process"}
OWN_NETWORK = ["unshare", "--net", "sh", "-c", 'ip tuntap add tap0 mode tap && exec "$@"', "sh"]


def title(name):
    if name in TITLES:
        return TITLES[name]
    how, mib = name.rsplit("-", 1)
    how = {"slots": "slots alone", "fresh": "mayfly, fresh process", "prepared": "mayfly, prepared process"}[how]
    return f"{how}, {mib} MiB"


# -- a monitor and its socket -----------------------------------------------------------------------------

def http(method, path, body):
    data = json.dumps(body)
    return (f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(data)}\r\n\r\n{data}").encode()


def call(path, request, pause=0.01):
    limit = time.monotonic() + LIMIT
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(LIMIT)
        while True:
            try:
                s.connect(path)
                break
            except OSError:
                if time.monotonic() > limit:
                    raise
                time.sleep(pause)
        s.sendall(request)
        answer = s.recv(65536)
    if not answer.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"{request[:60]!r}: {answer!r}")


class Saved:
    """A pair of files of one monitor's, whose guest waits for its byte, and the requests to have it run."""

    def __init__(self, bench, name, program, mib, devices=False):
        folder = os.path.abspath(os.path.join(bench.dir, f"snapshot-{name}"))
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.name, self.program, self.mib, self.devices, self.dir = name, program, mib, devices, folder
        self.kernel = os.path.abspath("build/guest/payload/wait.elf")
        self.socket, self.state, self.memory = (os.path.join(folder, file) for file in ("api", "state", "memory"))
        self.drive = os.path.join(folder, "drive")
        with open(self.drive, "wb") as file:
            file.truncate(64 << 20)
        self.save()

    def command(self, network=True):
        return (OWN_NETWORK if self.devices and network else []) + [self.program, "--api-sock", self.socket]

    def shape(self):
        requests = [http("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": self.mib}),
                    http("PUT", "/drives/data", {"drive_id": "data", "path_on_host": self.drive,
                                                 "is_root_device": False, "is_read_only": False})]
        if self.devices:
            requests += [http("PUT", "/network-interfaces/eth0", {"iface_id": "eth0", "host_dev_name": "tap0"}),
                         http("PUT", "/vsock", {"guest_cid": 3, "uds_path": os.path.join(self.dir, "vsock")})]
        return requests

    def load(self):
        return http("PUT", "/snapshot/load", {"snapshot_path": self.state, "resume_vm": True, "mem_backend": {
            "backend_type": "File", "backend_path": self.memory}})

    def write(self, name, data):
        with open(os.path.join(self.dir, name), "wb") as file:
            file.write(data)
        return os.path.join(self.dir, name)

    def save(self):
        boot = http("PUT", "/boot-source", {"kernel_image_path": self.kernel})
        with subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
            try:
                for request in [boot] + self.shape():
                    call(self.socket, request)
                call(self.socket, http("PUT", "/actions", {"action_type": "InstanceStart"}))
                memory.wait_for(process.stdout, b"S", LIMIT)
                call(self.socket, http("PATCH", "/vm", {"state": "Paused"}))
                call(self.socket, http("PUT", "/snapshot/create", {
                    "snapshot_path": self.state, "mem_file_path": self.memory, "snapshot_type": "Full"}))
            finally:
                process.kill()
        for left in (self.socket, os.path.join(self.dir, "vsock")):
            if os.path.exists(left):
                os.unlink(left)

    def patch(self, byte):
        with open(self.memory, "r+b") as file:
            file.seek(FLAG)
            file.write(byte)

    def fresh(self, name):
        return [name, self.socket, "-", self.write("load", self.load())] + self.command()

    def prepared(self, name):
        setup = b"".join(request + b"\0" for request in self.shape() + [http("PUT", "/snapshot/prepare", {})])
        return [name, self.socket, self.write("setup", setup), self.write("load", self.load())] + self.command()


# -- measuring --------------------------------------------------------------------------------------------

def can_have_taps():
    done = subprocess.run(OWN_NETWORK + ["true"], stderr=subprocess.DEVNULL, check=False)
    return done.returncode == 0


def save_all(bench, sizes, taps):
    saved = {}
    if bench.peer:
        saved["firecracker"] = Saved(bench, "firecracker", bench.peer, 128)
    for mib in sizes:
        saved[f"fresh-{mib}"] = Saved(bench, f"fresh-{mib}", bench.mayfly, mib)
        saved[f"prepared-{mib}"] = Saved(bench, f"prepared-{mib}", bench.mayfly, mib, devices=taps)
    return saved


def measure(bench, saved, sizes):
    commands = []
    for name, pair in saved.items():
        pair.patch(b"M")
        commands.append(pair.prepared(name) if name.startswith("prepared") else pair.fresh(name))
    for mib in sizes:
        commands.append([f"slots-{mib}", "-", "-", "-", os.path.join(bench.build, "bench-slot"), str(mib)])
    arguments = [os.path.join(bench.build, "bench-restore"), "-r", str(bench.runs), "-t", str(LIMIT), "-e", bench.dir,
                 "--"]
    for number, command in enumerate(commands):
        path = os.path.join(bench.dir, command[0] + ".err")
        if os.path.exists(path):
            os.unlink(path)
        arguments += (["---"] if number else []) + command
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    return spawning.read_lines(done.stdout)


def measure_idle(bench, pair, copy):
    """Private memory outside guest RAM, and what the guest wrote, of a clone that waits for its byte."""
    pair.patch(b"\0")
    pair.program = copy(bench, bench.mayfly)
    with subprocess.Popen(pair.command(network=False), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            call(pair.socket, pair.load())
            time.sleep(1)
            return memory.measure(process.pid, pair.mib << 20)
        finally:
            process.kill()


class Cloner(threading.Thread):
    """Makes clones, one after the other, until the time is over: spawn, load, first byte, end."""

    def __init__(self, pair, number, until):
        super().__init__()
        self.pair, self.until, self.count = pair, until, 0
        self.socket = os.path.join(pair.dir, f"api-{number}")
        self.start()

    def run(self):
        while time.monotonic() < self.until:
            with subprocess.Popen([self.pair.program, "--api-sock", self.socket], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
                call(self.socket, self.pair.load(), 0.0005)
                memory.wait_for(process.stdout, b"M", LIMIT)
            if os.path.exists(self.socket):
                os.unlink(self.socket)
            self.count += 1


def clones_a_second(pair):
    """By some at once, since a VM's end sleeps in the kernel; their own work, which is Python's, counts."""
    begin = time.monotonic()
    cloners = [Cloner(pair, number, begin + CLONING) for number in range(CLONERS)]
    for cloner in cloners:
        cloner.join()
    return sum(cloner.count for cloner in cloners) / (time.monotonic() - begin)


def print_clones(bench, saved):
    results = bench.results["snapshot"]["clones_a_second"] = {}
    for name in ("firecracker", "fresh-128"):
        if name in saved:
            saved[name].patch(b"M")
            results[name] = clones_a_second(saved[name])
    report.table(["", "clones a second"], [[title(name), f"{count:.0f}"] for name, count in results.items()],
                 [f"fresh processes, {CLONERS} at a time on {os.cpu_count()} processors, from the spawn to the end; with what it takes to ask for them"])


# -- judging ----------------------------------------------------------------------------------------------

def figure(results, name, index=0):
    values = results.get(name, {}).get("first_us")
    return values[index] if values else None


def judge_ratio(bench, what, mine, other, limit, text):
    if mine is None or not other:
        return bench.verdicts.cannot(what, text, "one of them has no figure")
    return bench.verdicts.judge(what, mine / other, limit, f"{text}, is {mine / other:.2f}")


def judge(bench, results, slots, sizes):
    fresh, prepared = (figure(results, f"{how}-128") for how in ("fresh", "prepared"))
    verdicts = {"fresh-128": judge_ratio(bench, "snapshot-fresh", fresh, figure(results, "firecracker"), FRESH_TARGET,
                                         f"at most {FRESH_TARGET} of firecracker's")}
    if prepared is not None:
        slow = figure(results, "prepared-128", 1)
        verdicts["prepared-128"] = ", ".join((
            bench.verdicts.judge("snapshot-prepared-p50", prepared, PREPARED_P50, f"p50 under {PREPARED_P50} µs"),
            bench.verdicts.judge("snapshot-prepared-p99", slow, PREPARED_P99, f"p99 under {PREPARED_P99} µs")))
    big = max(sizes)
    if big > 128:
        text = f"at most {SIZE_TARGET} of 128 MiB's"
        verdicts[f"prepared-{big}"] = judge_ratio(bench, "snapshot-prepared-big", figure(results, f"prepared-{big}"),
                                                  prepared, SIZE_TARGET, text)
        less = {mib: figure(results, f"fresh-{mib}") - slots[mib]["us"][0] for mib in (128, big)
                if figure(results, f"fresh-{mib}") and slots[mib]}
        verdicts[f"fresh-{big}"] = judge_ratio(bench, "snapshot-fresh-big", less.get(big), less.get(128), SIZE_TARGET,
                                               text + ", both less their slots")
    return verdicts


def row(name, result, verdict):
    if "first_us" not in result:
        return [title(name)] + ["-"] * 6 + [verdict or "every run failed"]
    failed = f" ({result['failed'][0]:.0f} runs failed)" if result["failed"][0] else ""
    return [title(name)] + [report.ms(value) for value in result["first_us"] + result["answer_us"]] + [verdict + failed]


def bench_snapshot(bench, copy):
    sizes = [mib for mib in SIZES if mib < report.memory_gib() * 1024]
    taps = can_have_taps()
    print(f"snapshot: natively, to the first byte of a clone that waited for it; 1 vCPU, one drive; {bench.runs} runs "
          f"each, interleaved\n")
    saved = save_all(bench, sizes, taps)
    results = measure(bench, saved, sizes)
    slots = {mib: spawning.slot_times(bench.dir, f"slots-{mib}", 2) for mib in sizes}
    verdicts = judge(bench, results, slots, sizes)
    rows = [row(name, results[name], verdicts.get(name, "")) for name in saved]
    rows += [[title(f"slots-{mib}")] + [report.ms(value) for value in times["us"]] for mib, times in slots.items() if times]
    if not bench.peer:
        rows.insert(0, [title("firecracker")] + ["-"] * 6 + [bench.no_peer])
    report.table(["", "first byte p50", "p99", "min", "answer p50", "p99", "min", "target"], rows, [
        "ms. fresh: since the spawn; prepared: since the request to load, " +
        ("with net, blk and vsock" if taps else "with blk alone: no tap to be had here")])
    try:
        idle = measure_idle(bench, saved["fresh-128"], copy)
        verdict = bench.verdicts.judge("snapshot-idle", idle["kib"], IDLE_KIB, f"at most {IDLE_KIB} KiB")
        report.table(["", "private KiB", "guest RAM KiB", "target"],
                     [["an idle clone", str(idle["kib"]), str(idle["guest_kib"]), verdict]])
        results["idle"] = idle
    except (RuntimeError, OSError) as why:
        print(f"  {bench.verdicts.cannot('snapshot-idle', f'at most {IDLE_KIB} KiB', str(why))}\n")
    bench.results["snapshot"] = dict(results, slots={str(mib): times for mib, times in slots.items()})
    print_clones(bench, saved)
