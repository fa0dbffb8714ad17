"""The disk benches of benches/run: `blk` and `flush` in the lab (inside-blk runs there), `loops` and `ring` natively."""
import os
import re
import statistics
import subprocess

import labs
import report

PATIENCE = 2400  # s, for all of the lab
NOISE = 0.05  # allowed by the target
URING_FACTOR, FLUSH_FACTOR = 1.5, 1.3
ENGINES = ("fc-sync", "fc-async")
MONITORS = {"mayfly": "mayfly", "other": "other", "fc-sync": "fc Sync", "fc-async": "fc Async", "qemu": "QEMU"}


def run_lab(bench, parts, copy_alone):
    """What inside-blk answered, as far as it came."""
    request = {"parts": parts, "mayfly": copy_alone(bench, bench.mayfly), "peer": bench.peer,
               "other": bench.blk_other, "dir": bench.dir, "kernel": "build/guest/small/vmlinux",
               "initrd": "build/guest/bench.cpio", "fio": "build/guest/fio", "pin": bench.blk_pin,
               "rounds": bench.blk_rounds, "seconds": bench.blk_seconds, "rows": bench.blk_rows, "media": bench.blk_media}
    subprocess.run(["tests/guest/bench-rootfs"], check=True)
    return labs.ask(bench, "blk", request, PATIENCE, partial=True) or {}


# -- blk: fio against the peers -------------------------------------------------------------------------

def monitors_of(results):
    return [name for name in MONITORS if any(result["name"] == name for result in results)]


def medians(results, medium, row):
    """{monitor: {iops, cpu_us, runs, counters}} of one row."""
    found = {}
    for name in MONITORS:
        runs = [result["found"] for result in results if result["found"] and result["name"] == name and
                result["medium"] == medium and result["row"] == row]
        if runs:
            keys = set(runs[0]["counters"]).intersection(*(run["counters"] for run in runs))
            found[name] = {"runs": len(runs), "counters": {key: statistics.median(run["counters"][key] for run in runs)
                                                           for key in keys}}
            for key in ("iops", "cpu_us"):
                found[name][key] = statistics.median(run[key] for run in runs)
    return found


def judge_row(bench, what, row, found):
    """Texts for the table: IOPS, and CPU."""
    peers = [found[name] for name in ENGINES if name in found]
    if "mayfly" not in found or len(peers) < 2:
        return [bench.verdicts.cannot(what, "", "one of them has no figure")]
    mine, best = found["mayfly"], max(peer["iops"] for peer in peers)
    texts = [bench.verdicts.judge(f"{what}-iops", best / mine["iops"], 1 / (1 - NOISE),
                                  f"{mine['iops'] / best:.2f} of the better")]
    if row[1] == "4k":
        ratio = mine["iops"] / found["fc-async"]["iops"]
        texts.append(bench.verdicts.judge(f"{what}-uring", 1 / ratio, 1 / URING_FACTOR, f"{ratio:.2f} of Async"))
    ratio = mine["cpu_us"] / min(peer["cpu_us"] for peer in peers)
    texts.append(bench.verdicts.judge(f"{what}-cpu", ratio, 1, f"CPU {ratio:.2f} of the lesser"))
    return texts


def print_medium(bench, results, medium, rows):
    lines, names = [], monitors_of(results)
    for row in rows:
        found = medians(results, medium, row)
        cells = [f"{found[name][key]:.0f}" if name in found else "-" for key in ("iops", "cpu_us") for name in names]
        runs = "/".join(str(found[name]["runs"]) if name in found else "0" for name in names)
        texts = judge_row(bench, f"blk-{medium}-{'-'.join(map(str, row))}", row, found)
        lines.append([f"{row[0]} {row[1]} depth {row[2]}"] + cells + [runs, "; ".join(texts)])
    heads = [medium] + [f"{MONITORS[name]} {unit}" for unit in ("IOPS", "µs") for name in names]
    report.table(heads + ["runs", "target"], lines)


def interrupts(mmio_exits):
    """A peer's guest reads InterruptStatus and writes InterruptACK. mayfly's reads it from memory; but a notification of a
    drive is an exit to MMIO, and there is about one for each interrupt."""
    return mmio_exits / 2


def print_counters(results, medium, rows):
    lines = []
    for row in rows:
        for name, values in medians(results, medium, row).items():
            counters = values["counters"]
            if counters:
                mmio = counters.get("mmio_exits", float("nan"))
                lines.append([f"{row[0]} {row[1]} depth {row[2]}", MONITORS[name]] +
                             [f"{counters.get(key, float('nan')):.0f}" for key in
                              ("exits", "mmio_exits", "io_exits", "halt_exits", "irq_exits")] +
                             [f"{interrupts(mmio):.0f}", ""])
    heads = ["exits", "to MMIO", "to ports", "halts", "host irqs", "interrupts"]
    report.table([f"{medium}, per 1,000 I/Os", "", *heads, ""], lines, left=2)


def print_reasons(counts):
    """What the exits of the table before are: by the processor's own words, once."""
    heads, faults = ("host irq", "irq window", "halt", "port", "MSR"), "MMIO or memory"
    lines = []
    for entry in counts:
        exits, mmio = entry["exits"], entry["mmio"] or 0
        lines.append([" ".join(map(str, (entry["medium"], *entry["row"]))), MONITORS[entry["name"]],
                      f"{sum(exits.values()):.0f}", f"{exits.get(faults, 0) - mmio:.0f}", f"{mmio:.0f}"] +
                     [f"{exits.get(head, 0):.0f}" for head in heads] +
                     [f"{sum(value for key, value in exits.items() if key not in (*heads, faults)):.0f}", ""])
    if lines:
        report.table(["exits per 1,000 I/Os", "", "all", "notify", "to MMIO", *heads, "others", ""], lines,
                     ["One run of each with tracepoints on. notify: ended in the kernel, by an eventfd."], left=2)


def print_calls(counts):
    heads = ("io_uring_enter", "ioctl", "epoll_wait", "read", "write", "lseek", "pread64", "pwrite64", "preadv2",
             "pwritev2")
    lines = [[" ".join(map(str, (entry["medium"], *entry["row"]))), MONITORS[entry["name"]]] +
             [f"{entry['calls'].get(head, 0):.0f}" for head in heads] +
             [f"{sum(value for key, value in entry['calls'].items() if key not in heads):.0f}", ""] for entry in counts]
    if lines:
        report.table(["system calls per 1,000 I/Os", "", *heads, "others", ""], lines,
                     ["The same runs. ioctl: KVM_RUN, one for each exit to the monitor."], left=2)


UNIT_NOTES = """\
  medians; emulated time: only ratios mean anything. µs: CPU time of the monitor's process per I/O, all its threads'
  (utime + stime of /proc/PID/stat, from asking fio to its answer), less what the guest itself ran (guest_time).
  The better and the lesser are those of Firecracker's two engines.
"""
COUNTER_NOTES = """\
  interrupts: half of the exits to MMIO. For each, a peer's guest reads InterruptStatus and writes InterruptACK. mayfly's reads
  the one from memory; but at depth 1 its notifications are exits to MMIO too, so that the vCPU can serve them, and there are
  as many. The others end in the kernel (ioeventfd) and count among the exits only.
  Why not fewer: fio keeps 32 requests in flight, so a guest that takes n completions per interrupt has 1000 / n of
  them, and n is at most 32: 31 interrupts, 31 exits to MMIO per 1,000. But a guest that is told of all 32 at once
  has nothing in flight while it sends the next 32, and the monitor nothing to do. mayfly gathers up to 16 requests of
  4 KiB, so that one half is served while the guest sends the other: at most 1000 / 16 = 62 interrupts. Requests of
  128 KiB are served as they come: moving one takes longer than an interrupt.
  At depth 1 nothing is shared: an I/O is one notification and one InterruptACK. The vCPU serves it itself, with two system calls
  (it moves the data, raises the irqfd), and finds the interrupt when it enters the guest again: no halt, and no thread wakes.
  Each 65th is left to the loop, to see whether the guest has more to ask.
  io_uring_enter: one sleep for each batch, and one to submit it where io_uring moves the data (ext4 reads): at most
  62 and 125 per 1,000 with batches of 16; a batch that is waited for in vain costs one more.
"""


def bench_blk(bench, answer):
    print("blk: fio in guests in the lab (libaio, direct=1, gtod_reduce=1), raw images hot in the page cache, 1 vCPU, "
          "160 MiB;\nall monitors' guests are alive and asked in turn, row by row\n")
    if "blk" not in answer:
        bench.verdicts.cannot("blk", "", "the lab failed")
        return
    results = answer["blk"]["results"]
    bench.results["blk"] = answer["blk"]
    media, rows = ([*dict.fromkeys(map(key, results))] for key in (lambda r: r["medium"], lambda r: tuple(r["row"])))
    for medium in media:
        print_medium(bench, results, medium, [list(row) for row in rows])
    print(UNIT_NOTES)
    for medium in media:
        print_counters(results, medium, [list(row) for row in rows])
    print(COUNTER_NOTES)
    print_reasons(answer["blk"].get("counts", []))
    print_calls(answer["blk"].get("counts", []))
    for trouble in answer["blk"]["troubles"]:
        print(f"  {trouble}")


# -- flush ----------------------------------------------------------------------------------------------

def bench_flush(bench, answer):
    print("flush: fio direct=1 fsync=1, 4 KiB random writes, on a file on ext4 on a disk whose flush takes its time "
          "(dm-delay);\nin the guest on its drive, and on that file on the lab's host, in turn\n")
    if "flush" not in answer:
        bench.verdicts.cannot("flush", "", "the lab failed")
        return
    bench.results["flush"] = answer["flush"]
    lines = []
    for case in answer["flush"]:
        ms = {name: statistics.median(values) / 1e6 if values else None for name, values in case["sync_ns"].items()}
        text = f"at most {FLUSH_FACTOR} of the host's"
        for name, value in ms.items():
            target = ""
            if name == "mayfly":
                target = (bench.verdicts.judge(f"flush-{case['delay_ms']}ms", value / ms["host"], FLUSH_FACTOR,
                                               f"{text}, is {value / ms['host']:.2f}") if value and ms["host"] else
                          bench.verdicts.cannot(f"flush-{case['delay_ms']}ms", text, "no figure"))
            lines.append([f"{case['delay_ms']} ms", name, f"{value:.2f}" if value else "-",
                          str(len(case["sync_ns"][name])), target])
    report.table(["disk's flush", "", "mean sync ms", "runs", "target"], lines,
                 ["medians of each run's mean. The host's fsync writes the file's times to the journal besides; a "
                  "guest's flush is mayfly's fdatasync."], left=2)


# -- loops ----------------------------------------------------------------------------------------------

def bench_loops(bench):
    """bench-blk_loops prints a line for each run: LOOPS IOPS."""
    program = os.path.join(bench.build, "bench-blk_loops")
    print(f"loops: natively, two drives on one I/O thread and on two, driven by hand, 4 KiB reads, depth 32; "
          f"{bench.runs} runs of each in turn\n")
    done = subprocess.run([program, bench.dir, str(bench.runs)], stdout=subprocess.PIPE, text=True, check=False)
    found = {1: [], 2: []}
    for match in re.finditer(r"^loops=(\d) iops=(\d+)$", done.stdout, re.M):
        found[int(match[1])].append(int(match[2]))
    text = "two loops faster than one"
    if done.returncode or not all(found.values()):
        return bench.verdicts.cannot("loops", text, f"bench-blk_loops ended with status {done.returncode}")
    one, two = (statistics.median(values) for values in found.values())
    bench.results["loops"] = found
    verdict = bench.verdicts.judge("loops", one / two, 1, f"{text}, {two / one:.2f} times")
    report.table(["", "IOPS p50", "max", "target"],
                 [["one loop", f"{one:.0f}", f"{max(found[1])}", ""],
                  ["two loops", f"{two:.0f}", f"{max(found[2])}", verdict]],
                 [f"{len(os.sched_getaffinity(0))} CPUs, load average {report.load()}"])


# -- ring -----------------------------------------------------------------------------------------------

RING_FACTOR = 1.3
RING_ROUNDS = 6


def bench_ring(bench):
    """bench-blk_ring prints a line for each case: read|write, depth, then ns per request: bare, by hand and its ratio,
    notified and its, without io_uring and its."""
    program = os.path.join(bench.build, "bench-blk_ring")
    print("ring: natively, what the device adds to io_uring: 4 KiB requests on a file in the page cache, by a driver in "
          f"the same thread;\nns of processor time per request, medians of {RING_ROUNDS} rounds of 100,000\n")
    done = subprocess.run([program, bench.dir, str(RING_ROUNDS)], stdout=subprocess.PIPE, text=True, check=False)
    rows = re.findall(r"^(read|write) +(\d+) +(\d+) +(\d+) +([\d.]+) +(\d+) +[\d.]+ +(\d+) +[\d.]+$", done.stdout, re.M)
    text = f"by hand at most {RING_FACTOR} of bare"
    if done.returncode or not rows:
        return bench.verdicts.cannot("ring", text, f"bench-blk_ring ended with status {done.returncode}")
    bench.results["ring"] = rows
    lines = [[f"{what}, depth {depth}", bare, hand, notified, threads,
              bench.verdicts.judge(f"ring-{what}-{depth}", float(ratio), RING_FACTOR, f"{text}, is {ratio}")]
             for what, depth, bare, hand, ratio, notified, threads in rows]
    report.table(["", "bare liburing", "by hand", "notified", "no io_uring", "target"], lines,
                 [f"notified: with an eventfd write for each batch, {done.stdout.split(':')[1].split()[0]} ns for one that "
                  f"brings nothing; load average {report.load()}"])
