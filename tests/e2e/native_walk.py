"""Anything in any order: requests by chance, of both front ends; then a guest starts, or goes on, as ever."""

import base64
import os
import random

from api import Served
from harness import artefact, equal, holds, test
from native_api import configure
from native_console import Console
from rpc import Refused, Rpc

SETS = [("machine-config", "vcpu_count mem_size_mib smt"), ("boot-source", "kernel_image_path boot_args"),
        ("drives/a", "drive_id is_root_device path_on_host rate_limiter"), ("pmem/p", "id path_on_host read_only"),
        ("network-interfaces/n", "iface_id host_dev_name"), ("vsock", "guest_cid uds_path"),
        ("balloon", "amount_mib deflate_on_oom stats_polling_interval_s"), ("entropy", "rate_limiter"),
        ("balloon/statistics", "stats_polling_interval_s"), ("vm", "state"), ("logger", "level"), ("vm/config", ""),
        ("mmds", "state"), ("mmds/config", "network_interfaces version"), ("actions", "action_type"), ("", ""),
        ("snapshot/create", "snapshot_path mem_file_path"), ("snapshot/load", "snapshot_path mem_file_path"),
        ("cpu-config", "cpuid_modifiers"), ("hotplug/memory", "total_size_mib"), ("metrics/prometheus", ""),
        ("balloon/hinting/start", ""), ("balloon/hinting/status", ""), ("version", ""), ("serial", "")]
ODD = [None, 0, -1, 1 << 40, "", "x", [], {}, True, 1.5, "Resumed", "InstanceStart", "SendCtrlAltDel"]
DIRE = {"snapshot.load", "snapshot.restore", "snapshot.prepare"}  # their failure ends the process, or success is for good


class Walk:
    def __init__(self, t, seed, kernel="spin"):
        self.t, self.chance = t, random.Random(seed)
        self.fields = {
            "drive_id": "a", "iface_id": "n", "id": "p", "is_root_device": True, "path_on_host": t.file("disk", size=1 << 20),
            "vcpu_count": 1, "mem_size_mib": 64, "kernel_image_path": artefact(f"payload/{kernel}.elf"), "amount_mib": 0,
            "deflate_on_oom": True, "guest_cid": 3, "uds_path": t.path("v"), "state": "Paused", "level": "Off", "smt": False,
            "stats_polling_interval_s": 1, "rate_limiter": {}, "network_interfaces": ["n"], "version": "V2",
            "snapshot_path": t.path("s"), "mem_file_path": t.path("m"), "host_dev_name": "t0", "boot_args": "x",
            "action_type": "FlushMetrics", "cpuid_modifiers": [], "total_size_mib": 128, "read_only": False,
            "events": ["vm.state"], "text": "a", "serial_out_path": t.path("serial"), "log_path": t.path("log"),
            "metrics_path": t.path("metrics"), "initrd_path": t.path("none")}

    def http(self):
        """Method, path and body."""
        path, names = self.chance.choice(SETS)
        body = {name: self.fields[name] for name in names.split()}
        for _ in range(self.chance.choice([0, 0, 0, 1, 2])):
            name = self.chance.choice(list(self.fields))
            body[name] = self.odd(name)
        return self.chance.choice(["GET", "PUT", "PUT", "PUT", "PATCH", "PATCH", "DELETE"]), path, body

    def odd(self, name):
        value = self.chance.choice(ODD)
        return self.t.path("odd") if "path" in name and isinstance(value, str) else value

    def rpc(self, methods):
        """Method and fields; a path may be a descriptor."""
        method = self.chance.choice(methods)
        params = {}
        for field in method["fields"]:
            name = field["name"]
            if "." in name or "[" in name or self.chance.random() < (0 if field["required"] else 0.6):
                continue
            params[name] = self.fields.get(name) if self.chance.random() < 0.8 and name in self.fields else self.odd(name)
            if "fd" in field["type"] and self.chance.random() < 0.2:
                params[name] = {"fd": self.chance.choice([0, 0, 1, -1])}
        return method["name"], params


@test("native", limit=180)
def api_random_walk(t):
    """10,000 requests of every kind, starts among them; then a guest starts as ever."""
    walk = Walk(t, 12)
    vm = Served(t)
    seen = set()
    for number in range(10000):
        method, path, body = walk.http()
        if path == "network-interfaces/n" and "host_dev_name" in body:
            body["host_dev_name"] = "t%d" % number  # never to be opened: a start fails by it, and is tried again
        if path == "snapshot/load" and method == "PUT" and number < 9990:
            continue
        answer = vm.client.call(method, "/" + path, body if method in ("PUT", "PATCH") else None)
        seen.add(answer.status)
        holds("an answer that there is", answer.status in (200, 204, 400, 413), str(answer))
    holds("both kinds of answers", {200, 204, 400} <= seen, str(seen))
    vm.get("/")
    vm.end()
    again = Served(t, name="again.sock")
    configure(again, t, "byte")
    again.start()
    again.ends(0)


def mixed_steps(t, vm, walk, rpc, count, started):
    """So many requests by both front ends; how many of each kind of answer came."""
    methods = [method for method in rpc.call("methods") if method["name"] != "vm.stop"]
    seen = {"done": 0, "refused": 0}
    disk = os.open(t.path("disk"), os.O_RDWR)
    for _ in range(count):
        if walk.chance.random() < 0.5:
            method, path, body = walk.http()
            if not started and ("InstanceStart" in body.values() or path.startswith(("snapshot", "network"))):
                continue
            answer = vm.client.call(method, "/" + path, body if method in ("PUT", "PATCH") else None)
            holds("an answer that there is", answer.status in (200, 204, 400, 413), str(answer))
            seen["refused" if answer.status >= 400 else "done"] += 1
            continue
        name, params = walk.rpc(methods)
        if not started and (name in DIRE or "InstanceStart" in params.values() or name == "net.put"):
            continue
        number = rpc.send(name, [disk] * walk.chance.choice([0, 0, 1, 2]), **params)
        try:
            if name != "events.wait":
                rpc.answer(number)
            seen["done"] += 1
        except Refused:
            seen["refused"] += 1
        rpc.events.clear()
    os.close(disk)
    t.log(str(seen))
    holds("both kinds of answers", min(seen.values()) > count // 20, str(seen))


@test("native", limit=180)
def mixed_random_walk(t):
    """10,000 requests by both front ends to one process: half of them before its start, half of them after it."""
    walk = Walk(t, 13, "echo")
    vm = Served(t, stdin="null")
    rpc = Rpc(vm.path)
    mixed_steps(t, vm, walk, rpc, 5000, False)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": 64, "smt": False, "huge_pages": "None"})
    vm.put("/boot-source", {"kernel_image_path": walk.fields["kernel_image_path"]})
    vm.put("/balloon", {"amount_mib": 0, "deflate_on_oom": True})
    vm.put("/serial", {})
    console = Console(vm)
    vm.start()
    console.hears(b"S")
    mixed_steps(t, vm, walk, rpc, 5000, True)
    vm.patch("/vm", {"state": "Resumed"})
    console.rpc.call("console.write", data=base64.b64encode(b"still here").decode())
    console.hears(b"still here")
    equal("state", rpc.call("vm.info")["state"], "Running")
    rpc.call("vm.stop")
    vm.ends(0)
