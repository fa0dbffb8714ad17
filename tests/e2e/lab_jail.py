"""A guest behind the policy of its tap, in a jail: what it may not send does not arrive."""

import os
import subprocess

from harness import MAYFLY, contains, equal, holds, lacks, test
from lab_net import GUEST, HOST, cmdline, ip, make_tap
from vm import small

NET, MAC, FAR = 7, "02:00:00:00:00:07", "10.7.7.1"
SPOOFED = GUEST.format(NET).rsplit(".", 1)[0] + ".3"

# One line: it goes through a kernel's command line.
SCRIPT = "; ".join((
    "yes() { ping -c 3 -W 20 $2 > /dev/null 2>&1 && echo $1: yes || echo $1: no; }",
    "no() { ping -c 2 -W 2 $2 > /dev/null 2>&1 && echo $1: yes || echo $1: no; }",
    f"yes near {HOST.format(NET)}; yes far {FAR}; echo first; read x",
    f"no denied-far {FAR}; yes still-near {HOST.format(NET)}; echo second; read x",
    f"ifconfig eth0 {SPOOFED}; no spoofed-ip {HOST.format(NET)}",
    f"ifconfig eth0 down; ifconfig eth0 hw ether 02:00:00:00:00:99; ifconfig eth0 {GUEST.format(NET)} up",
    f"no spoofed-mac {HOST.format(NET)}; echo third; read x",
    f"yes without-policy {HOST.format(NET)}; echo fourth; read x"))


def policy(vm, *words):
    jailer = os.path.join(os.path.dirname(MAYFLY), "mayfly-jailer")
    done = subprocess.run([jailer, "policy", "--id", vm.jail_id, "--tap", "jailed", *words], capture_output=True,
                          text=True, check=False)
    equal(f"status and messages of policy {' '.join(words)}", (done.returncode, done.stderr), (0, ""))
    return dict(line.split() for line in done.stdout.splitlines())


@test("lab")
def jailed_guest_behind_a_policy(t):
    """Real frames of a real driver: a denied prefix, another's address, another's MAC; and a tap with no policy."""
    make_tap(t, "jailed", NET, "user", "root")  # a jail has no capability to open another's
    make_tap(t, "loose", NET + 1, "user", "root")
    ip("addr", "add", FAR + "/32", "dev", "lo")
    t.cleanups.append(lambda: ip("addr", "del", FAR + "/32", "dev", "lo"))
    vm = small(t, "sh", "-c", SCRIPT, stdin=subprocess.PIPE, jail=f"--tap jailed,mac={MAC},ip={GUEST.format(NET)}",
               options=["--net", f"tap=jailed,mac={MAC},antispoof=off", "--net", "tap=loose", *cmdline(NET)])
    vm.wait_for("first")
    contains("output", vm.text(), "near: yes", "far: yes")
    contains("messages", vm.errors(), "no policy for the tap loose")
    lacks("messages", vm.errors(), "no policy for the tap jailed")
    policy(vm, "--deny", "10.7.0.0/16")
    vm.send(b"\n")
    vm.wait_for("second")
    contains("output", vm.text(), "denied-far: no", "still-near: yes")
    holds("drops by the list", int(policy(vm, "--show")["egress"]) > 0)
    vm.send(b"\n")
    vm.wait_for("third")
    contains("output", vm.text(), "spoofed-ip: no", "spoofed-mac: no")
    drops = policy(vm, "--show")
    holds("drops of what speaks for another", int(drops["arp"]) + int(drops["ipv4"]) > 0, drops)
    holds("drops of another's MAC", int(drops["mac"]) > 0, drops)
    os.unlink(f"/sys/fs/bpf/mayfly/{vm.jail_id}/jailed/link")
    vm.send(b"\n")
    vm.wait_for("fourth")
    contains("output", vm.text(), "without-policy: yes")
    vm.send(b"\n")
    vm.ends(0)
