"""The control plane: from spawn to the socket and to the answer of GET /, and round trips, beside the peer's."""
import os
import subprocess
import time

import report
import spawning

CONNECT_TARGET, ANSWER_TARGET = 0.25, 0.3
CALLS = 2000
CLIENTS = (1, 8)
HEADS = ["", "socket p50", "p99", "GET / p50", "p99", "1 client p50", "p99", "8 clients p50", "p99", "target"]


def command(program, path):
    return [program, "--api-sock", path]


def run_helper(bench, *arguments):
    helper = os.path.join(bench.build, "bench-api")
    done = subprocess.run([helper, *map(str, arguments)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("start ", "calls "))]
    return next(iter(spawning.read_lines("\n".join(lines)).values()), {})


def measure_calls(bench, program, path, clients):
    with subprocess.Popen(command(program, path), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL) as process:
        until = time.monotonic() + 5
        while not os.path.exists(path) and time.monotonic() < until:
            time.sleep(0.01)
        result = run_helper(bench, "calls", CALLS, clients, path)
        process.kill()
    if os.path.exists(path):
        os.unlink(path)
    return result


def measure(bench, programs):
    """Each program's starts a few at a time, in turns: what else the machine does hits all alike."""
    path = os.path.join(bench.dir, "api.sock")
    rounds = max(1, bench.runs // 10)
    starts = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            starts[name].append(run_helper(bench, "start", 10, path, *command(program, path)))
    results = {}
    for name, program in programs.items():
        good = [start for start in starts[name] if start]
        results[name] = {key: sorted(start[key] for start in good)[len(good) // 2] for key in ("connect", "answer")
                         } if good else {}
        for clients in CLIENTS:
            results[name][f"calls-{clients}"] = measure_calls(bench, program, path, clients).get("round", [])
    return results


def row(name, result, target):
    cells = [name]
    for key in ("connect", "answer", *(f"calls-{clients}" for clients in CLIENTS)):
        values = result.get(key)
        cells += [report.ms(value) for value in values[:2]] if values else ["-", "-"]
    return cells + [target]


def judge(bench, what, key, limit, mine, peer):
    text = f"{what} at most {limit} of firecracker's"
    if not mine.get(key) or not peer.get(key):
        return bench.verdicts.cannot(f"api-{key}", text, "one of them has no figure")
    ratio = mine[key][0] / peer[key][0]
    return bench.verdicts.judge(f"api-{key}", ratio, limit, f"{text}, is {ratio:.2f}")


def run(bench):
    programs = {"mayfly": bench.mayfly, **({"firecracker": bench.peer} if bench.peer else {})}
    results = measure(bench, programs)
    mine, peer = results["mayfly"], results.get("firecracker", {})
    targets = [judge(bench, "socket", "connect", CONNECT_TARGET, mine, peer),
               judge(bench, "GET /", "answer", ANSWER_TARGET, mine, peer)]
    print("The API socket, ms from spawn, and round trips of GET /machine-config, ms")
    report.table(HEADS, [row(name, result, "") for name, result in results.items()], targets)
    return results
