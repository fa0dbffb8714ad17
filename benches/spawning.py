"""Calls the C programs that measure, and reads their answers."""
import os
import re
import statistics
import subprocess


def read_lines(text):
    """`NAME KEY=VALUE[,VALUE...]...` lines, as {NAME: {KEY: [number, ...]}}."""
    result = {}
    for line in text.splitlines():
        name, *fields = line.split()
        result[name] = {key: [float(v) for v in value.split(",")]
                        for key, value in (field.split("=", 1) for field in fields)}
    return result


def spawn(program, commands, runs, error_dir, marker, seconds, warm_up, pause=0, scrub=0):
    """Runs {name: command} interleaved. Standard errors are in error_dir/NAME.err afterwards."""
    arguments = [program, "-r", str(runs), "-w", str(warm_up), "-t", str(seconds),
                 "-p", str(pause), "-s", str(scrub), "-m", marker, "-e", error_dir, "--"]
    for number, (name, command) in enumerate(commands.items()):
        path = os.path.join(error_dir, name + ".err")
        if os.path.exists(path):
            os.unlink(path)
        arguments += (["---"] if number else []) + [name] + command
    done = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    return read_lines(done.stdout)


def last_error(error_dir, name):
    """The last line of its standard error: why a run failed."""
    with open(os.path.join(error_dir, name + ".err"), encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    return lines[-1] if lines else "it said nothing"


def slot_times(error_dir, name, skip):
    """Of what bench-slot said in each run, without the first `skip`; nothing where there is no KVM."""
    with open(os.path.join(error_dir, name + ".err"), encoding="utf-8") as file:
        times = sorted([float(match[1]) for line in file if (match := re.match(r"slots ([0-9.]+)$", line))][skip:])
    if not times:
        return {}
    # As stats.h has them: median, nearest rank.
    return {"us": [statistics.median(times), times[(len(times) * 99 + 99) // 100 - 1], times[0]]}


TIMING = re.compile(r"^  (\S.*?) +(\d+\.\d+) +(\d+\.\d+)$")


def timing_rows(path, skip):
    """Of `mayfly run --timings` outputs: {row: [(at, took), ...]} in ms, in order, without the first `skip`."""
    rows = {}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if match := TIMING.match(line.rstrip("\n")):
                rows.setdefault(match[1], []).append((float(match[2]), float(match[3])))
    return {row: values[skip:] for row, values in rows.items()}
