"""The vsock bench of benches/run: `vsock`, in the lab (inside-vsock runs there)."""
import statistics

import labs
import report

PATIENCE = 1800  # s, for all of the lab
MONITORS = ("mayfly", "firecracker")
ROWS = (("to the guest, MiB/s", "to-guest", "bytes_s", 1 << 20, True),
        ("from the guest, MiB/s", "from-guest", "bytes_s", 1 << 20, True),
        ("round trip of a byte, p50 µs", "round-trip", "p50_s", 1e-6, False),
        ("round trip of a byte, p99 µs", "round-trip", "p99_s", 1e-6, None))


def run_lab(bench, copy_alone):
    """What inside-vsock answered, as far as it came."""
    request = {"mayfly": copy_alone(bench, bench.mayfly), "peer": bench.peer, "dir": bench.dir,
               "kernel": "build/guest/small/vmlinux", "initrd": "build/guest/vsock.cpio", "rounds": bench.vsock_rounds,
               "mib": bench.vsock_mib, "round_trips": 500}
    return labs.ask(bench, "vsock", request, PATIENCE, partial=True)


def medians(results, row, key):
    """{monitor: median} of one figure."""
    found = {}
    for name in MONITORS:
        values = [one["found"][key] for one in results if one["found"] and one["name"] == name and one["row"] == row]
        if values:
            found[name] = statistics.median(values)
    return found


def judge(bench, row, found, more_is_better):
    """At least Firecracker's."""
    if len(found) < len(MONITORS):
        return bench.verdicts.cannot(f"vsock-{row}", "", "one of them has no figure")
    ratio = found["mayfly"] / found["firecracker"]
    return bench.verdicts.judge(f"vsock-{row}", 1 / ratio if more_is_better else ratio, 1,
                                f"{ratio:.2f} of firecracker's")


def bench_vsock(bench, copy_alone):
    print(f"vsock: small Linux guests in the lab, 1 vCPU, 128 MiB, both alive and asked in turn, row by row; "
          f"{bench.vsock_mib} MiB over one stream, and 500 times one byte there and back\n")
    answer = run_lab(bench, copy_alone)
    if not answer:
        bench.verdicts.cannot("vsock", "", "the lab failed")
        return
    bench.results["vsock"] = answer
    lines = []
    for title, row, key, unit, more_is_better in ROWS:
        found = medians(answer["results"], row, key)
        text = "" if more_is_better is None else judge(bench, row, found, more_is_better)
        lines.append([title] + [f"{found[name] / unit:.2f}" if name in found else "-" for name in MONITORS] + [text])
    report.table(["", *MONITORS, "target"], lines, ["medians; emulated time: only ratios mean anything."])
