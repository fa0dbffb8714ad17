"""A client that asks a prepared process for loads that cannot be, in every way: it is as before after each, and leaks nothing."""

import os
import random
import socket
import subprocess
import time

from api import Client, Served
from harness import Failure, contains, equal, holds, test
from native_snapshot import load_body, need_kvm, waiting_kernel
from native_snapshot_devices import own_network
from native_snapshot_hostile import read_state, write_state
from native_snapshot_identity import opened, save_and_leave

ROUNDS = 300


def ask_for_many(t, vm, vsock="vsock"):
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 64})
    for name in ("a", "b"):
        vm.put(f"/drives/{name}", {"drive_id": name, "is_root_device": False, "path_on_host": t.path(f"disk-{name}")})
        vm.put(f"/pmem/{name}", {"id": name, "path_on_host": t.path(f"pmem-{name}")})
    for number in range(2):
        vm.put(f"/network-interfaces/eth{number}", {"iface_id": f"eth{number}", "host_dev_name": f"tap{number}"})
    vm.put("/mmds/config", {"version": "V2", "network_interfaces": ["eth0"]})
    vm.put("/vsock", {"guest_cid": 33, "uds_path": t.path(vsock)})
    vm.put("/balloon", {"amount_mib": 5, "deflate_on_oom": True, "stats_polling_interval_s": 1})
    vm.put("/entropy", {})


def files(t):
    for name in ("a", "b", "c"):
        t.file(f"disk-{name}", size=1 << 20)
        t.file(f"pmem-{name}", b"x" * (2 << 20))
    t.file("long", b"x" * (3 << 20))


def saved(t):
    need_kvm()
    own_network()
    subprocess.run(["ip", "tuntap", "add", "tap2", "mode", "tap"], check=True)
    files(t)
    vm = Served(t)
    ask_for_many(t, vm)
    save_and_leave(t, vm)
    bodies = read_state(t)
    next(fields for name, _, _, fields in bodies if name == "vmclock")["gpa"] = 0xfffff000
    write_state(t, bodies, "spoilt")


def prepared(t, name):
    vm = Served(t, name=name)
    ask_for_many(t, vm, vsock="shape")
    vm.put("/snapshot/prepare", {})
    return vm


class Mischief:
    """Loads, each with one thing in it that cannot be, among others that can."""

    def __init__(self, t):
        self.t = t
        self.random = random.Random()
        self.seed = os.urandom(8).hex()
        self.random.seed(self.seed)
        t.log(f"seed {self.seed}")
        self.fds = [os.open(t.path("disk-c"), os.O_RDWR), os.open(t.path("memory"), os.O_RDONLY), os.open("/dev/null", os.O_RDWR),
                    os.open(t.path("state"), os.O_RDONLY), os.memfd_create("empty"), *(s.detach() for s in socket.socketpair())]
        t.cleanups.append(lambda: [os.close(fd) for fd in self.fds])

    def file(self, *names):
        """By a name, or by a number of what comes along."""
        if self.random.random() < 0.5:
            return self.random.choice(names)
        return {"fd": self.random.randrange(len(self.fds))}

    def overrides(self):
        path, some = self.t.path, {}
        for key, make in (
                ("drive_overrides", lambda: [{"drive_id": name, "path_on_host": self.file(path("disk-c"), path("disk-a"))}
                                             for name in self.random.sample("ab", self.random.randint(1, 2))]),
                ("pmem_overrides", lambda: [{"id": name, "path_on_host": self.file(path("pmem-c"), path("pmem-a"))}
                                            for name in self.random.sample("ab", self.random.randint(1, 2))]),
                ("network_overrides", lambda: [{"iface_id": f"eth{number}", "host_dev_name": self.file("tap0", "tap1", "tap2")}
                                               for number in self.random.sample((0, 1), self.random.randint(1, 2))]),
                ("vsock_override", lambda: {"uds_path": path("elsewhere"), "guest_cid": 77}),
                ("serial_override", lambda: {"serial_out_path": self.file(path("output"))}),
                ("mmds", lambda: {"who": "a clone"}), ("track_dirty_pages", lambda: True), ("huge_pages", lambda: "Transparent")):
            if self.random.random() < 0.4:
                some[key] = make()
        return some

    def impossible(self, body):
        path = self.t.path
        backend = body["mem_backend"]
        if self.random.random() < 0.5:  # all of it is taken up, and put back
            return {**body, "snapshot_path": path("spoilt")}
        for key, wrong in self.random.choice((
                [("snapshot_path", path("none"))], [("snapshot_path", path("memory"))], [("snapshot_path", {"fd": 2})],
                [("snapshot_path", {"fd": 99})], [("snapshot_path", 5)], [("snapshot_path", "")], [("resume_vm", "yes")],
                [("mem_backend", {**backend, "backend_path": path("state")})], [("mem_backend", {**backend, "backend_path": {"fd": 4}})],
                [("mem_backend", {**backend, "backend_path": {"fd": 2}})], [("mem_backend", {**backend, "backend_path": path("none")})],
                [("mem_backend", {"backend_type": "Uffd", "backend_path": path("none")})], [("mem_backend", {**backend, "x": 1})],
                [("mem_backend", {"backend_type": "Uffd", "backend_path": {"fd": self.random.randrange(6)}, "timeout_ms": 20})],
                [("mem_file_path", path("memory"))], [("huge_pages", "3M")], [("unknown", 1)],
                [("drive_overrides", [{"drive_id": "c", "path_on_host": path("disk-c")}])],
                [("drive_overrides", [{"drive_id": "a", "path_on_host": path("disk-c")}] * 2)],
                [("drive_overrides", [{"drive_id": "b", "path_on_host": path("none")}])],
                [("pmem_overrides", [{"id": "b", "path_on_host": path("long")}])],
                [("pmem_overrides", [{"id": "a", "path_on_host": path("pmem-c")}, {"id": "b", "path_on_host": {"fd": 2}}])],
                [("network_overrides", [{"iface_id": "eth0", "host_dev_name": "tap1"}])],
                [("network_overrides", [{"iface_id": "eth0", "host_dev_name": "tap1"}, {"iface_id": "eth1", "host_dev_name": {"fd": 0}}])],
                [("network_overrides", [{"iface_id": "eth0", "guest_mac": "01:00:00:00:00:00"}])],
                [("vsock_override", {"uds_path": path("state")})], [("vsock_override", {"uds_path": "x" * 97})],
                [("vsock_override", {"uds_path": path("elsewhere"), "guest_cid": 1})],
                [("serial_override", {"serial_out_path": path("no/such")})])):
            body[key] = wrong
        return body


def ask_wrongly(vm, mischief):
    """Over a connection of its own, which now and then does not wait for the answer."""
    body = mischief.impossible(load_body(mischief.t, resume_vm=False, **mischief.overrides()))
    mischief.t.log(str(body))
    client = Client(vm.path, 60)
    try:
        if mischief.random.random() < 0.1:
            client.socket.settimeout(0.001)
        return body, client.call("PUT", "/snapshot/load", body, mischief.fds)
    except TimeoutError:
        return body, None
    finally:
        client.socket.close()


def private_kib(vm):
    return next(int(line.split()[1]) for line in vm.proc("status").splitlines() if line.startswith("RssAnon:"))


@test("native", limit=240)
def snapshot_prepared_and_asked_for_the_impossible(t):
    saved(t)
    mischief = Mischief(t)
    vm = prepared(t, "prepared.sock")
    before, threads, kib = sorted(opened(vm)), vm.thread_names(), None
    for number in range(ROUNDS):
        body, answer = ask_wrongly(vm, mischief)
        t.log(f"{answer}")
        if answer and answer.status != 400:
            raise Failure(f"a refusal of {body}, seed {mischief.seed}", answer)
        equal("state", vm.get("/")["state"], "Not started")
        until = time.monotonic() + 10  # of a client that has gone its connection goes when the loop hears of it
        while (now := sorted(opened(vm))) != before and time.monotonic() < until:
            time.sleep(0.01)
        if now != before:
            raise Failure(f"the files of before after {body}, seed {mischief.seed}",
                          [name for name in now if now.count(name) > before.count(name)])
        equal("threads", vm.thread_names(), threads)
        if number == ROUNDS // 3:
            kib = private_kib(vm)
    holds("no more memory", private_kib(vm) < kib + 256, f"{kib} KiB, then {private_kib(vm)} KiB")
    vm.put("/snapshot/load", load_body(t))
    contains("output", vm.ends(0).text(), "R")


@test("native")
def snapshot_prepared_and_asked_for_something_else(t):
    """Nothing but a load, and what is allowed at any time: neither a start, nor another shape."""
    saved(t)
    vm = prepared(t, "prepared.sock")
    shape, before = vm.get("/vm/config"), sorted(opened(vm))
    for method, path, body in (
            ("PUT", "/snapshot/prepare", {}), ("PUT", "/actions", {"action_type": "InstanceStart"}),
            ("PUT", "/boot-source", {"kernel_image_path": waiting_kernel(t)}), ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64}),
            ("PATCH", "/machine-config", {"vcpu_count": 1}), ("PUT", "/drives/c", {"drive_id": "c", "is_root_device": False, "path_on_host": t.path("disk-c")}),
            ("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": t.path("disk-c")}), ("PATCH", "/vm", {"state": "Paused"}),
            ("PATCH", "/vm", {"state": "Resumed"}), ("PATCH", "/balloon", {"amount_mib": 6}), ("PUT", "/entropy", {}),
            ("PUT", "/vsock", {"guest_cid": 3, "uds_path": t.path("elsewhere")}),
            ("PUT", "/network-interfaces/eth2", {"iface_id": "eth2", "host_dev_name": "tap2"}),
            ("PATCH", "/network-interfaces/eth0", {"iface_id": "eth0", "rx_rate_limiter": {"ops": {"size": 1, "refill_time": 1}}}),
            ("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m")}),
            ("PUT", "/actions", {"action_type": "SendCtrlAltDel"})):
        answer = vm.client.call(method, path, body)
        equal(f"status of {method} {path}", answer.status, 400)
    equal("its shape", vm.get("/vm/config"), shape)
    equal("open files", sorted(opened(vm)), before)
    vm.put("/snapshot/load", load_body(t))
    contains("output", vm.ends(0).text(), "R")
