"""Balloon: how long 512 MiB take to be the host's again, and what the monitor has then, in the lab, beside the peer."""
import json
import os
import statistics
import subprocess

import report

PATIENCE = 3600  # s
ALLOWED = 1.05  # medians of few runs of an emulated machine
FIGURES = (("seconds", "s until 9/10 are back"), ("cpu_s", "CPU s"), ("before_mib", "RSS before, MiB"),
           ("after_mib", "RSS after, MiB"))


def request_of(bench, alone):
    programs = {"mayfly": alone(bench, bench.mayfly)}
    if bench.peer:
        programs["firecracker"] = bench.peer
    return {"programs": programs, "runs": bench.lab_runs, "kernel": "build/guest/small/vmlinux",
            "initrd": "build/guest/init.cpio", "answer": os.path.join(bench.dir, "balloon-answer.json")}


def run_lab(bench, request):
    """None when it failed."""
    path = os.path.join(bench.dir, "balloon-request.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(request, file)
    if os.path.exists(request["answer"]):
        os.unlink(request["answer"])
    done = subprocess.run(["tests/lab/lab", "-m", "2560", "-t", str(PATIENCE), "-w", bench.dir, "--",
                           "benches/inside-balloon", path], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        print(f"  the lab ended with status {done.returncode}\n")
        return None
    with open(request["answer"], encoding="utf-8") as file:
        return json.load(file)


def median(runs, key):
    return statistics.median(run[key] for run in runs)


def judge(bench, answer, key):
    text = f"at most {ALLOWED} of firecracker's"
    if "firecracker" not in answer:
        return bench.verdicts.cannot(f"balloon-{key}", text, bench.no_peer)
    mine, peers = median(answer["mayfly"], key), median(answer["firecracker"], key)
    return bench.verdicts.judge(f"balloon-{key}", mine / peers, ALLOWED, f"{text}, is {mine / peers:.2f}")


def bench_balloon(bench, alone):
    print(f"balloon: in the lab, a guest of 1 GiB has touched 640 MiB; 512 MiB are asked for; {bench.lab_runs} runs "
          "each, in turn\n")
    answer = run_lab(bench, request_of(bench, alone))
    if answer is None:
        bench.verdicts.cannot("balloon-seconds", "at most firecracker's", "the lab failed")
        return
    bench.results["balloon"] = answer
    rows = []
    for key, title in FIGURES:
        target = judge(bench, answer, key) if key in ("seconds", "after_mib") else ""
        for name, runs in answer.items():
            rows.append([title, name, f"{median(runs, key):.2f}", f"{min(run[key] for run in runs):.2f}",
                         f"{max(run[key] for run in runs):.2f}", target if name == "mayfly" else ""])
    report.table(["", "", "p50", "min", "max", "target"], rows,
                 ["emulated seconds: only the ratios mean anything."])
