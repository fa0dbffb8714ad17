"""How the process ends when it is driven as Firecracker is: with Firecracker's exit statuses."""

import json
import os
import signal
import subprocess

from api import Served
from harness import MAYFLY, ROOT, Skip, artefact, equal, holds, test

PEER = os.environ.get("PEER_FIRECRACKER", os.path.join(ROOT, "../shared/peers/firecracker"))

FAILURE, BAD_LEVEL, BAD_ARGUMENTS = 1, 152, 153
PANIC = -signal.SIGABRT  # Firecracker's, where it expects what may not be: we have a status of our own there


def configuration(t, name, **more):
    whole = {"boot-source": {"kernel_image_path": artefact("payload/byte.elf")},
             "drives": [{"drive_id": "root-fs", "is_root_device": True, "path_on_host": t.file("disk", size=1 << 20)}],
             "machine-config": {"vcpu_count": 1, "mem_size_mib": 128}, **more}
    return ["--config-file", t.file(name, json.dumps(whole).encode()), "--no-api"]


def words(text):
    return lambda t: text.format(DIR=t.dir).split()


def file(option, content, *more):
    return lambda t: [*more, option, t.file("content", content), "--api-sock", t.path("s")]


def config(**more):
    return lambda t: configuration(t, "config", **{key.replace("_", "-"): value for key, value in more.items()})


def with_path(option, path):
    return lambda t: [option, path.format(DIR=t.dir), "--api-sock", t.path("s")]


BOOT, DRIVE = {"kernel_image_path": "/nonexistent"}, {"drive_id": "a", "is_root_device": True, "path_on_host": "/nonexistent"}

# What is on the command line, how Firecracker ends, and how we do where that is another way.
CASES = {
    "a-guest-that-resets": (config(), 0),
    "no-such-file": (with_path("--config-file", "/nonexistent"), PANIC, FAILURE),
    "a-folder": (with_path("--config-file", "{DIR}"), PANIC, FAILURE),
    "no-json": (file("--config-file", b"nothing"), FAILURE),
    "a-list": (file("--config-file", b"[]"), FAILURE),
    "an-empty-object": (file("--config-file", b"{}"), FAILURE),
    "unknown-section": (config(foo=1), 0),
    "unknown-field": (config(boot_source={**BOOT, "foo": 1}), FAILURE),
    "no-vcpu": (config(machine_config={"vcpu_count": 0, "mem_size_mib": 128}), FAILURE),
    "too-much-memory": (config(machine_config={"vcpu_count": 1, "mem_size_mib": 1 << 36}), FAILURE),
    "no-kernel": (config(boot_source=BOOT), FAILURE),
    "a-kernel-that-is-none": (lambda t: configuration(t, "config", **{
        "boot-source": {"kernel_image_path": t.file("kernel", b"nothing" * 100)}}), FAILURE),
    "no-drive": (config(drives=[DRIVE]), FAILURE),
    "no-tap": (config(network_interfaces=[{"iface_id": "n", "host_dev_name": "x" * 20}]), FAILURE),
    "no-folder-for-vsock": (config(vsock={"guest_cid": 3, "uds_path": "/nonexistent/v"}), FAILURE),
    "no-interface-for-mmds": (config(mmds_config={"network_interfaces": ["n"]}), FAILURE),
    "a-balloon-too-large": (config(balloon={"amount_mib": 1000, "deflate_on_oom": True}), FAILURE),
    "no-cpu-template": (config(cpu_config="/nonexistent"), FAILURE),
    "a-level-in-the-file": (config(logger={"level": "x"}), FAILURE),
    "no-folder-for-the-log-in-the-file": (config(logger={"log_path": "/nonexistent/l"}), FAILURE),
    "no-folder-for-metrics-in-the-file": (config(metrics={"metrics_path": "/nonexistent/m"}), FAILURE),
    "no-folder-for-the-log": (with_path("--log-path", "/nonexistent/l"), FAILURE),
    "a-log-that-is-a-folder": (with_path("--log-path", "{DIR}"), FAILURE),
    "no-folder-for-metrics": (with_path("--metrics-path", "/nonexistent/m"), FAILURE),
    "metrics-that-are-a-folder": (with_path("--metrics-path", "{DIR}"), FAILURE),
    "a-level": (words("--api-sock {DIR}/s --level x"), BAD_LEVEL),
    "a-level-with-a-log": (words("--api-sock {DIR}/s --log-path {DIR}/l --level x"), BAD_LEVEL),
    "no-metadata": (with_path("--metadata", "/nonexistent"), PANIC, FAILURE),
    "metadata-that-is-no-json": (file("--metadata", b"nothing"), PANIC, FAILURE),
    "metadata-too-large": (file("--metadata", b'{"a": "xxxxxxxxxxxx"}', "--mmds-size-limit", "10"), FAILURE),
    "no-filter": (with_path("--seccomp-filter", "/nonexistent"), FAILURE),
    "a-filter-that-is-none": (file("--seccomp-filter", b"nothing"), FAILURE),
    "no-folder-for-the-socket": (words("--api-sock /nonexistent/s"), FAILURE),
    "a-socket-that-is-a-file": (lambda t: ["--api-sock", t.file("s")], FAILURE),
    "a-socket-with-a-long-name": (words("--api-sock {DIR}/" + "x" * 120), FAILURE),
    "no-socket-for-a-guest": (lambda t: [*configuration(t, "config")[:2], "--api-sock", "/nonexistent/s"], FAILURE),
    "unknown-option": (words("--nothing"), BAD_ARGUMENTS),
    "no-option": (words("nothing"), BAD_ARGUMENTS),
    "no-value": (words("--api-sock"), BAD_ARGUMENTS),
    "an-option-as-value": (words("--api-sock --id"), BAD_ARGUMENTS),
    "twice": (words("--id a --id b"), BAD_ARGUMENTS),
    "no-api-alone": (words("--no-api"), BAD_ARGUMENTS),
    "filter-and-none": (words("--no-seccomp --seccomp-filter x"), BAD_ARGUMENTS),
    "a-bad-id": (words("--api-sock {DIR}/s --id a_b"), PANIC, BAD_ARGUMENTS),
    "a-long-id": (words("--api-sock {DIR}/s --id " + "a" * 65), PANIC, BAD_ARGUMENTS),
    "a-bad-number": (words("--api-sock {DIR}/s --http-api-max-payload-size x"), PANIC, BAD_ARGUMENTS),
    "a-bad-time": (words("--api-sock {DIR}/s --start-time-us x"), PANIC, BAD_ARGUMENTS),
    "help": (words("--help"), 0),
    "help-after-nonsense": (words("--nothing -h"), 0),
    "version-after-nonsense": (words("--nothing --version"), 0),
    "help-that-is-nobodys": (words("--nothing -- --help"), BAD_ARGUMENTS),
    "snapshot-version": (words("--snapshot-version"), 0),
    "no-snapshot": (words("--describe-snapshot /nonexistent"), FAILURE),
}


def ends(t, binary, args):
    run = subprocess.run([binary, *args], stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    t.log(f"$ {' '.join(args)}\n{run.returncode}\n{run.stdout.decode()}{run.stderr.decode()}")
    return run.returncode


def all_end(t, binary, which):
    for name, (args, *statuses) in CASES.items():
        for left in ("s", "v"):
            if os.path.exists(t.path(left)):
                os.unlink(t.path(left))
        equal(f"status of {name}", ends(t, binary, args(t)), statuses[which % len(statuses)])


@test("native")
def exit_statuses(t):
    all_end(t, MAYFLY, -1)


@test("native")
def exit_statuses_are_recorded_truly(t):
    if not os.path.exists(PEER):
        raise Skip("no Firecracker here: name one in PEER_FIRECRACKER=")
    all_end(t, PEER, 0)


@test("native", "exit-of-signals")
@test("native", "exit-of-signals-with-a-guest", guest=True)
def exit_of_signals(t, guest=False):
    """Those that Firecracker leaves to the kernel end us the same way: systemd looks at it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGALRM, signal.SIGHUP, signal.SIGXCPU):
        vm = Served(t)
        if guest:
            vm.put("/boot-source", {"kernel_image_path": artefact("payload/spin.elf")})
            vm.start()
        vm.signal(number)
        vm.wait()
        status = {signal.SIGHUP: 156, signal.SIGXCPU: 154}.get(number, -number)
        equal(f"status after {number.name}", vm.process.returncode, status)
        holds("no socket left", not os.path.exists(vm.path))
