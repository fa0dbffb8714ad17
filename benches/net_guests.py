"""Guests that serve iperf3 and send back bytes, each behind a tap of its own. Used inside the lab."""
import json
import os
import subprocess

import blk_guests
import machines

PORT = 7
MIB = 160


class Place:
    """A monitor's tap and addresses."""

    def __init__(self, number, name):
        self.tap = f"net-{name}"
        self.host, self.guest = f"10.77.{number}.1", f"10.77.{number}.2"
        self.mac = f"02:77:00:00:00:{number:02x}"

    def make(self):
        subprocess.run(["ip", "tuntap", "add", self.tap, "mode", "tap"], check=True)
        subprocess.run(["ip", "addr", "add", f"{self.host}/24", "dev", self.tap], check=True)
        subprocess.run(["ip", "link", "set", self.tap, "up"], check=True)

    def cmdline(self):
        return f"{blk_guests.CMDLINE} ip={self.guest}::{self.host}:255.255.255.0::eth0:off"


def machine(request, place):
    # The sequence passes through two shells' hands as one word each.
    words = ["@cpus", "@@", "sh", "-c", "\"iperf3 -s -D; echo serve: ready\"", "@@", "@net-echo", str(PORT)]
    return {"kernel": request["kernel"], "initrd": request["initrd"], "mib": MIB, "cmdline": place.cmdline(),
            "words": words}


def mayfly(binary, machine_, place):
    plain = dict(machine_, words=[word.strip('"') for word in machine_["words"]],
                 cmdline=machine_["cmdline"] + " pci=off")
    return machines.mayfly(binary, plain, ["--net", f"tap={place.tap},mac={place.mac}"])


def firecracker(binary, machine_, place, config_path):
    command = machines.firecracker(binary, machine_, config_path)
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    config["network-interfaces"] = [{"iface_id": "eth0", "host_dev_name": place.tap, "guest_mac": place.mac}]
    with open(config_path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return command


def qemu(machine_, place):
    return [blk_guests.QEMU, "-M", "microvm,accel=kvm", "-cpu", "host", "-m", str(MIB), "-smp", "1", "-nodefaults",
            "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", machine_["kernel"], "-initrd",
            machine_["initrd"], "-append", machine_["cmdline"] + " -- " + " ".join(machine_["words"]),
            "-netdev", f"tap,id=n,ifname={place.tap},script=no,downscript=no,vhost=off",
            "-device", f"virtio-net-device,netdev=n,mac={place.mac}"]


def commands(request, places):
    """{name: command} of every monitor that is there."""
    result = {"mayfly": mayfly(request["mayfly"], machine(request, places["mayfly"]), places["mayfly"])}
    if request["peer"]:
        config = os.path.join(request["dir"], "net-firecracker.json")
        result["firecracker"] = firecracker(request["peer"], machine(request, places["firecracker"]),
                                            places["firecracker"], config)
    if os.access(blk_guests.QEMU, os.X_OK):
        result["qemu"] = qemu(machine(request, places["qemu"]), places["qemu"])
    return result
