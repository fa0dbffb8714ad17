"""Tables, verdicts and the conditions under which the figures came about."""
import datetime
import glob
import os
import platform
import subprocess


def table(heads, rows, notes=(), left=1):
    """The first `left` columns and the last one (target) to the left, the others to the right."""
    last = len(heads) - 1
    cells = [heads] + [row + [""] * (len(heads) - len(row)) for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for number, row in enumerate(cells):
        print("  " + "  ".join(text.ljust(width) if i < left or i == last else text.rjust(width)
                               for i, (text, width) in enumerate(zip(row, widths))).rstrip())
        if number == 0:
            print("  " + "  ".join("-" * width for width in widths if width))
    for note in notes:
        print("  " + note)
    print()


def ms(us):
    return f"{us / 1000:.2f}"


class Verdicts:
    """What is required, and whether it is so."""

    def __init__(self):
        self.all = []

    def judge(self, what, value, limit, text):
        met = value <= limit
        self.all.append({"what": what, "value": value, "limit": limit, "met": met})
        return f"{text}: {'met' if met else 'NOT MET'}"

    def cannot(self, what, text, why):
        self.all.append({"what": what, "met": None, "why": why})
        return f"{text}: not judged, {why}"

    def summary(self):
        counts = [sum(verdict["met"] is met for verdict in self.all) for met in (True, False, None)]
        if any(counts):
            print("targets: {} met, {} not met, {} not judged".format(*counts))


def first_line(command):
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.splitlines() or [""])[0].strip()


def own_version(mayfly):
    """Of what `mayfly --version` prints the line about itself: the first one is what Firecracker's clients look for."""
    done = subprocess.run([mayfly, "--version"], stdout=subprocess.PIPE, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("mayfly ")]
    return lines[0].split(",")[0] if lines else "unknown"


def cpu_model():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else "unknown"


def kvm_kind():
    for module, kind in (("kvm_intel", "hardware (VMX)"), ("kvm_amd", "hardware (SVM)"),
                         ("kvm_pvm", "software (kvm_pvm)")):
        if glob.glob(f"/sys/module/{module}"):
            return kind
    return "unknown kind" if os.path.exists("/dev/kvm") else "none"


def commit(repository):
    git = ["git", "-c", "safe.directory=*", "-C", repository]
    name = first_line(git + ["rev-parse", "--short=12", "HEAD"])
    changed = first_line(git + ["status", "--porcelain", "--untracked-files=no"])
    return (name or "unknown") + (" with local changes" if changed else "")


def compiler(binary):
    """From the program itself: not what would compile now, but what did."""
    done = subprocess.run(["readelf", "-p", ".comment", binary], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False)
    names = [line.split("]", 1)[1].strip() for line in done.stdout.splitlines() if "]" in line]
    return ", ".join(dict.fromkeys(names)) or "unknown"


def load():
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def memory_gib():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (1 << 30)


def conditions(repository, mayfly, peer):
    rows = {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "kernel": f"{platform.release()} {platform.machine()}",
        "processor": f"{cpu_model()}, {len(os.sched_getaffinity(0))} CPUs",
        "memory": f"{memory_gib():.1f} GiB",
        "load average": f"{load()} at the start",
        "KVM": kvm_kind(),
        "commit": commit(repository),
        "mayfly": f"{own_version(mayfly)}, {os.path.getsize(mayfly) / 1024:.0f} KiB",
        "compiler": compiler(mayfly),
        "peer": (f"{first_line([peer, '--version'])}, {os.path.getsize(peer) / 1024:.0f} KiB" if peer else "none"),
    }
    for name, value in rows.items():
        print(f"  {name:<14}{value}")
    print()
    return rows
