"""Network interfaces: taps of the host, and what Linux's own driver moves over them."""

import os
import subprocess

from harness import contains, test
from vm import small

HOST, GUEST = "10.9.0.1", "10.9.0.2"


def ip(*words):
    subprocess.run(["ip", *words], check=True)


def make_tap(t, name, *words, address=HOST):
    """A tap with an address, up; gone with the test."""
    ip("tuntap", "add", name, "mode", "tap", *words)
    t.cleanups.append(lambda: os.system(f"ip link del {name} 2>/dev/null"))
    ip("addr", "add", f"{address}/24", "dev", name)
    ip("link", "set", name, "up")


def guest_on(t, tap, *words, settings="", options=(), **more):
    cmdline = f"quiet reboot=k ip={GUEST}::{HOST}:255.255.255.0::eth0:off"
    return small(t, *words, options=["--net", f"tap={tap}{settings}", "--cmdline", cmdline, *options], **more)


@test("lab")
def net_ping(t):
    make_tap(t, "ping0")
    vm = guest_on(t, "ping0", "sh", "-c", f"cat /sys/class/net/eth0/address; ping -c 3 {HOST}; ifconfig eth0", settings=",mac=02:11:22:33:44:55")
    vm.ends(0)
    contains("output", vm.text(), "02:11:22:33:44:55", "3 packets received")
