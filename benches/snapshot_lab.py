"""The part `snapshot` in the lab: a Linux guest's pause while it is saved, and its first answer after a load."""
import statistics

import labs
import report

PATIENCE = 3600  # s
DIRTY_MIB = (1, 10, 50)  # what the guest writes between two saves
SAVES = 3
ANSWER_TARGET, FULL_TARGET = 1.0, 0.2  # of firecracker's
LOADERS = {"firecracker": "firecracker, fresh process", "mayfly": "mayfly, fresh process",
           "mayfly-prepared": "mayfly, prepared process"}


def request_of(bench, alone):
    programs = {"mayfly": alone(bench, bench.mayfly)}
    if bench.peer:
        programs["firecracker"] = bench.peer
    return {"programs": programs, "loads": bench.lab_loads, "saves": SAVES, "dirty_mib": DIRTY_MIB,
            "kernel": "build/guest/small/vmlinux", "initrd": "build/guest/vsock.cpio"}


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def judge(bench, what, mine, peers, target):
    text = f"at most {target} of firecracker's"
    if peers is None:
        return bench.verdicts.cannot(what, text, bench.no_peer)
    return bench.verdicts.judge(what, mine / peers, target, f"{text}, is {mine / peers:.2f}")


def print_loads(bench, loads):
    rows = []
    peers = median(loads["firecracker"], "echo_ms") if "firecracker" in loads else None
    for name, title in LOADERS.items():
        if name not in loads:
            continue
        runs = loads[name]
        target = judge(bench, "snapshot-lab-answer", median(runs, "echo_ms"), peers, ANSWER_TARGET) \
            if name == "mayfly" else ""
        rows.append([title] + [f"{value:.1f}" for value in (
            median(runs, "echo_ms"), min(run["echo_ms"] for run in runs), median(runs, "answer_ms"))] + [target])
    report.table(["", "guest's answer p50", "min", "load's answer p50", "target"], rows,
                 ["ms since the request to load; by an echo over vsock. 1 GiB, 1 vCPU, its own snapshot of the same guest."])


def print_saves(bench, saves):
    rows = []
    for kind in ["full"] + [f"diff-{mib}" for mib in DIRTY_MIB]:
        peers = median(saves["firecracker"][kind], "seconds") if "firecracker" in saves else None
        for name, found in saves.items():
            runs = found[kind]
            target = judge(bench, "snapshot-lab-full", median(runs, "seconds"), peers, FULL_TARGET) \
                if kind == "full" and name == "mayfly" else ""
            title = "full" if kind == "full" else f"diff, {kind[5:]} MiB written by the guest"
            rows.append([title, name, f"{median(runs, 'seconds') * 1e3:.0f}",
                         f"{min(run['seconds'] for run in runs) * 1e3:.0f}",
                         f"{median(runs, 'mib') * 256:.0f}", target])
    report.table(["", "", "pause p50, ms", "min", "pages in the file", "target"], rows,
                 ["from the request to pause to the answer to resume; a guest of 1 GiB that touched 100 MiB, files on a tmpfs."])


def bench_in_lab(bench, alone):
    print(f"snapshot, in the lab: a small Linux; {SAVES} saves of each kind, {bench.lab_loads} loads, in turn; emulated: "
          "only ratios mean anything\n")
    answer = labs.ask(bench, "snapshot", request_of(bench, alone), PATIENCE, ("-m", "4096"))
    if answer is None:
        bench.verdicts.cannot("snapshot-lab-answer", "at most firecracker's", "the lab failed")
        bench.verdicts.cannot("snapshot-lab-full", f"at most {FULL_TARGET} of firecracker's", "the lab failed")
        return
    bench.results["snapshot-lab"] = answer
    print_loads(bench, answer["loads"])
    print_saves(bench, answer["saves"])
