"""--seccomp-filter: policies of the user's own."""

import json
import os
import random

import harness
from harness import contains, test
from vm import payload

BAD_CONFIG, BAD_CALL = 152, 148
POLICY = os.path.join(harness.ROOT, "jailer/policy/mayfly.policy")
SECTIONS = "[control]\n{}\n[io]\n[vcpu]\n"


def firecrackers(default, action, *syscalls):
    """Its JSON, the same for each of its threads."""
    one = {"default_action": default, "filter_action": action, "filter": [{"syscall": name} for name in syscalls]}
    return json.dumps({"vmm": one, "api": one, "vcpu": one})


def tangle():
    """Few rules, which test the arguments of one call this way and that."""
    choose = random.Random(2)
    return ["ioctl " + " and ".join(f"arg{i} {choose.choice(['<=', '=='])} {choose.randrange(1, 6)}"
                                    for i in choose.sample(range(6), choose.randrange(2, 7))) + " # for the test"
            for _ in range(16)]


@test("native")
def seccomp_file_is_used(t):
    """The policy that is built in, as a file; then without a call that the guest's output needs."""
    payload(t, "byte", "--seccomp-filter", POLICY).ends(0)
    with open(POLICY) as file:
        lines = [line for line in file if not line.startswith("pwritev2")]
    path = t.file("policy", "".join(lines).encode())
    vm = payload(t, "byte", "--seccomp-filter", path).ends(BAD_CALL)
    contains("message", vm.errors(), "thread fc_vcpu 0: the system call pwritev2 (", "is forbidden here")


@test("native")
def seccomp_file_of_firecracker(t):
    payload(t, "byte", "--seccomp-filter", t.file("all", firecrackers("allow", "trap").encode())).ends(0)
    path = t.file("some", firecrackers("allow", "trap", "pwritev2").encode())
    contains("message", payload(t, "byte", "--seccomp-filter", path).ends(BAD_CALL).errors(), "pwritev2")


@test("native", "seccomp-file-compiled", content=b"\x03\0\0\0vmm\0\1\2", words=["compiled filters are not taken"])
@test("native", "seccomp-file-unknown-call", content=SECTIONS.format("openx # x").encode(), words=[":2:", "openx"])
@test("native", "seccomp-file-without-a-reason", content=SECTIONS.format("read").encode(), words=[":2:", "reason"])
@test("native", "seccomp-file-tangled", content=SECTIONS.format("\n".join(tangle())).encode(), words=["too many ways"])
@test("native", "seccomp-file-missing", content=None, words=["cannot open"])
def seccomp_file_refused(t, content, words):
    path = t.file("policy", content) if content else t.path("policy")
    contains("message", payload(t, "byte", "--seccomp-filter", path).ends(BAD_CONFIG).errors(), *words)
