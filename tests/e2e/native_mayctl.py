"""mayctl with payload guests: methods as commands, events, help."""

import json
import subprocess

from api import Served
from harness import Failure, artefact, contains, equal, holds, lacks, test
from rpc import MAYCTL, mayctl


@test("native")
def mayctl_drives_a_vm(t):
    vm = Served(t)
    disk = t.file("disk", size=1 << 20)
    mayctl(t, vm.path, "machine", "set", 1, 64)
    mayctl(t, vm.path, "boot", "set", artefact("payload/spin.elf"), "a=b c")
    mayctl(t, vm.path, "drive", "add", "root", f"fd:{disk}", "root", "ro")
    mayctl(t, vm.path, "drive", "put", "data", f"path_on_host={disk}", "is_root_device=false", "is_read_only=yes",
           "rate_limiter.ops.size=10", "rate_limiter.ops.refill_time=100")
    config = json.loads(mayctl(t, vm.path, "--json", "vm", "config"))
    equal("command line", config["boot-source"]["boot_args"], "a=b c")
    drives = {drive["drive_id"]: drive for drive in config["drives"]}
    equal("limit", drives["data"]["rate_limiter"]["ops"], {"size": 10, "one_time_burst": None, "refill_time": 100})
    equal("root", (drives["root"]["is_root_device"], drives["root"]["is_read_only"]), (True, True))
    contains("configuration for people", mayctl(t, vm.path, "vm", "config"), "mem_size_mib", "64 MiB", "drive_id")
    mayctl(t, vm.path, "vm", "start")
    mayctl(t, vm.path, "vm", "pause")
    contains("state", mayctl(t, vm.path, "vm", "info"), "Paused")
    mayctl(t, vm.path, "vm", "resume")


@test("native")
def mayctl_statuses(t):
    vm = Served(t)
    contains("refusal", mayctl(t, vm.path, "vm", "pause", status=1), "before starting")
    contains("no socket", mayctl(t, t.path("none"), "vm", "info", status=2), "No such file")
    contains("too late", mayctl(t, vm.path, "--timeout", "0.2", "wait", "vm.ended", status=3), "in time")
    for words in (["vm", "fly"], ["drive", "put", "x", "nothing=1"], ["machine", "set", "one", "64"],
                  ["drive", "put", "x", "is_root_device=perhaps"], ["call"], ["wait"], ["--timeout"]):
        mayctl(t, vm.path, *words, status=153)
    mayctl(t, None, status=153)
    contains("a file that is not there", mayctl(t, vm.path, "drive", "add", "x", "fd:" + t.path("no"), status=153),
             "No such file")


@test("native")
def mayctl_events(t):
    vm = Served(t)
    mayctl(t, vm.path, "machine", "set", 1, 64)
    mayctl(t, vm.path, "boot", "set", artefact("payload/spin.elf"))
    events = subprocess.Popen([MAYCTL, "--sock", vm.path, "--json", "events"], stdout=subprocess.PIPE, text=True)
    t.cleanups.append(events.kill)
    mayctl(t, vm.path, "vm", "start")
    waits = subprocess.Popen([MAYCTL, "--sock", vm.path, "wait", "vm.ended"], stdout=subprocess.PIPE, text=True)
    t.cleanups.append(waits.kill)
    while "Paused" not in mayctl(t, vm.path, "vm", "info"):
        mayctl(t, vm.path, "vm", "pause")
    vm.signal(15)
    vm.ends(128 + 15)
    lines = [json.loads(line) for line in events.communicate(timeout=10)[0].splitlines()]
    equal("last event", lines[-1], {"event": "vm.ended", "details": {"how": "stopped", "text": "Terminated"}})
    holds("the pause among them", {"event": "vm.state", "details": {"state": "Paused"}} in lines, str(lines))
    contains("what was waited for", waits.communicate(timeout=10)[0], "vm.ended", "stopped")
    equal("statuses", (events.returncode, waits.returncode), (0, 0))


@test("native")
def mayctl_helps(t):
    text = mayctl(t, None, "help")
    for name in [line[3:].strip() for line in mayctl(t, None, "protocol").splitlines() if line.startswith("## ")]:
        contains("help", text, name.replace(".", " "))
        contains(f"help of {name}", mayctl(t, None, "help", *name.split(".")), "Usage: mayctl", "Allowed ")
    contains("help of a command", mayctl(t, None, "help", "drive", "add"), "<drive_id>", "path_on_host", "[ro]")


def completions(t, line):
    """What bash offers at the end of the line."""
    script = f'''
        PATH={MAYCTL.rsplit("/", 1)[0]}:$PATH
        . <(mayctl completion bash)
        compopt() {{ :; }}
        COMP_WORDS=({line})
        COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _mayctl
        printf '%s\\n' "${{COMPREPLY[@]}}"'''
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=20)
    if ended.stderr:
        raise Failure("completion", ended.stderr)
    return ended.stdout.split()


@test("native")
def mayctl_completes(t):
    equal("commands that begin so", sorted(set(completions(t, "mayctl ba"))), ["balloon"])
    holds("methods of drives", {"add", "put", "patch"} <= set(completions(t, "mayctl --sock s drive ''")))
    fields = completions(t, "mayctl drive put x is_")
    equal("fields", sorted(fields), ["is_read_only=", "is_root_device="])
    equal("values", completions(t, "mayctl drive put x is_root_device = t"), ["true"])
    equal("values at once", completions(t, "mayctl machine put huge_pages '='"), ["None", "Transparent", "2M"])
    lacks("events", " ".join(completions(t, "mayctl wait vm.")), "balloon")
