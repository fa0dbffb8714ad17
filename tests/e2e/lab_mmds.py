"""The metadata service, asked by Linux: what it answers, and that nobody outside the guest can ask."""

import base64
import hashlib
import json
import re
import select
import socket
import subprocess
import time

import files
from api import Served
from harness import artefact, becomes, equal, holds, test
from lab_net import ETH_P_ALL, GUEST, cmdline, make_tap, pings
from vm import Vm

SERVICE = "169.254.169.254"
SERVICE_MAC = bytes.fromhex("060123456701")
DATA = {"latest": {"meta-data": {"ami-id": "ami-1", "n": 7}}, "text": "0123456789abcdef" * 3000}

# For each file /ask.NAME one connection: its bytes out, what comes back on the console, in letters. @T@ is a token.
SCRIPT = f"""route add -host {SERVICE} dev eth0
ask() {{ nc -w 20 {SERVICE} 80; }}
printf 'PUT /latest/api/token HTTP/1.1\\r\\nX-metadata-token-ttl-seconds: 600\\r\\n\\r\\n' | ask > /tmp/token
token=$(tail -n 1 /tmp/token)
for f in /ask.*; do
	echo "=== ${{f#/ask.}} $(sed "s|@T@|$token|" $f | ask | base64 | tr -d '\\n') ==="
done
wget -q -O - --header "X-metadata-token: $token" http://{SERVICE}/text | md5sum
for i in 1 2 3 4 5 6 7 8; do
	wget -q -O - --header "X-metadata-token: $token" http://{SERVICE}/text | md5sum > /tmp/sum.$i &
done
wait
cat /tmp/sum.* | uniq -c
echo asked
read x
"""

GET = "GET /latest/meta-data/ami-id HTTP/1.1\r\n"
TOKEN = "X-metadata-token: @T@\r\n"
NO_TOKEN = ("No MMDS token provided. Use `X-metadata-token` or `X-aws-ec2-metadata-token` header to specify the "
            "session token.")
# Request, then status and body in version 1 and in version 2.
ASK = {
    "plain": (GET + "\r\n", (200, "ami-1"), (401, NO_TOKEN)),
    "token": (GET + TOKEN + "\r\n", (200, "ami-1"), (200, "ami-1")),
    "bad-token": (GET + "X-aws-ec2-metadata-token: foo\r\n\r\n", (200, "ami-1"), (401, "MMDS token not valid.")),
    "json": (GET + TOKEN + "Accept: application/json\r\n\r\n", (200, '"ami-1"'), (200, '"ami-1"')),
    "keys": ("GET /latest/meta-data/ HTTP/1.1\r\n" + TOKEN + "\r\n", (200, "ami-id\nn"), (200, "ami-id\nn")),
    "nothing": ("GET /none HTTP/1.1\r\n" + TOKEN + "\r\n", *[(404, "Resource not found: /none.")] * 2),
    "number": ("GET /latest/meta-data/n HTTP/1.1\r\n" + TOKEN + "\r\n",
               *[(501, "Cannot retrieve value. The value has an unsupported type.")] * 2),
    "patch": ("PATCH / HTTP/1.1\r\n\r\n", *[(405, "Not allowed HTTP method.")] * 2),
    "body": (GET + TOKEN + "Content-Length: 4\r\n\r\nbody", *[(400, "Invalid request.")] * 2),
}


def answers(text):
    """{name: (status, body)} of what the guest printed."""
    found = {}
    for name, data in re.findall(r"=== (\S+) (\S*) ===", text):
        head, _, body = base64.b64decode(data).decode().partition("\r\n\r\n")
        found[name] = (int(head.split(" ")[1]) if head else 0, body)
    return found


def listen(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    s.bind((name, 0))
    return s


def heard(s, seconds):
    """The frames that come within so long."""
    frames, until = [], time.monotonic() + seconds
    while select.select([s], [], [], max(0, until - time.monotonic()))[0]:
        frames.append(s.recv(65536))
    return frames


def start(t, tap, net, version):
    path = t.file("data.json", json.dumps(DATA).encode())
    contents = {"mmds.sh": SCRIPT.encode()} | {f"ask.{name}": ask[0].encode() for name, ask in ASK.items()}
    initrd = t.file("mmds.cpio", files.initrd_with(artefact("init.cpio"), contents))
    return Vm(t, "run", "--kernel", artefact("small/vmlinux"), "--initrd", initrd, "--net", f"tap={tap}", "--metadata",
              f"{path},version={version}", *cmdline(net), "--", "sh", "/mmds.sh", stdin=subprocess.PIPE)


def stays_inside(ears, address):
    """Frames of the service never leave by the tap, other frames do."""
    equal("pings meanwhile", pings(address), 3)
    frames = heard(ears, 1)
    service = socket.inet_aton(SERVICE)
    holds("other frames at the tap", any(frame[6:12] != SERVICE_MAC for frame in frames))
    equal("frames at the tap with the service's address", [f.hex() for f in frames if service in f[14:54]], [])


def host_gets_no_answer(ears, tap):
    """ARP and TCP from outside that say to come from the service, or to go there."""
    arp = (b"\xff" * 6 + bytes.fromhex("02000000ee01") + bytes.fromhex("08060001080006040001") +
           bytes.fromhex("02000000ee01") + socket.inet_aton(GUEST.format(99)) + bytes(6) + socket.inet_aton(SERVICE))
    ip = bytes.fromhex("45000028000040004006") + b"\0\0" + socket.inet_aton(GUEST.format(99)) + socket.inet_aton(SERVICE)
    total = sum(int.from_bytes(ip[i:i + 2], "big") for i in range(0, 20, 2))
    total = (total & 0xffff) + (total >> 16)
    ip = ip[:10] + (~total & 0xffff).to_bytes(2, "big") + ip[12:]
    syn = SERVICE_MAC + bytes.fromhex("02000000ee01") + b"\x08\0" + ip + bytes.fromhex(
        "03e80050000000010000000050020fff00000000")
    with listen(tap) as s:
        for frame in (arp, syn) * 3:
            s.send(frame)
    heard_back = [f for f in heard(ears, 2) if f[6:12] == SERVICE_MAC]
    equal("answers of the service at the tap", heard_back, [])


@test("lab", "mmds_v1", version="V1", number=0)
@test("lab", "mmds_v2", version="V2", number=1)
def mmds(t, version, number):
    """Every kind of answer, a document of 48 KB, eight at once; and nothing of it outside."""
    tap, net = f"mmds{number}", 40 + number
    make_tap(t, tap, net)
    ears = listen(tap)
    vm = start(t, tap, net, version)
    vm.wait_for("asked")
    came = answers(vm.text())
    for name, (_, *wanted) in ASK.items():
        equal(f"answer to {name}", came.get(name), wanted[number])
    digest = hashlib.md5(DATA["text"].encode()).hexdigest()
    equal("documents that came whole, one and then eight at once",
          re.findall(r"^ *(\d+ )?" + digest + r"  -", vm.text(), re.M), ["", "8 "])
    stays_inside(ears, GUEST.format(net))
    host_gets_no_answer(ears, tap)
    becomes("an answer to a ping afterwards", lambda: pings(GUEST.format(net), 1, 2) == 1, 30)
    vm.send(b"\n")
    vm.ends(0)


TWO_INTERFACES = f"""ifconfig eth1 {GUEST.format(43)} up
route add -host 169.254.7.8 dev eth1
get() {{ wget -q -O - http://169.254.7.8/latest/$1; echo; }}
get a
echo first
read x
get a
get b
read x
route del -host 169.254.7.8 dev eth1
route add -host 169.254.7.8 dev eth0
nc -w 3 169.254.7.8 80 </dev/null || echo nobody
read x
"""


@test("lab")
def mmds_api(t):
    """By the API: on one of two interfaces at an address of its own; data that changes while the guest runs."""
    for number in (42, 43):
        make_tap(t, f"mmds{number}", number)
    vm = Served(t, "--mmds-size-limit", 100, stdin=subprocess.PIPE)
    initrd = t.file("two.cpio", files.initrd_with(artefact("init.cpio"), {"two.sh": TWO_INTERFACES.encode()}))
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": initrd,
                            "boot_args": f"console=ttyS0 {cmdline(42)[1]} -- sh /two.sh"})
    for number, name in enumerate(("first", "second")):
        vm.put(f"/network-interfaces/{name}", {"iface_id": name, "host_dev_name": f"mmds{42 + number}"})
    vm.put("/mmds/config", {"network_interfaces": ["second"], "ipv4_address": "169.254.7.8"})
    equal("data before any was put", vm.get("/mmds"), {})
    vm.refused("PATCH", "/mmds", {"latest": {}}, "MMDS error: The MMDS data store is not initialized.")
    vm.put("/mmds", {"latest": {"a": "one"}})
    vm.start()
    vm.wait_for("one\r\nfirst")
    equal("status of data over the limit", vm.client.call("PATCH", "/mmds", {"latest": {"c": "x" * 100}}).status, 413)
    vm.patch("/mmds", {"latest": {"a": "two", "b": "three"}})
    equal("data", vm.get("/mmds"), {"latest": {"a": "two", "b": "three"}})
    vm.send(b"\n")
    vm.wait_for("two\r\nthree")
    vm.send(b"\n")
    vm.wait_for("nobody")
    vm.send(b"\n")
    vm.ends(0)
