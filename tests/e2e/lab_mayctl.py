"""mayctl with real kernels: run as a terminal, a pipe and an agent's host see it, console beside it, trace as a picture."""

import json
import subprocess
import xml.etree.ElementTree

from harness import artefact, becomes, contains, equal, holds, test
from rpc import MAYCTL, mayctl
from vm import Vm

SHELL = "stty -echo; echo ready; while read -r line; do echo got:$line; [ $line = quit ] && exit; done"


def linux():
    return "--kernel", artefact("small/vmlinux"), "--initrd", artefact("init.cpio")


@test("lab")
def mayctl_run_with_a_linux_guest(t):
    """A terminal on the guest, another client on the same console, the start drawn; and the guest's own end."""
    path = t.path("vm.sock")
    run = Vm(t, "--sock", path, "run", *linux(), "--timings", "--", "sh", "-c", SHELL, binary=MAYCTL, terminal=True)
    run.wait_for("ready")
    becomes("a raw terminal", run.is_raw)
    other = Vm(t, "--sock", path, "console", binary=MAYCTL, stdin=subprocess.PIPE)
    until_heard(run, other)
    other.send(b"from the other\n")
    other.until("input taken", lambda: not other.to_send)
    run.wait_for("got:from the other")
    other.wait_for("got:from the other")
    contains("bars", mayctl(t, path, "trace"), "first KVM_RUN", "init", "\u2588", " ms")
    mayctl(t, path, "trace", "--svg", t.path("trace.svg"))
    names = [text.text for text in xml.etree.ElementTree.parse(t.path("trace.svg")).getroot().iter(
        "{http://www.w3.org/2000/svg}text")]
    holds("moments in the picture", {"kernel load", "first guest console byte", "init"} <= set(names), str(names))
    [row] = json.loads(mayctl(t, None, "--json", "ps", t.dir))
    holds("figures", row["state"] == "Running" and row["vcpu_ns"] > 0 and row["resident_bytes"] > 1 << 20, str(row))
    run.send(b"quit\r")
    run.ends(0)
    other.ends(0)
    equal("modes", run.terminal_modes(), run.found_modes)
    contains("timings", run.errors(), "first guest console byte", "\n  init ")


def until_heard(run, other):
    """A client hears what the guest says after it has attached."""
    lines = 0

    def heard():
        nonlocal lines
        lines += 1
        run.send(b"line%d\r" % lines)
        run.wait_for(b"got:line%d" % lines)
        other.pump(0.2)
        return b"got:line" in other.out

    becomes("another console", heard, 60)


@test("lab")
def mayctl_run_with_pipes_and_an_agent(t):
    """As `mayfly run` is used in scripts."""
    piped = Vm(t, "run", *linux(), "--", "@echo-stdin", binary=MAYCTL, stdin=subprocess.PIPE)
    piped.send(b"first line\nquit\n")
    piped.close_input()
    piped.ends(0)
    contains("output", piped.text(), "got:first line\n")
    agent = ["run", "--kernel", artefact("small/vmlinux"), "--agent", artefact("agent.cpio") + ",wait=200"]
    vm = Vm(t, *agent, "--", "sh", "-c", "wc -c; echo err >&2; exit 7", binary=MAYCTL, stdin=subprocess.PIPE)
    vm.send(b"x" * 70000)
    vm.close_input()
    vm.ends(7)
    equal("output", vm.out, b"70000\n")
    contains("messages", vm.errors(), "err\n")
    equal("lines of messages", [line for line in vm.errors().split("\n") if "mayfly:" in line or "mayctl:" in line], [])
