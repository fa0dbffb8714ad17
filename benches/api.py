"""The control plane: from spawn to the socket and to the answer of GET /, round trips and the processor time of each
beside the peer's, and what calls cost a drive that is busy."""
import contextlib
import os
import re
import statistics
import subprocess
import time

import report
import spawning

CONNECT_TARGET_US = 1000  # a quarter of Firecracker's 4.0 ms
ANSWER_TARGET, QUEUE_TARGET = 0.3, 0.02
LEAST = "least possible"
CALLS = 1000
CLIENTS = (1, 8)
HEADS = ["", "socket p50", "p99", "GET / p50", "p99", "1 client p50", "p99", "µs CPU", "8 clients p50", "p99", "µs CPU",
         "target"]


def command(program, path):
    return [program, "--api-sock", path]


def run_first():
    """Before all else that is ready to run, where that is allowed: a start is shorter than the time that another
    program may keep the processor."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def run_helper(bench, *arguments):
    helper = os.path.join(bench.build, "bench-api")
    first = run_first if arguments[0] == "start" else None
    done = subprocess.run([helper, *map(str, arguments)], preexec_fn=first, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("start ", "calls "))]
    return next(iter(spawning.read_lines("\n".join(lines)).values()), {})


def processor_us(pid):
    """Of all its threads: Firecracker's API has one of its own."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            total += int(file.read().split()[0])
    return total / 1000


@contextlib.contextmanager
def serving(program, path):
    with subprocess.Popen(command(program, path), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 5
        while not os.path.exists(path) and time.monotonic() < until:
            time.sleep(0.01)
        try:
            yield process.pid
        finally:
            process.kill()
    if os.path.exists(path):
        os.unlink(path)


def measure_starts(bench, programs, rounds):
    path = os.path.join(bench.dir, "api.sock")
    found = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            found[name].append(run_helper(bench, "start", 10, path, *command(program, path)))
    return {name: {key: sorted(start[key] for start in starts if start)[len([start for start in starts if start]) // 2]
                   for key in ("connect", "answer")} if any(starts) else {} for name, starts in found.items()}


def measure_calls(bench, programs, rounds):
    """Of a program, by clients: lists of p50, p99 and processor time a call, a round's each. In turns: what else the
    machine does hits all alike."""
    found = {name: {clients: [] for clients in CLIENTS} for name in programs}
    with contextlib.ExitStack() as stack:
        served = {}
        for name, program in programs.items():
            path = os.path.join(bench.dir, f"{name}.sock")
            served[name] = (path, stack.enter_context(serving(program, path)))
        for _ in range(rounds):
            for clients in CLIENTS:
                for name, (path, pid) in served.items():
                    before = processor_us(pid)
                    times = run_helper(bench, "calls", CALLS, clients, path).get("round")
                    if times:
                        cost = (processor_us(pid) - before) / (CALLS * clients)
                        found[name][clients].append((times[0], times[1], cost))
    return found


def measure(bench, programs):
    rounds = max(1, bench.runs // 10)
    results = measure_starts(bench, programs, rounds)
    real = {name: program for name, program in programs.items() if name != LEAST}
    for name, by_clients in measure_calls(bench, real, rounds).items():
        for clients, values in by_clients.items():
            results[name][f"calls-{clients}"] = [statistics.median(column) for column in zip(*values)] if values else []
    return results


def row(name, result, target):
    cells = [name]
    for key in ("connect", "answer"):
        values = result.get(key)
        cells += [report.ms(value) for value in values[:2]] if values else ["-", "-"]
    for clients in CLIENTS:
        values = result.get(f"calls-{clients}")
        cells += [report.ms(values[0]), report.ms(values[1]), f"{values[2]:.1f}"] if values else ["-", "-", "-"]
    return cells + [target]


def judge_socket(bench, mine):
    text = f"a socket in {CONNECT_TARGET_US / 1000} ms"
    if not mine.get("connect"):
        return bench.verdicts.cannot("api-connect", text, "there is no figure")
    return bench.verdicts.judge("api-connect", mine["connect"][0], CONNECT_TARGET_US, text)


def judge(bench, what, key, limit, mine, peer):
    text = f"{what} at most {limit} of firecracker's"
    if not mine.get(key) or not peer.get(key):
        return bench.verdicts.cannot(f"api-{key}", text, "one of them has no figure")
    ratio = mine[key][0] / peer[key][0]
    return bench.verdicts.judge(f"api-{key}", ratio, limit, f"{text}, is {ratio:.2f}")


def bench_queue(bench):
    """A drive's I/O thread on one CPU, 1,000 calls a second on another. Judged by the I/O thread's processor time:
    what else runs on its CPU takes time from it, not requests."""
    text = f"a busy drive loses under {QUEUE_TARGET:.0%} while 1,000 calls a second are served"
    done = subprocess.run([os.path.join(bench.build, "bench-api_queue"), bench.dir, str(max(30, bench.runs))],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    match = re.match(r"queue throughput=(\S+) processor=(\S+) iops=(\d+) calls=(\d+)", done.stdout)
    if not match:
        return bench.verdicts.cannot("api-queue", text, done.stderr.strip() or f"status {done.returncode}")
    throughput, processor = 1 - float(match[1]), 1 - float(match[2])
    bench.results["api-queue"] = {"loses": throughput, "loses_by_processor": processor}
    verdict = bench.verdicts.judge("api-queue", processor, QUEUE_TARGET, text)
    print()
    report.table(["a drive, 4 KiB reads, depth 32", "IOPS alone", "calls a second", "loses, by CPU time", "by the clock",
                  "target"],
                 [["with and without calls, in turn", match[3], match[4], f"{processor:.2%}", f"{throughput:.2%}", verdict]],
                 [f"{len(os.sched_getaffinity(0))} CPUs, load average {report.load()}"])
    return None


def run(bench):
    programs = {"mayfly": bench.mayfly, **({"firecracker": bench.peer} if bench.peer else {}),
                LEAST: os.path.join(bench.build, "bench-api")}
    results = measure(bench, programs)
    mine, peer = results["mayfly"], results.get("firecracker", {})
    targets = [judge_socket(bench, mine),
               judge(bench, "GET /", "answer", ANSWER_TARGET, mine, peer)]
    print("The API socket, ms from spawn, and round trips of GET /machine-config, ms, and the monitor's CPU time for each")
    report.table(HEADS, [row(name, result, "") for name, result in results.items()], targets)
    unjudged = bench_queue(bench)
    if unjudged:
        print(unjudged)
    return results
