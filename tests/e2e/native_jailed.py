"""The monitor itself in a jail, by its API."""

import os
import subprocess

import harness
from api import Client
from harness import becomes, contains, equal, lacks, test
from jails import Jail
from native_taps import Tap
from rpc import Rpc

MAC = "mac=02:00:00:00:00:01"
NONE = "the jailer set no policy for the tap {}:"


class Monitor:
    """`mayfly` behind the jailer, with a client connected."""

    def __init__(self, t, *options):
        self.jail = Jail(t, program=harness.PROGRAM)
        self.err = open(t.path("messages"), "w+")
        t.cleanups.append(self.err.close)
        self.process = subprocess.Popen(self.jail.command("--api-sock", "/run/api.sock", options=options),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.err)
        t.cleanups.append(lambda: (self.process.kill(), self.process.wait()))
        self.path = f"{self.jail.root}/run/api.sock"
        becomes("an API socket", lambda: os.path.exists(self.path) or self.process.poll() is not None)
        self.client = Client(self.path)

    def put_net(self, name, tap):
        answer = self.client.call("PUT", f"/network-interfaces/{name}", {"iface_id": name, "host_dev_name": tap})
        equal(f"status of {name}", answer.status, 204)
        return answer.header("Warning")

    def messages(self):
        self.err.seek(0)
        return self.err.read()


@test("native")
def jailed_tap_without_policy(t):
    """It is said in the log and in the answer of whichever call names it."""
    tap = Tap(t)
    monitor = Monitor(t, "--tap", f"{tap.name},{MAC}")
    equal("a warning of a tap with a policy", monitor.put_net("eth0", tap.name), None)
    equal("a warning of another", monitor.put_net("eth1", "tap1"), '199 mayfly "the tap tap1 has no policy"')
    contains("log", monitor.messages(), NONE.format("tap1"))
    equal("a warning of a name that begins alike", monitor.put_net("eth2", "tap"),
          '199 mayfly "the tap tap has no policy"')
    rpc = Rpc(monitor.path)
    equal("MessagePack-RPC", rpc.call("net.put", iface_id="eth3", host_dev_name="tap3"),
          {"warning": "the tap tap3 has no policy"})
    equal("one with a policy there", rpc.call("net.put", iface_id="eth0", host_dev_name=tap.name), None)
    lacks("log", monitor.messages(), NONE.format(tap.name))


@test("native")
def jailed_tap_by_descriptor(t):
    """It is the tap that counts, not how it came."""
    tap = Tap(t)
    without = Monitor(t)
    equal("without a policy", Rpc(without.path).call("net.put", (tap.fd,), iface_id="eth0", host_dev_name={"fd": 0}),
          {"warning": f"the tap {tap.name} has no policy"})
    monitor = Monitor(t, "--tap", f"{tap.name},{MAC}")
    equal("with one", Rpc(monitor.path).call("net.put", (tap.fd,), iface_id="eth0", host_dev_name={"fd": 0}), None)


@test("native")
def unjailed_tap_needs_no_policy(t):
    """Who starts a monitor without a jailer has chosen to do without policies."""
    process = subprocess.Popen([harness.PROGRAM, "--api-sock", t.path("s")], stderr=subprocess.PIPE,
                               stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True)
    t.cleanups.append(lambda: (process.kill(), process.wait()))
    becomes("an API socket", lambda: os.path.exists(t.path("s")))
    answer = Client(t.path("s")).call("PUT", "/network-interfaces/a", {"iface_id": "a", "host_dev_name": "tap0"})
    equal("warning", (answer.status, answer.header("Warning")), (204, None))
    process.terminate()
    lacks("messages", process.communicate()[1], "policy")
