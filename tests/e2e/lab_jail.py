"""A guest behind the policy of its tap, in a jail: what it may not send does not arrive."""

import os
import socket
import struct
import subprocess

import frames
from harness import JAILER, becomes, contains, equal, holds, lacks, test
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


def policy(vm, *words, tap="jailed"):
    done = subprocess.run([JAILER, "policy", "--id", vm.jail_id, "--tap", tap, *words], capture_output=True,
                          text=True, check=False)
    equal(f"status and messages of policy {' '.join(words)}", (done.returncode, done.stderr), (0, ""))
    return dict(line.split() for line in done.stdout.splitlines())


@test("lab")
def jailed_guest_behind_a_policy(t):
    """Real frames of a real driver: a denied prefix, another's address, another's MAC; and a tap with no policy."""
    make_tap(t, "jailed", NET)
    make_tap(t, "loose", NET + 1)
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


# Liars -----------------------------------------------------------------------------------------------

LIARS_NET = 9
LIES_EACH = 50
SO_RCVBUFFORCE = 33


class Ear:
    """What the host's network hears on an interface: behind its policy, for the protocol is named."""

    def __init__(self, t, name):
        self.sockets = []
        for kind in (frames.ARP, frames.IPV4, frames.IPV6):
            s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
            t.cleanups.append(s.close)
            s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
            s.bind((name, kind))
            s.setblocking(False)
            self.sockets.append(s)

    def heard(self):
        found = []
        for s in self.sockets:
            try:
                while frame := s.recv(2048):
                    found.append(frame)
            except BlockingIOError:
                pass
        return found


def lies(host_mac, net):
    """{reason to drop it: frames}, no two of them equal; and, for "", what is true."""
    mac, other = bytes.fromhex("020000000009"), bytes.fromhex("020000000099")
    host4, own4, false4 = HOST.format(net), GUEST.format(net), HOST.format(net)[:-1] + "{}"
    host6, own6, false6 = "fd09::1", "fd09::2", "fd09::bad:{:x}"
    own_link = "fe80::ff:fe00:9"
    made = {reason: [] for reason in ("", "mac", "ipv4", "ipv6", "arp", "nd", "egress")}

    def add(reason, packet, source=mac, target=host_mac):
        made[reason].append(frames.ethernet(target, source, *packet))

    for i in range(LIES_EACH):
        data = struct.pack("!I", i)
        for own, host, far in (own4, host4, f"10.7.9.{i}"), (own6, host6, f"fd07::{i:x}"), (own_link, host6, f"fd07::1:{i:x}"):
            add("", frames.udp(own, host, data=data))
            add("mac", frames.udp(own, host, data=data), source=other)
            add("egress", frames.udp(own, far, data=data))
        add("ipv4", frames.udp(false4.format(100 + i), host4, data=data))
        add("ipv6", frames.udp(false6.format(i), host6, data=data))
        add("ipv6", frames.udp(f"fe80::bad:{i:x}", host6, data=data))
        add("ipv6", frames.icmp6(false6.format(i), host6, 128, data))
        for operation in 1, 2:
            add("arp", frames.arp(other, own4, f"10.9.9.{i}", operation), target=frames.BROADCAST)
            add("arp", frames.arp(mac, false4.format(100 + i), host4, operation), target=frames.BROADCAST)
            add("", frames.arp(mac, own4, f"10.9.9.{i}", operation), target=frames.BROADCAST)
        add("arp", frames.arp(mac, "0.0.0.0", false4.format(100 + i)), target=frames.BROADCAST)
        add("nd", frames.advertisement(own6, host6, own6, other[:5] + bytes((0x40 + i,))))
        add("nd", frames.advertisement(own6, host6, false6.format(i), mac))
        add("nd", frames.solicitation(own6, host6, f"fd09::{i:x}:1", other))
        add("nd", frames.icmp6("::", "ff02::1:ff00:1", frames.NEIGHBOUR_SOLICITATION, bytes(4) + frames.ip(f"fd09::{i:x}:1")))
        add("nd", frames.icmp6(own_link, "ff02::1", frames.ROUTER_ADVERTISEMENT, data + bytes(8)))
        add("nd", frames.icmp6(own_link, host6, frames.REDIRECT, data + frames.ip(false6.format(i)) + frames.ip(own6)))
        add("ipv6", frames.advertisement(false6.format(i), host6, false6.format(i), mac))
        add("", frames.solicitation(own6, host6, f"fd09::{i:x}:1", mac))
    add("", frames.advertisement(own6, host6, own6, mac))
    add("", frames.advertisement(own_link, host6, own_link, mac))
    return made


def judged(vm, ear, every, before=None):
    """What was heard of all frames, once each was heard or, with counts from before, dropped; and the drops by reason."""
    heard, drops = set(), {}

    def all_of_them():
        heard.update(frame for frame in ear.heard() if frame in every)
        if before is not None:
            now = policy(vm, "--show", tap="liars")
            drops.update({reason: int(now[reason]) - int(before[reason]) for reason in now})
        return len(heard) + sum(drops.values()) >= len(every)

    becomes(f"{len(every)} frames heard or dropped", all_of_them, 60)
    return heard, drops


@test("lab")
def jailed_guest_that_lies(t):
    """A guest's raw frames: true ones arrive, none that speaks for another in whatever protocol, each counted under its
    reason. Then the same frames with no program on the tap: all of them arrive."""
    make_tap(t, "liars", LIARS_NET)
    ip("addr", "add", "fd09::1/64", "dev", "liars", "nodad")
    with open("/sys/class/net/liars/address", encoding="utf-8") as file:
        made = lies(bytes.fromhex(file.read().strip().replace(":", "")), LIARS_NET)
    every = {frame for several in made.values() for frame in several}
    equal("different frames", len(every), sum(map(len, made.values())))
    script = b"".join(struct.pack("!H", len(frame)) + frame for frame in every) + b"\0\0"
    ear = Ear(t, "liars")
    vm = small(t, "@cpus", "@@", "sh", "-c", "echo ready; read x", "@@", "@net-frames", "eth0", "/dev/vda", "@@", "sh", "-c", "echo first; read x",
               "@@", "@net-frames", "eth0", "/dev/vda", "@@", "sh", "-c", "echo second; read x", stdin=subprocess.PIPE,
               jail=f"--tap liars,mac=02:00:00:00:00:09,ip={GUEST.format(LIARS_NET)},ip=fd09::2",
               options=["--net", "tap=liars,mac=02:00:00:00:00:09,antispoof=off", "--drive",
                        t.file("frames", script, -(-len(script) // 512) * 512) + ":ro", *cmdline(LIARS_NET)])
    vm.wait_for("ready")
    policy(vm, "--deny", "10.7.0.0/16", "--deny", "fd07::/16", tap="liars")
    equal("frames of ours before they are sent", set(ear.heard()) & every, set())
    before = policy(vm, "--show", tap="liars")
    vm.send(b"\n")
    vm.wait_for("first")
    heard, drops = judged(vm, ear, every, before)
    for reason, several in made.items():
        equal(f"frames heard of {len(several)} to be dropped for '{reason}'", len(heard & set(several)),
              0 if reason else len(several))
        equal(f"drops for '{reason}'", drops.get(reason, 0), len(several) if reason else 0)
    os.unlink(f"/sys/fs/bpf/mayfly/{vm.jail_id}/liars/link")
    vm.send(b"\n")
    vm.wait_for("second")
    equal("frames heard without the program", len(judged(vm, ear, every)[0]), len(every))
    vm.send(b"\n")
    vm.ends(0)
