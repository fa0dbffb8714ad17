"""The API beside a Linux guest that works: what changes under its hands, and that nothing is lost by it."""

import hashlib
import json
import os
import re
import socket
import subprocess
import threading
import time

import files
from api import Served
from harness import artefact, becomes, contains, equal, holds, lacks, test
from lab_net import GUEST, HOST, cmdline, make_tap, pings
from vm import Vm

MIB = 1 << 20
BLOCK = 32 << 10

# A shell that does what comes over the console, and says with what status.
SHELL = b"""#!/bin/sh
stty -echo
echo shell
while read -r line; do
	eval "$line"
	echo "status $?"
done
"""


def numbers(size):
    """What the guest makes by `seq`: bytes that are not the same anywhere."""
    text = "".join(f"{number}\n" for number in range(1, size // 6))
    return text[:size].encode()


class Guest(Served):
    """A kernel, the small one as a rule, whose console takes commands, configured by the API alone."""

    def __init__(self, t, *options, boot_args="", mem=256, kernel="small/vmlinux", initrd="init.cpio"):
        super().__init__(t, *options, stdin=subprocess.PIPE)
        initrd = t.file("shell.cpio", files.initrd_with(artefact(initrd), {"shell": SHELL}))
        self.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": mem})
        self.put("/boot-source", {"kernel_image_path": artefact(kernel), "initrd_path": initrd,
                                  "boot_args": f"console=ttyS0 quiet reboot=k panic=-1 {boot_args} -- /shell"})

    def boot(self):
        self.start()
        self.wait_for("shell\r\n")

    def ask(self, line, limit=None):
        """What the guest's shell says to it."""
        start = len(self.out)
        self.send(line.encode() + b"\n")
        self.until(f"an end of {line}", lambda: re.search(rb"status \d+\r\n", self.out[start:]), limit)
        said, status = re.fullmatch(r"(.*)status (\d+)\n", self.out[start:].decode().replace("\r", ""), re.S).groups()
        self.t.log(f"$ {line}\n{said}")
        equal(f"status of {line}", int(status), 0)
        return said

    def seconds(self, line):
        """How long it takes, by the guest's clock."""
        said = self.ask(f"read a b < /proc/uptime; {line}; read c d < /proc/uptime; echo took $a $c")
        begun, ended = re.search(r"took (\S+) (\S+)", said).groups()
        return float(ended) - float(begun)

    def resident_kib(self):
        return int(re.search(r"RssAnon:\s+(\d+)", self.proc("status"))[1])


def rate(size, ms):
    return {"bandwidth": {"size": size, "refill_time": ms}}


NO_LIMIT = {"bandwidth": {"size": 0, "refill_time": 0}}


# Drives -----------------------------------------------------------------------------------------------


def swapped_while_written(vm, first, second, data):
    """The guest writes in blocks, in their order, while its drive gets another file: a beginning is in the first,
    the rest in the second, nothing in both."""
    vm.patch("/drives/disk", {"drive_id": "disk", "rate_limiter": rate(MIB, 500)})
    vm.ask("(dd if=/tmp/data of=/dev/vda bs=32k oflag=direct 2>/dev/null && touch /tmp/written) & :")
    becomes("blocks in the first file", lambda: os.stat(first).st_blocks > 3 * MIB // 1024, 60)
    vm.patch("/drives/disk", {"drive_id": "disk", "path_on_host": second})
    vm.patch("/drives/disk", {"drive_id": "disk", "rate_limiter": NO_LIMIT})
    vm.ask("while [ ! -e /tmp/written ]; do sleep 0.1; done; sync")
    blocks = len(data) // BLOCK
    one, two = files.read_at(first, 0, len(data)), files.read_at(second, 0, len(data))
    at = next((i for i in range(blocks) if one[i * BLOCK] == 0), blocks)
    holds("a change in the middle", 0 < at < blocks, at)
    holds("the first file's part as it was written", one == data[:at * BLOCK] + bytes(len(data) - at * BLOCK))
    holds("the second file's part as it was written", two == bytes(at * BLOCK) + data[at * BLOCK:])


def has_capacity(vm, second):
    """The second file is larger, and has something behind the first one's end."""
    size = os.path.getsize(second)
    becomes("the new capacity", lambda: vm.ask("cat /sys/block/vda/size").strip() == str(size // 512), 30)
    tail = files.pattern(65536, 7)
    files.write_at(second, size - 65536, tail)
    said = vm.ask(f"dd if=/dev/vda bs=64k skip={size // 65536 - 1} iflag=direct 2>/dev/null | md5sum")
    contains("the guest's sum", said, hashlib.md5(tail).hexdigest())
    vm.refused("PATCH", "/drives/disk", {"drive_id": "disk", "path_on_host": "/nowhere"}, "No such file")
    contains("the guest's sum afterwards", vm.ask(
        f"dd if=/dev/vda bs=64k skip={size // 65536 - 1} iflag=direct 2>/dev/null | md5sum"), hashlib.md5(tail).hexdigest())


def drive_is_limited(vm):
    """9 MiB at 4 MiB/s, of which the first comes at once. Then nothing waits any more."""
    counter = 'mayfly_block_rate_limiter_throttled_events_total{id="disk"}'
    read = "dd if=/dev/vda of=/dev/null bs=128k count=72 iflag=direct 2>/dev/null"
    vm.patch("/drives/disk", {"drive_id": "disk", "rate_limiter": rate(MIB, 250)})
    limited = vm.seconds(read)
    vm.patch("/drives/disk", {"drive_id": "disk", "rate_limiter": NO_LIMIT})
    waited = prometheus(vm)[counter]
    vm.t.log(f"9 MiB read in {limited} s, without a limit in {vm.seconds(read)} s")
    holds("2 s with the limit", limited >= 1.9, limited)
    equal("requests that waited without a limit", prometheus(vm)[counter], waited)


@test("lab")
def api_drives_change(t):
    data = numbers(4 * MIB)
    first, second = t.file("first", size=8 * MIB), t.file("second", size=12 * MIB)
    metrics, log = t.file("metrics"), t.file("log")
    vm = Guest(t)
    vm.put("/drives/disk", {"drive_id": "disk", "is_root_device": False, "path_on_host": first})
    vm.put("/metrics", {"metrics_path": metrics})
    vm.put("/logger", {"log_path": log, "level": "Info"})
    vm.boot()
    contains("the guest's sum", vm.ask(f"seq 1 {len(data) // 6} | head -c {len(data)} > /tmp/data; md5sum < /tmp/data"),
             hashlib.md5(data).hexdigest())
    before = counts(vm, metrics)
    swapped_while_written(vm, first, second, data)
    has_capacity(vm, second)
    drive_is_limited(vm)
    counted(vm, before, counts(vm, metrics), len(data))
    contains("the log", open(log, encoding="utf-8").read(), "drive.patch")
    vm.put("/actions", {"action_type": "SendCtrlAltDel"})
    vm.ends(0)


# Metrics ----------------------------------------------------------------------------------------------


def prometheus(vm):
    """{name with labels: value}; each line is what the format has."""
    answer = vm.ok("GET", "/metrics/prometheus")
    contains("content type", answer.header("Content-Type"), "application/openmetrics-text")
    found = {}
    for line in answer.body.splitlines():
        if line.startswith("#"):
            holds("a comment of the format", re.match(r"# (HELP|TYPE|UNIT) [a-zA-Z_:]\S* |# EOF$", line), line)
        else:
            name, value = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*(?:\{[^{}]*\})?) (\S+)", line).groups()
            found[name] = float(value)
    return found


def counts(vm, path):
    """What the file says of the drive, added up, and what the text says."""
    vm.put("/actions", {"action_type": "FlushMetrics"})
    with open(path, encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    total = {key: sum(line["block_disk"][key] for line in lines) for key in ("write_bytes", "read_bytes", "update_count")}
    for kind in ("read", "write"):
        times = [line["block_disk"][f"{kind}_agg"] for line in lines]
        holds(f"times of a {kind}", all(one["min_us"] <= one["max_us"] for one in times), times)
        total[f"{kind}_us"] = sum(one["sum_us"] for one in times)
    return total, prometheus(vm)


def counted(vm, before, after, written):
    (one, first), (two, second) = before, after
    holds("bytes written to the drive in the file", two["write_bytes"] - one["write_bytes"] == written, (one, two))
    holds("bytes read in the file", two["read_bytes"] - one["read_bytes"] >= 18 * MIB, (one, two))
    holds("the time of reads and writes", all(two[key] > one[key] for key in ("read_us", "write_us")), (one, two))
    equal("updates in the file", two["update_count"] - one["update_count"], 5)
    name = next((name for name in second if "write_bytes" in name and "disk" in name), None)
    holds("bytes written in the text", name and second[name] - first[name] == written, name)
    lower = [name for name in first if name.endswith("_total") and second[name] < first[name]]
    equal("counters that fell", lower, [])


# Interfaces -------------------------------------------------------------------------------------------


class Receiver(threading.Thread):
    """Takes what a guest sends to a port of the host's."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.listener = socket.create_server((address, 0))
        self.port = self.listener.getsockname()[1]
        self.data = b""

    def run(self):
        connection, _ = self.listener.accept()
        while part := connection.recv(MIB):
            self.data += part


def sent(vm, net, data):
    receiver = Receiver(HOST.format(net))
    receiver.start()
    vm.ask(f"head -c {len(data)} /tmp/data | nc {HOST.format(net)} {receiver.port}")
    receiver.join(60)
    holds("all bytes as they were sent", receiver.data == data, len(receiver.data))


def received(vm, net, data):
    vm.ask("nc -l -p 99 > /tmp/got & sleep 0.5")
    with socket.create_connection((GUEST.format(net), 99), timeout=60) as s:
        s.sendall(data)
    contains("the guest's sum", vm.ask("wait; md5sum < /tmp/got"), hashlib.md5(data).hexdigest())


def interface_is_limited(vm, net, direction, transfer):
    """512 KiB at 128 KiB/s, of which the first 128 come at once: 3 s. Then nothing waits any more."""
    counter = f'mayfly_net_{direction}_rate_limiter_throttled_total{{id="net0"}}'
    vm.patch("/network-interfaces/net0", {"iface_id": "net0", f"{direction}_rate_limiter": rate(MIB // 8, 1000)})
    begun = time.monotonic()
    transfer(vm, net, numbers(MIB // 2))
    took = time.monotonic() - begun
    holds("3 s with the limit", took >= 2.9, took)
    vm.patch("/network-interfaces/net0", {"iface_id": "net0", f"{direction}_rate_limiter": NO_LIMIT})
    waited = prometheus(vm)[counter]
    holds("frames that waited", waited > 0)
    transfer(vm, net, numbers(MIB))
    equal("frames that waited without a limit", prometheus(vm)[counter], waited)


def paused_under_load(vm, net, image):
    """Pauses in the middle of a transfer and of writes: nothing moves, then all of it arrives."""
    vm.patch("/network-interfaces/net0", {"iface_id": "net0", "tx_rate_limiter": rate(MIB // 8, 250)})
    vm.patch("/drives/disk", {"drive_id": "disk", "rate_limiter": rate(MIB // 8, 250)})
    receiver = Receiver(HOST.format(net))
    receiver.start()
    vm.ask(f"(nc {HOST.format(net)} {receiver.port} < /tmp/data; touch /tmp/sent) & "
           "(dd if=/tmp/data of=/dev/vda bs=32k oflag=direct 2>/dev/null; touch /tmp/written) & :")
    becomes("the first bytes at the host", lambda: len(receiver.data) > MIB // 8, 60)
    for _ in range(3):
        vm.patch("/vm", {"state": "Paused"})
        equal("state", vm.get("/")["state"], "Paused")
        time.sleep(0.5)  # what had left the guest
        before = len(receiver.data), files.read_at(image, 0, 2 * MIB)
        equal("pings of a paused guest", pings(GUEST.format(net), 1, 1), 0)
        holds("nothing moving in a pause", before == (len(receiver.data), files.read_at(image, 0, 2 * MIB)))
        vm.patch("/vm", {"state": "Resumed"})
        time.sleep(0.3)
    vm.patch("/network-interfaces/net0", {"iface_id": "net0", "tx_rate_limiter": NO_LIMIT})
    vm.patch("/drives/disk", {"drive_id": "disk", "rate_limiter": NO_LIMIT})
    vm.ask("while [ ! -e /tmp/sent ] || [ ! -e /tmp/written ]; do sleep 0.1; done")
    receiver.join(60)
    holds("what was sent", receiver.data == numbers(2 * MIB), len(receiver.data))
    holds("what was written", files.read_at(image, 0, 2 * MIB) == numbers(2 * MIB))


# The balloon ------------------------------------------------------------------------------------------


TOUCH = "dd if=/dev/zero of=/tmp/big bs=1M count=120 2>/dev/null; rm /tmp/big"


def balloon_moves(vm):
    vm.ask(TOUCH)
    before = vm.resident_kib()
    vm.patch("/balloon", {"amount_mib": 120})
    becomes("an inflated balloon", lambda: vm.get("/balloon/statistics")["actual_mib"] == 120, 60)
    inflated = vm.resident_kib()
    holds("90 MiB less resident", inflated < before - (90 << 10), (before, inflated))
    vm.patch("/balloon", {"amount_mib": 0})
    becomes("a deflated balloon", lambda: vm.get("/balloon/statistics")["actual_mib"] == 0, 60)
    vm.ask(TOUCH)
    holds("60 MiB more resident", vm.resident_kib() > inflated + (60 << 10), vm.resident_kib())
    vm.refused("PATCH", "/balloon", {"amount_mib": 10000}, "too large")


def statistics_come(vm):
    """None while the interval is an hour; then every second."""
    vm.patch("/balloon/statistics", {"stats_polling_interval_s": 3600})
    equal("the interval", vm.get("/balloon")["stats_polling_interval_s"], 3600)
    free = vm.get("/balloon/statistics")["free_memory"]
    vm.ask("dd if=/dev/zero of=/tmp/big bs=1M count=60 2>/dev/null; sleep 1.2")
    equal("free memory as it was", vm.get("/balloon/statistics")["free_memory"], free)
    vm.patch("/balloon/statistics", {"stats_polling_interval_s": 1})
    becomes("other figures", lambda: vm.get("/balloon/statistics")["free_memory"] != free, 20)
    vm.ask("rm /tmp/big")
    vm.refused("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 0}, "cannot be enabled/disabled")


def pages_are_hinted(vm):
    before = vm.resident_kib()
    vm.patch("/balloon/hinting/start", {"acknowledge_on_stop": True})
    becomes("the end of a run", lambda: vm.get("/balloon/hinting/status") == {"host_cmd": 1, "guest_cmd": 0}, 60)
    holds("60 MiB given back", vm.resident_kib() < before - (60 << 10), (before, vm.resident_kib()))
    vm.ask(TOUCH)
    before = vm.resident_kib()
    vm.patch("/balloon/hinting/start", {"acknowledge_on_stop": False})
    becomes("60 MiB given back", lambda: vm.resident_kib() < before - (60 << 10), 60)
    holds("a run that we did not end", vm.get("/balloon/hinting/status")["host_cmd"] > 1)
    vm.patch("/balloon/hinting/stop", {})
    equal("the end of it", vm.get("/balloon/hinting/status")["host_cmd"], 1)


# Metadata ---------------------------------------------------------------------------------------------


def metadata_with_tokens(vm):
    """Version 2: nothing without a token, nothing with one of a length of life that is past."""
    get = "wget -q -O - http://169.254.169.254/latest/a"
    vm.put("/mmds", {"latest": {"a": "metadata one"}})
    vm.ask("route add -host 169.254.169.254 dev eth0")
    lacks("an answer without a token", vm.ask(f"{get} 2>&1; :"), "metadata")
    vm.ask("token() { printf 'PUT /latest/api/token HTTP/1.1\\r\\nX-metadata-token-ttl-seconds: %d\\r\\n\\r\\n' $1 | "
           "nc -w 20 169.254.169.254 80 | tail -n 1; }; long=$(token 600); short=$(token 1)")
    with_token = f"{get} --header \"X-metadata-token: $%s\" 2>&1; :"
    contains("the answer", vm.ask(with_token % "long"), "metadata one")
    vm.patch("/mmds", {"latest": {"a": "metadata two"}})
    contains("the answer", vm.ask(with_token % "long"), "metadata two")
    lacks("an answer to a token that is past", vm.ask("sleep 1.5; " + with_token % "short"), "metadata")


@test("lab")
def api_interfaces_and_balloon_change(t):
    net = 50
    make_tap(t, "api0", net)
    image = t.file("image", size=2 * MIB)
    vm = Guest(t, boot_args=cmdline(net)[1].removeprefix("quiet reboot=k"), mem=320)
    vm.put("/drives/disk", {"drive_id": "disk", "is_root_device": False, "path_on_host": image})
    vm.put("/network-interfaces/net0", {"iface_id": "net0", "host_dev_name": "api0"})
    vm.put("/mmds/config", {"network_interfaces": ["net0"], "version": "V2"})
    vm.put("/balloon", {"amount_mib": 0, "deflate_on_oom": False, "stats_polling_interval_s": 1,
                        "free_page_hinting": True})
    vm.boot()
    vm.ask(f"seq 1 {2 * MIB // 6} | head -c {2 * MIB} > /tmp/data")
    metadata_with_tokens(vm)
    interface_is_limited(vm, net, "tx", sent)
    interface_is_limited(vm, net, "rx", received)
    paused_under_load(vm, net, image)
    balloon_moves(vm)
    statistics_come(vm)
    pages_are_hinted(vm)
    vm.put("/actions", {"action_type": "SendCtrlAltDel"})
    vm.ends(0)


# Persistent memory ------------------------------------------------------------------------------------


@test("lab")
def api_pmem_changes(t):
    """Two flushes a second, then, while one waits, no limit: with Debian's kernel, which has the driver."""
    image, limit = t.file("image", size=4 * MIB), {"ops": {"size": 2, "refill_time": 1000}}
    vm = Guest(t, mem=512, kernel="cloud/vmlinuz", initrd="cloud.cpio")
    vm.put("/pmem/p", {"id": "p", "path_on_host": image, "rate_limiter": limit})
    vm.boot()
    flushes = "for i in $(seq {}); do dd if=/dev/zero of=/dev/pmem0 bs=4k count=1 conv=fsync 2>/dev/null; done"
    took = vm.seconds(flushes.format(6))
    holds("1.9 s or more for six, of which two at once", took >= 1.9, took)
    vm.patch("/pmem/p", {"id": "p", "rate_limiter": {"ops": {"size": 1, "refill_time": 3600000}}})
    vm.ask(f"({flushes.format(3)}; touch /tmp/flushed) & :")
    time.sleep(1)
    equal("flushes that are done", vm.ask("ls /tmp"), "")
    vm.patch("/pmem/p", {"id": "p", "rate_limiter": {"ops": {"size": 0, "refill_time": 0}}})
    vm.ask("while [ ! -e /tmp/flushed ]; do sleep 0.1; done")
    vm.refused("PATCH", "/pmem/q", {"id": "q", "rate_limiter": limit}, "Device not found")
    vm.put("/actions", {"action_type": "SendCtrlAltDel"})
    vm.ends(0)


# What goes elsewhere, or comes from elsewhere ------------------------------------------------------------

ARGS = "console=ttyS0 quiet reboot=k panic=-1 -- @pattern-check /dev/vda 64K 3 @@ @cpus"


def config(image):
    return {"boot-source": {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("init.cpio"),
                            "boot_args": ARGS},
            "machine-config": {"vcpu_count": 2, "mem_size_mib": 128},
            "drives": [{"drive_id": "disk", "is_root_device": False, "path_on_host": image, "is_read_only": True}]}


@test("lab")
def api_config_file(t):
    """Everything in a file, and no socket."""
    path = t.file("vm.json", json.dumps(config(t.file("image", files.pattern(65536, 3), size=MIB))).encode())
    before = set(os.listdir(t.dir))
    vm = Vm(t, "--no-api", "--config-file", path).ends(0)
    equal("files that were made", set(os.listdir(t.dir)) - before, set())
    contains("the serial port's output", vm.text(), "pattern: checked 65536", "cpus: 2")


@test("lab")
def api_serial_port_to_a_file(t):
    with_api = config(t.file("image", files.pattern(65536, 3), size=MIB))
    serial = t.file("serial", b"before\n")
    vm = Served(t)
    vm.put("/serial", {"serial_out_path": serial})
    vm.put("/boot-source", with_api["boot-source"])
    vm.put("/machine-config", with_api["machine-config"])
    vm.put("/drives/disk", with_api["drives"][0])
    vm.start()
    vm.ends(0)
    with open(serial, encoding="utf-8") as file:
        text = file.read()
    holds("what was there", text.startswith("before\n"), text[:100])
    contains("the serial port's output", text, "pattern: checked 65536", "cpus: 2")
    lacks("standard output", vm.text(), "pattern")
