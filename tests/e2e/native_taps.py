"""The policy of a tap: frames written into it as its guest would, and what of them reaches the host."""

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import subprocess

import frames
import jails
from harness import Skip, contains, equal, holds, test
from jails import JAILER, Jail, without_call

CLONE_NEWNS, CLONE_NEWNET, MS_REC, MS_PRIVATE = 0x20000, 0x40000000, 0x4000, 1 << 18
TUNSETIFF, IFF_TAP, IFF_NO_PI, SIOCGIFHWADDR = 0x400454CA, 2, 0x1000, 0x8927
libc = ctypes.CDLL(None, use_errno=True)
BPF, BPF_LINK_CREATE = 321, 28
MAC = bytes.fromhex("020000000001")
OTHER = bytes.fromhex("020000000002")


def run(*words):
    subprocess.run(words, check=True, capture_output=True)


class Tap:
    """A network namespace and a BPF filesystem of the test's own, with one tap whose guest is the test."""

    def __init__(self, t):
        jails.need_root()
        if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
            raise Skip("namespaces cannot be made here")
        libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
        if libc.mount(b"bpf", b"/sys/fs/bpf", b"bpf", 0, None) != 0:
            raise Skip("a BPF filesystem cannot be mounted here")
        self.t, self.name = t, "tap0"
        self.fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.fd, TUNSETIFF, struct.pack("16sH22x", self.name.encode(), IFF_TAP | IFF_NO_PI))
        for words in ("link set lo up", "addr add 10.9.0.1/24 dev tap0", "addr add fd09::1/64 dev tap0 nodad",
                      "link set tap0 up", "addr add 10.7.0.1/32 dev lo", "addr add fd07::1/128 dev lo nodad"):
            run("ip", *words.split())
        self.listener = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        request = struct.pack("16s24x", self.name.encode())
        self.host_mac = fcntl.ioctl(self.listener, SIOCGIFHWADDR, request)[18:24]
        self.listener.bind(("::", 7))
        self.other = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self.other.bind(("::", 9))

    def jail(self, *keys, before=()):
        self.box = Jail(self.t)
        self.process = self.box.start("none", "wait", 60, before=before, options=["--tap", ",".join((f"{self.name}", *keys))])

    def policy(self, *words):
        return subprocess.run([JAILER, "policy", "--id", self.box.id, "--tap", self.name, *words], text=True,
                              capture_output=True, check=False)

    def drops(self):
        lines = self.policy("--show").stdout.split("\n")
        return {name: int(count) for name, count in (line.split() for line in lines if line) if count != "0"}

    def filters(self):
        done = subprocess.run(["tc", "filter", "show", "dev", self.name, "ingress"], capture_output=True, text=True,
                              check=True)
        return done.stdout

    def send(self, kind, payload, source=MAC, target=None):
        os.write(self.fd, frames.ethernet(target or self.host_mac, source, kind, payload))

    def udp(self, source, target, port=7, mac=MAC):
        self.send(*frames.udp(source, target, port), mac)

    def arp(self, mac, sender, asked="10.9.0.1"):
        self.send(*frames.arp(mac, sender, asked), target=frames.BROADCAST)

    def arrives(self, listener=None):
        listener = listener or self.listener
        ready, _, _ = select.select([listener], [], [], 1)
        if ready:
            listener.recv(100)
        return bool(ready)

    def heard(self):
        """Frames that the host sent to the guest."""
        found = []
        while select.select([self.fd], [], [], 0.2)[0]:
            found.append(os.read(self.fd, 2000))
        return found


@test("native")
def tap_spoofed_mac(t):
    tap = Tap(t)
    tap.udp("10.9.0.2", "10.9.0.1", mac=OTHER)
    holds("it arrives without a policy", tap.arrives())
    tap.jail("mac=02:00:00:00:00:01")
    tap.udp("10.9.0.2", "10.9.0.1", mac=OTHER)
    holds("it does not with one", not tap.arrives())
    tap.udp("10.9.0.2", "10.9.0.1")
    holds("the guest's own does", tap.arrives())
    equal("drops", tap.drops(), {"mac": 1})


@test("native", "tap-spoofed-ipv4", own="10.9.0.2", other="10.9.0.3", to="10.9.0.1", reason="ipv4")
@test("native", "tap-spoofed-ipv6", own="fd09::2", other="fd09::3", to="fd09::1", reason="ipv6")
def tap_spoofed_source(t, own, other, to, reason):
    tap = Tap(t)
    tap.udp(other, to)
    holds("it arrives without a policy", tap.arrives())
    tap.jail("mac=02:00:00:00:00:01", f"ip={own}")
    tap.udp(other, to)
    holds("it does not with one", not tap.arrives())
    tap.udp(own, to)
    holds("the guest's own does", tap.arrives())
    equal("drops", {name: count for name, count in tap.drops().items() if name == reason}, {reason: 1})
    equal("status", tap.policy("--ip", other).returncode, 0)
    tap.udp(other, to)
    holds("it arrives once it is the guest's", tap.arrives())


@test("native")
def tap_arp(t):
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "ip=10.9.0.2")
    tap.heard()
    tap.arp(MAC, "10.9.0.9")
    tap.arp(OTHER, "10.9.0.2")
    equal("answers to lies", [frame for frame in tap.heard() if frame[12:14] == b"\x08\x06"], [])
    tap.arp(MAC, "10.9.0.2")
    equal("answers to the truth", len([frame for frame in tap.heard() if frame[12:14] == b"\x08\x06"]), 1)
    equal("drops", tap.drops()["arp"], 2)


@test("native")
def tap_neighbour_discovery(t):
    """An advertisement for another's address, a router's, and a solicitation that speaks with another's MAC."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "ip=fd09::2")
    tap.send(*frames.advertisement("fd09::2", "fd09::1", "fd09::3", MAC))
    tap.send(*frames.advertisement("fd09::2", "fd09::1", "fd09::2", OTHER))
    tap.send(*frames.icmp6("fd09::2", "ff02::1", frames.ROUTER_ADVERTISEMENT, bytes(12)))
    tap.send(*frames.solicitation("fd09::2", "fd09::1", "fd09::1", OTHER))
    equal("drops", tap.drops().get("nd"), 4)
    tap.heard()
    tap.send(*frames.solicitation("fd09::2", "fd09::1", "fd09::1", MAC))
    holds("an answer to an honest one", any(frame[12:14] == b"\x86\xdd" and frame[54] == 136 for frame in tap.heard()))
    equal("drops", tap.drops().get("nd"), 4)


@test("native")
def tap_is_this_address_taken(t):
    """Who asks that of another's address, from none, keeps it from its owner; of one's own everybody asks."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "ip=10.9.0.2", "ip=fd09::2")
    none, group = "::", "ff02::1:ff00:2"

    def solicit(about):
        tap.send(*frames.icmp6(none, group, frames.NEIGHBOUR_SOLICITATION, bytes(4) + frames.ip(about)))

    for own4, own6 in ("10.9.0.2", "fd09::2"), ("10.9.0.2", "fe80::ff:fe00:1"):
        tap.arp(MAC, "0.0.0.0", own4)
        solicit(own6)
    equal("drops", tap.drops(), {})
    tap.arp(MAC, "0.0.0.0", "10.9.0.3")
    solicit("fd09::3")
    solicit("fe80::99:1")
    equal("drops", tap.drops(), {"arp": 1, "nd": 2})


@test("native")
def tap_neighbour_discovery_in_parts(t):
    """Its second part could say what nobody looks at."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "ip=fd09::2")
    _, whole = frames.advertisement("fd09::2", "fd09::1", "fd09::2", OTHER)
    for start, end, more in ((0, 24, 1), (24, 32, 0)):
        part = struct.pack("!BBHI", 58, 0, start | more, 7) + whole[40 + start:40 + end]
        tap.send(frames.IPV6, frames.ipv6("fd09::2", "fd09::1", 44, part, 255))
    equal("drops of the first, without which the second is nothing", tap.drops(), {"nd": 1})


@test("native")
def tap_ways_of_its_own(t):
    """A route in a frame leads past the lists, which see the next hop alone."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "ip=10.9.0.2", "ip=fd09::2")
    datagram = struct.pack("!HHHH", 1000, 7, 9, 0) + b"x"

    def option(*numbers):
        options = bytes(numbers)
        tap.send(frames.IPV4, frames.ipv4("10.9.0.2", "10.9.0.1", 17, datagram, options + bytes(-len(options) % 4)))

    def routed(kind, left):
        header = bytes((17, 2, kind, left)) + bytes(4) + frames.ip("fd07::1")
        tap.send(frames.IPV6, frames.ipv6("fd09::2", "fd09::1", 43, header + frames.udp("fd09::2", "fd09::1")[1][40:]))

    option(1, 1, 0x83, 7, 4, 10, 7, 0, 1)
    option(0x44, 4, 5, 0, 0x89, 7, 4, 10, 7, 0, 1)
    routed(0, 1)
    routed(4, 1)
    equal("drops", tap.drops(), {"egress": 4})
    option(0x94, 4, 0, 0)
    holds("an option that is no route", tap.arrives())
    option(0, 0x83, 7, 4, 10, 7, 0, 1)
    holds("no option behind the last", tap.arrives())
    equal("drops", tap.drops(), {"egress": 4})


@test("native")
def tap_families_are_apart(t):
    """::/0 is all of IPv6 and nothing of IPv4; and no frame of IPv6 is IPv4's by its address."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "ip=10.9.0.2", "ip=fd09::2")

    def reaches(source, target):
        tap.udp(source, target)
        return tap.arrives()

    equal("status", tap.policy("--default", "deny", "--allow", "::/0").returncode, 0)
    holds("IPv6 alone", reaches("fd09::2", "fd09::1") and not reaches("10.9.0.2", "10.9.0.1"))
    equal("status", tap.policy("--remove", "::/0", "--allow", "0.0.0.0/0").returncode, 0)
    holds("IPv4 alone", not reaches("fd09::2", "fd09::1") and reaches("10.9.0.2", "10.9.0.1"))
    equal("drops", tap.drops(), {"egress": 2})
    tap.send(*frames.udp("::ffff:10.9.0.2", "fd09::1"))
    tap.send(*frames.udp("fd09::2", "::ffff:10.9.0.1"))
    equal("drops", tap.drops(), {"egress": 2, "ipv6": 2})


@test("native")
def tap_first_address_that_is_added(t):
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01")
    tap.udp("10.9.0.3", "10.9.0.1")
    holds("any source while there is none", tap.arrives())
    equal("status", tap.policy("--ip", "10.9.0.2").returncode, 0)
    tap.udp("10.9.0.3", "10.9.0.1")
    holds("no other once there is one", not tap.arrives())
    tap.udp("10.9.0.2", "10.9.0.1")
    holds("that one", tap.arrives())
    equal("drops", tap.drops(), {"ipv4": 1})


@test("native")
def tap_denied_from_the_beginning(t):
    """No moment between the start and the first `policy` in which all goes."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", "default=deny")
    tap.udp("10.9.0.2", "10.9.0.1")
    holds("nothing at first", not tap.arrives())
    equal("status", tap.policy("--allow", "10.9.0.0/24").returncode, 0)
    tap.udp("10.9.0.2", "10.9.0.1")
    holds("what is allowed", tap.arrives())
    equal("drops", tap.drops(), {"egress": 1})


@test("native")
def tap_vlan_and_unknown_protocols(t):
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01")
    tap.send(0x8100, b"\x00\x01\x08\x00" + bytes(60))
    tap.send(0x88CC, bytes(60))
    tap.send(frames.IPV4, b"\x45")
    equal("drops", tap.drops(), {"protocol": 2, "short": 1})


@test("native", "tap-egress-ipv4", own="10.9.0.2", near="10.9.0.1", far="10.7.0.1", prefix="10.7.0.0/16")
@test("native", "tap-egress-ipv6", own="fd09::2", near="fd09::1", far="fd07::1", prefix="fd07::/16")
def tap_egress(t, own, near, far, prefix):
    """Lists of where to, changed while the guest goes on."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", f"ip={own}")

    def reaches(target, port=7):
        tap.udp(own, target, port)
        return tap.arrives(tap.other if port == 9 else tap.listener)

    holds("all at first", reaches(near) and reaches(far))
    equal("status", tap.policy("--deny", prefix).returncode, 0)
    holds("not the prefix", reaches(near) and not reaches(far))
    equal("status", tap.policy("--remove", prefix, "--allow", f"{prefix},udp/9").returncode, 0)
    holds("one port of the prefix", reaches(far, 9) and not reaches(far, 7))
    equal("status", tap.policy("--default", "deny").returncode, 0)
    holds("nothing else", reaches(far, 9) and not reaches(near))
    equal("status", tap.policy("--remove", prefix, "--default", "allow").returncode, 0)
    holds("all again", reaches(near) and reaches(far))
    equal("drops", tap.drops()["egress"], 3)
    holds("the same process", tap.process.poll() is None)


@test("native")
def tap_policy_ends_with_the_clean_up(t):
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01")
    tap.udp("10.9.0.2", "10.9.0.1", mac=OTHER)
    holds("dropped", not tap.arrives())
    holds("pinned", os.path.exists(f"/sys/fs/bpf/mayfly/{tap.box.id}/tap0/program"))
    tap.process.kill()
    tap.process.wait()
    equal("status", tap.box.clean().returncode, 0)
    holds("no pin", not os.path.exists(f"/sys/fs/bpf/mayfly/{tap.box.id}"))
    tap.udp("10.9.0.2", "10.9.0.1", mac=OTHER)
    holds("the tap still there, and nothing on it", tap.arrives())


@test("native")
def tap_of_a_kernel_without_tcx(t):
    """Then a clsact program does it: the tap itself holds that one, and the clean-up takes it off."""
    tap = Tap(t)
    tap.jail("mac=02:00:00:00:00:01", before=without_call(f"{BPF}:{BPF_LINK_CREATE}", errno.EINVAL))
    holds("no link", not os.path.exists(f"/sys/fs/bpf/mayfly/{tap.box.id}/tap0/link"))
    contains("filters", tap.filters(), "direct-action")
    tap.udp("10.9.0.2", "10.9.0.1", mac=OTHER)
    holds("a spoofed frame does not arrive", not tap.arrives())
    tap.udp("10.9.0.2", "10.9.0.1")
    holds("the guest's own does", tap.arrives())
    equal("drops", tap.drops(), {"mac": 1})
    tap.process.kill()
    tap.process.wait()
    equal("status of the clean-up", tap.box.clean().returncode, 0)
    equal("filters left", tap.filters(), "")
    tap.udp("10.9.0.2", "10.9.0.1", mac=OTHER)
    holds("nothing on the tap", tap.arrives())


@test("native", "tap-that-is-not-there", tap_word="tap9,mac=02:00:00:00:00:01", why="no such interface")
@test("native", "tap-with-another-default", tap_word="tap0,mac=02:00:00:00:00:01,default=no", why="neither allow nor deny")
@test("native", "tap-without-mac", tap_word="tap0,ip=10.0.0.1", why="mac=M is missing")
def tap_refused(t, tap_word, why):
    Tap(t)
    jail = Jail(t)
    done = jail.run("none", "nothing", options=["--tap", tap_word])
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, why)
    holds("nothing left", not os.path.exists(jail.dir) and not os.path.exists(f"/sys/fs/bpf/mayfly/{jail.id}"))


@test("native", "policy-bad-prefix", words=["--deny", "10.0.0.1/8"], why="bits set outside")
@test("native", "policy-bad-port", words=["--deny", "10.0.0.0/8,icmp/1"], why="is not tcp/PORT")
@test("native", "policy-unknown-option", words=["--block", "10.0.0.0/8"], why="unknown option")
@test("native", "policy-of-nobody", words=["--show"], why="has no policy")
def policy_refused(t, words, why):
    jails.need_root()
    done = subprocess.run([JAILER, "policy", "--id", "nobody", "--tap", "tap0", *words], capture_output=True,
                          text=True, check=False)
    equal("status", done.returncode, 1)
    contains("reason", done.stderr, why)
