"""Balloon: how long 512 MiB take to be the host's again, and what the monitor has then, in the lab, beside the peer."""
import statistics

import labs
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
            "initrd": "build/guest/init.cpio"}


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
    answer = labs.ask(bench, "balloon", request_of(bench, alone), PATIENCE, ("-m", "2560"))
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
