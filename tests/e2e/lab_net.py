"""Network interfaces: taps of the host, and what Linux's own driver moves over them."""

import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import time

import files
from harness import artefact, becomes, contains, equal, holds, test
from vm import Vm, small

HOST, GUEST = "10.9.{}.1", "10.9.{}.2"
PORT = 7
LENGTHS = (1, 2, 17, 100, 1000, 1460, 1461, 4096, 9000, 16384, 32768, 65000, 65536)
TUNSETIFF, IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x400454CA, 2, 0x1000, 0x4000
ETH_P_ALL, EXPERIMENTAL = 3, b"\x88\xb5"


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True)


def make_tap(t, name, net, *words):
    """A tap with an address, up; gone with the test. It has an owner: a jailed monitor may open no other."""
    ip("tuntap", "add", name, "mode", "tap", "user", "root", *words)
    t.cleanups.append(lambda: os.system(f"ip link del {name} 2>/dev/null"))
    ip("addr", "add", HOST.format(net) + "/24", "dev", name)
    ip("link", "set", name, "up")


def cmdline(net=None):
    address = f" ip={GUEST.format(net)}::{HOST.format(net)}:255.255.255.0::eth0:off" if net is not None else ""
    return ["--cmdline", "quiet reboot=k" + address]


def pings(address, count=3, wait=10):
    """How many of them came back."""
    done = subprocess.run(["busybox", "ping", "-c", str(count), "-W", str(wait), address], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    found = re.search(r"(\d+) packets received", done.stdout)
    return int(found[1]) if found else 0


def iperf(t, address, *words):
    """Bits a second that arrived."""
    done = subprocess.run(["iperf3", "-J", "-c", address, "-t", "1", *words], stdout=subprocess.PIPE, text=True,
                          timeout=60, check=False)
    answer = json.loads(done.stdout)
    t.log(f"iperf3 {' '.join(words)}: status {done.returncode} {answer.get('error', '')} {answer['end']}")
    equal(f"status of iperf3 {' '.join(words)}", done.returncode, 0)
    return answer["end"].get("sum_received", answer["end"].get("sum", {})).get("bits_per_second", 0)


def echoes_by_tcp(address):
    with socket.create_connection((address, PORT), timeout=30) as s:
        for length in LENGTHS:
            data = files.pattern((length + 7) // 8 * 8, length)[:length]
            s.sendall(data)
            back = b""
            while len(back) < length:
                back += s.recv(length - len(back))
            holds(f"{length} bytes back by TCP as they were sent", back == data)


def echoes_by_udp(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(30)
        s.connect((address, PORT))
        for length in LENGTHS[:-1] + (65507,):
            data = files.pattern((length + 7) // 8 * 8, length)[:length]
            s.send(data)
            holds(f"{length} bytes back by UDP as they were sent", s.recv(65536) == data)


def both_ways_at_once(address):
    """4 MiB out and back through one connection, sent while they come."""
    data = files.pattern(4 << 20, 99)
    with socket.create_connection((address, PORT), timeout=30) as s:
        sender = os.fork()
        if sender == 0:
            s.sendall(data)
            os._exit(0)
        back = bytearray()
        while len(back) < len(data):
            back += s.recv(1 << 20)
        os.waitpid(sender, 0)
        holds("4 MiB back as they were sent", back == data)


@test("lab")
def net_traffic(t):
    """TCP and UDP both ways, any length, ping meanwhile, with all offloads and a smaller MTU."""
    net, address = 1, GUEST.format(1)
    make_tap(t, "traffic", net)
    script = "cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu; iperf3 -s -D"
    vm = Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", artefact("net.cpio"), "--net",
            "tap=traffic,mac=02:11:22:33:44:55,mtu=1400", *cmdline(net), "--", "@cpus", "@@", "sh", "-c", script, "@@", "@net-echo", PORT,
            stdin=subprocess.PIPE)
    vm.wait_for("net-echo: ready")
    contains("output", vm.text(), "02:11:22:33:44:55\n1400\n")
    echoes_by_tcp(address)
    echoes_by_udp(address)
    both_ways_at_once(address)
    for words in ([], ["-R"], ["-l", "1"], ["-u", "-b", "5M"], ["-u", "-b", "5M", "-R"]):
        holds(f"bits of iperf3 {' '.join(words)}", iperf(t, address, *words) > 0)
    load = subprocess.Popen(["iperf3", "-c", address, "-t", "3"], stdout=subprocess.DEVNULL)
    equal("pings answered under load", pings(address), 3)
    equal("status of the load", load.wait(30), 0)
    vm.send(b"\n")
    vm.ends(0)


@test("lab")
def net_flood_and_link(t):
    """A flood while the driver has posted nothing; the tap down and up; the tap gone."""
    net, address = 2, GUEST.format(2)
    make_tap(t, "flood", net)
    script = (f"echo waiting; read x; ifconfig eth0 {address} up; echo up; read x; cat /sys/class/net/eth0/carrier; "
              "echo gone; read x")
    vm = small(t, "sh", "-c", script, options=["--net", "tap=flood", *cmdline()], stdin=subprocess.PIPE)
    vm.wait_for("waiting")
    ip("neigh", "add", address, "lladdr", "02:00:00:00:00:99", "dev", "flood")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        for _ in range(5000):
            s.sendto(bytes(1000), (address, 9))
    ip("neigh", "del", address, "dev", "flood")
    before = cpu(vm)
    time.sleep(1)
    holds("no work while nothing can move", cpu(vm) - before < 0.5, f"{cpu(vm) - before} s of CPU in a second")
    vm.send(b"\n")
    vm.wait_for("up")
    equal("pings after the flood", pings(address), 3)

    ip("link", "set", "flood", "down")
    time.sleep(0.2)
    ip("link", "set", "flood", "up")
    becomes("an answer after the tap was down", lambda: pings(address, 1, 2) == 1, 30)

    ip("link", "del", "flood")
    vm.wait_for_error("net net0: the tap is gone; the link is down from now on")
    vm.send(b"\n")
    vm.wait_for("\n0\r\ngone")
    vm.send(b"\n")
    vm.ends(0)


RATE = 1 << 20  # bytes a second


def moved(name, direction):
    """Bytes of frames; the host's words are from its side of the tap."""
    with open(f"/sys/class/net/{name}/statistics/{'rx' if direction == 'tx' else 'tx'}_bytes", encoding="utf-8") as file:
        return time.monotonic(), int(file.read())


def rate_over_five_seconds(name, direction):
    (begun, before), _, (ended, after) = moved(name, direction), time.sleep(5), moved(name, direction)
    return (after - before) / (ended - begun)


@test("lab")
def net_rates(t):
    """Each direction moves what it may, 3 % more or less over 5 s, once what was saved up is spent."""
    net, address = 5, GUEST.format(5)
    make_tap(t, "rates", net)
    vm = Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", artefact("net.cpio"), "--net", "tap=rates",
            "--rate", "net0.rx,bytes=64K/62", "--rate", "net0.tx,bytes=128K/125+256K", *cmdline(net), "--", "sh", "-c",
            "iperf3 -s -D; echo ready; read x", stdin=subprocess.PIPE)
    vm.wait_for("ready")
    for direction, rate, words in ("tx", RATE, ["-R"]), ("rx", 65536 / 0.062, []):
        load = subprocess.Popen(["iperf3", "-c", address, "-t", "20", *words], stdout=subprocess.DEVNULL)
        t.cleanups.append(load.kill)
        time.sleep(3)
        rates = []  # a busy machine may not keep up for a while
        while len(rates) < 3 and (not rates or abs(rates[-1] / rate - 1) > 0.03):
            rates.append(rate_over_five_seconds("rates", direction))
        t.log(f"net0.{direction}: {rates} of {rate}")
        holds(f"3 % more or less of what net0.{direction} may move", abs(rates[-1] / rate - 1) <= 0.03, (rates, rate))
        load.kill()
        load.wait()
    vm.send(b"\n")
    vm.ends(0)


def cpu(vm):
    fields = vm.proc("stat").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def open_tap(name):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    return fd


def experimental(name):
    """Hears the frames of the experimental protocol on an interface."""
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.bind((name, 0))
    s.setblocking(False)
    return s


def sources(s):
    found = []
    try:
        while frame := s.recv(2048):
            if frame[12:14] == EXPERIMENTAL:
                found.append(frame[6:12].hex(":"))
    except BlockingIOError:
        return found


@test("lab")
def net_two_interfaces(t):
    """One of two queue pairs by name, one by descriptor; who may pretend to be somebody else, and who not."""
    make_tap(t, "pairs", 3, "multi_queue")
    make_tap(t, "open", 4)
    fd = open_tap("open")
    ears = [experimental("pairs"), experimental("open")]
    script = ("ls -d /sys/class/net/eth0/queues/rx-*; ls -d /sys/class/net/eth1/queues/*; cat /sys/class/net/eth1/address; "
              f"ifconfig eth1 {GUEST.format(4)} up")
    other = ("ifconfig eth0 down; ifconfig eth0 hw ether 02:00:00:00:00:05 up; ifconfig eth0 "
             f"{GUEST.format(3)}; echo changed; read x")
    vm = small(t, "@cpus", "@@", "sh", "-c", script, "@@", "@net-send", "eth0", "02:00:00:00:00:77", 10, "@@", "@net-send", "eth1",
               "02:00:00:00:00:77", 10, "@@", "sh", "-c", other,
               options=["--net", "tap=pairs,queues=2", "--net", f"fd={fd},antispoof=off", "--cpus", 2, *cmdline(3)], fds=[fd],
               stdin=subprocess.PIPE)
    vm.wait_for("changed")
    contains("output", vm.text(), "eth0/queues/rx-1", "eth1/queues/rx-0")
    second = re.search(r"^([0-9a-f]{2}):[0-9a-f:]{14}\r?$", vm.text(), re.M)
    holds("a MAC that was made up, of this place and one station", second and int(second[1], 16) & 3 == 2, vm.text())
    equal("spoofed frames that left eth0", sources(ears[0]), [])
    equal("spoofed frames that left eth1", sources(ears[1]), ["02:00:00:00:00:77"] * 10)
    equal("pings over two queue pairs with the driver's MAC", pings(GUEST.format(3)), 3)
    equal("pings over the descriptor", pings(GUEST.format(4)), 3)
    with open("/proc/net/arp", encoding="utf-8") as arp:
        contains("neighbours", arp.read(), "02:00:00:00:00:05")
    vm.send(b"\n")
    vm.ends(0)
