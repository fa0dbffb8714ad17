"""The network bench of benches/run: `net`, in the lab (inside-net runs there)."""
import os
import statistics

import labs
import report

PATIENCE = 1800  # s, for all of the lab
NOISE = 0.05  # allowed by the target
MONITORS = {"mayfly": "mayfly", "firecracker": "firecracker", "qemu": "QEMU"}
NOTES = ["medians; emulated time: only ratios mean anything. CPU: of the monitor's process, all its threads' (utime +",
         "stime of /proc/PID/stat), less what the guest itself ran, per GiB that arrived."]


def run_lab(bench, copy_alone):
    """What inside-net answered, as far as it came."""
    request = {"mayfly": copy_alone(bench, bench.mayfly), "peer": bench.peer, "dir": bench.dir,
               "kernel": "build/guest/small/vmlinux", "initrd": "build/guest/net.cpio",
               "net_rr": os.path.join(bench.build, "bench-net_rr"), "rounds": bench.net_rounds,
               "seconds": bench.net_seconds}
    return labs.ask(bench, "net", request, PATIENCE, partial=True)


def medians(results, row, key):
    """{monitor: median} of one figure."""
    found = {}
    for name in MONITORS:
        values = [result["found"][key] for result in results
                  if result["found"] and result["name"] == name and result["row"] == row]
        if values:
            found[name] = statistics.median(values)
    return found


def judge(bench, what, found, more_is_better):
    peers = [value for name, value in found.items() if name != "mayfly"]
    if "mayfly" not in found or not peers:
        return bench.verdicts.cannot(what, "", "one of them has no figure")
    if more_is_better:
        best = max(peers)
        return bench.verdicts.judge(what, best / found["mayfly"], 1 / (1 - NOISE),
                                    f"{found['mayfly'] / best:.2f} of the better peer's")
    best = min(peers)
    return bench.verdicts.judge(what, found["mayfly"] / best, 1 + NOISE,
                                f"{found['mayfly'] / best:.2f} of the better peer's")


def bench_net(bench, copy_alone):
    print("net: small Linux guests in the lab, 1 vCPU, 160 MiB, a tap each; all monitors' guests are alive and asked in "
          "turn,\nrow by row: iperf3 (one TCP stream), and one byte by TCP there and back\n")
    answer = run_lab(bench, copy_alone)
    if not answer:
        bench.verdicts.cannot("net", "", "the lab failed")
        return
    bench.results["net"] = answer
    rows = (("to the guest, Mbit/s", "to-guest", "bits", 1e6, True), ("to the guest, CPU s per GiB", "to-guest", "cpu_s", 1, False),
            ("from the guest, Mbit/s", "from-guest", "bits", 1e6, True),
            ("from the guest, CPU s per GiB", "from-guest", "cpu_s", 1, False),
            ("round trip p50, µs", "round-trip", "p50_ns", 1e3, False), ("round trip p99, µs", "round-trip", "p99_ns", 1e3, False))
    lines = []
    for title, row, key, unit, more_is_better in rows:
        found = medians(answer["results"], row, key)
        text = "" if key == "p99_ns" else judge(bench, f"net-{row}-{key}", found, more_is_better)
        lines.append([title] + [f"{found[name] / unit:.2f}" if name in found else "-" for name in MONITORS] + [text])
    report.table(["", *MONITORS.values(), "target"], lines, NOTES)
    for trouble in answer["troubles"]:
        print(f"  {trouble}")
