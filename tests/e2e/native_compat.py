"""The same questions to Firecracker and to mayfly: tests/compat/differential."""

import os
import re
import shutil
import subprocess

from api import Served
from harness import MAYFLY, ROOT, Skip, artefact, contains, equal, holds, missing, test

try:
    import prometheus_client.openmetrics.parser as prometheus_client
except ImportError:
    prometheus_client = None

DIFFERENTIAL = os.path.join(ROOT, "tests/compat/differential")
PEER = os.environ.get("PEER_FIRECRACKER", os.path.join(ROOT, "../shared/peers/firecracker"))


def ask(t, binary, *options):
    """In a network of its own: interfaces are made, and go with it."""
    artefact("payload/spin.elf")
    run = subprocess.run(["unshare", "-rn", DIFFERENTIAL, "compare", *options, binary], capture_output=True, text=True)
    t.log(run.stdout + run.stderr)
    if "unshare" in run.stderr:
        raise Skip("no namespaces for an unprivileged user: " + run.stderr.strip())
    return run


@test("native", limit=180)
def compat_answers_as_recorded(t):
    run = ask(t, MAYFLY)
    equal("exit status of the comparison", (run.returncode, run.stdout[-600:] if run.returncode else ""), (0, ""))


@test("native", limit=180)
def compat_record_is_true(t):
    """What is written down is what Firecracker answers: no answer of its own differs but for timing."""
    if not os.path.exists(PEER):
        raise Skip("no Firecracker here: name one in PEER_FIRECRACKER=")
    run = ask(t, PEER)
    last = run.stdout.strip().split("\n")[-1]
    holds("at most 3 other answers", ", 0 other statuses, " in last and int(last.split(", ")[2].split()[0]) <= 3, last)


@test("native", limit=240)
def compat_answers_to_curl(t):
    """Every endpoint with every refusal, by `curl --unix-socket` as people write it."""
    if not shutil.which("curl"):
        raise Skip("there is no curl")
    run = ask(t, MAYFLY, "-c")
    equal("exit status of the comparison", (run.returncode, run.stdout[-600:] if run.returncode else ""), (0, ""))


COUNTS = os.path.join(ROOT, "tests/compat/counts")
METRICS = os.path.join(ROOT, "tests/compat/metrics")

# Of what is not here: memory that is plugged in, and a queue of connections to be ended.
NO_METRICS = ("memory_hotplug.", "vsock.killq_resync")


def metric_fields(t, binary):
    artefact("payload/spin.elf")
    run = subprocess.run(["unshare", "-rn", METRICS, binary], capture_output=True, text=True, check=False)
    t.log(run.stdout + run.stderr)
    if "unshare" in run.stderr:
        raise Skip("no namespaces for an unprivileged user: " + run.stderr.strip())
    return run.stdout.splitlines()


def recorded(script):
    with open(script + ".txt", encoding="utf-8") as file:
        return file.read().splitlines()


@test("native")
def metrics_have_the_fields_recorded(t):
    """Every field that Firecracker's metrics have, of all that there is here."""
    mine = metric_fields(t, MAYFLY)
    equal("fields that lack", [line for line in recorded(METRICS) if line not in mine and not line.startswith(NO_METRICS)], [])
    equal("fields that are there after all", [line for line in mine if line.startswith(NO_METRICS)], [])


@test("native")
def metrics_record_is_true(t):
    if not os.path.exists(PEER):
        raise Skip("no Firecracker here: name one in PEER_FIRECRACKER=")
    equal("fields of Firecracker's", metric_fields(t, PEER), recorded(METRICS))


def counts(t, binary):
    artefact("payload/spin.elf")
    run = subprocess.run([COUNTS, binary], capture_output=True, text=True, check=False)
    t.log(run.stdout + run.stderr)
    return run.stdout.splitlines()


@test("native")
def metrics_count_requests_as_recorded(t):
    equal("what requests move", counts(t, MAYFLY), recorded(COUNTS))


@test("native")
def metrics_record_of_requests_is_true(t):
    if not os.path.exists(PEER):
        raise Skip("no Firecracker here: name one in PEER_FIRECRACKER=")
    equal("what requests move", counts(t, PEER), recorded(COUNTS))


# What others have written --------------------------------------------------------------------------------

SDK_TESTS = os.path.join(ROOT, "build/go-sdk-tests")
SDK_DATA = os.path.join(ROOT, "build/go-sdk-data")
PROMTOOL = os.path.join(ROOT, "build/promtool")

# Those of machine_test.go and firecracker_test.go that start a monitor and want no network. Not among them: what fails
# with Firecracker 1.17 too, for it knows versions of one digit only (TestMicroVMExecution/TestGetFirecrackerVersion)
# or expects a line that Firecracker no longer writes (TestLogAndMetrics/Error); nor what wants a guest with a balloon's
# driver (TestMicroVMExecution/TestUpdateBalloon: the lab's sdk-go does that).
SDK_OWN = ["^(TestClient|TestStartVMM|TestStartVMMOnce|TestPID|TestLogFiles|TestSocketPathSet|TestWait.*"
           "|TestCaptureFifoToFile.*|TestPauseResume|TestCreateSnapshot|TestMicroVMExecutionWithMmdsV2)$",
           "^TestLogAndMetrics$/^(#00|Info)$",
           "^TestMicroVMExecution$/^(TestCreateMachine|TestMachineConfigApplication|TestCreateBootSource|TestAttach.*"
           "|.*Metadata|TestCreateBalloon|TestUpdateBalloonStats|TestStartInstance|TestGetInstanceInfo|TestUpdateGuestDrive|TestShutdown)$"]


@test("native", limit=120)
def sdk_go_own_tests(t):
    """firecracker-go-sdk's own tests of its machine. Their 250 ms for a monitor to be there are the SDK's, so a second
    try is theirs."""
    if not os.access(SDK_TESTS, os.X_OK):
        raise Skip(missing("go-sdk"))
    shutil.copytree(SDK_DATA, t.path("data"))
    shutil.copy(artefact("payload/spin.elf"), t.path("data/vmlinux"))
    for name in ("root-drive.img", "drive-2.img", "drive-3.img"):
        t.file(f"data/{name}", size=1 << 20)
    environment = {**os.environ, "FC_TEST_DATA_PATH": t.path("data"), "FC_TEST_BIN": MAYFLY, "TMPDIR": t.dir}
    passed = set()
    for pattern in SDK_OWN:
        for _ in range(2):
            run = subprocess.run([SDK_TESTS, "-test.v", "-test.run", pattern], env=environment, cwd=t.dir,
                                 capture_output=True, text=True, check=False)
            t.log(run.stdout + run.stderr)
            if run.returncode == 0:
                break
        equal("tests that failed", re.findall(r"^ *--- FAIL: (\S+)", run.stdout, re.M), [])
        equal("status", run.returncode, 0)
        passed |= set(re.findall(r"^ *--- PASS: (\S+)", run.stdout, re.M))
    holds("the tests that start a guest among them", {"TestPauseResume", "TestCreateSnapshot",
                                                      "TestMicroVMExecution/TestStartInstance"} <= passed, passed)
    holds("and at least 40 in all", len(passed) >= 40, len(passed))


def promtool(t, text, *args):
    run = subprocess.run([PROMTOOL, *args], input=text, capture_output=True, text=True, check=False)
    t.log(run.stdout + run.stderr)
    return run


def check_open_metrics(t, text):
    """Prometheus' own parser of OpenMetrics, which wants samples with times; its older one, whose linter knows a counter's
    help by the name of its samples alone; and the one of Prometheus' library for Python, which is strict."""
    run = promtool(t, text, "check", "metrics")
    holds("no error while parsing", run.returncode in (0, 3) and "parsing error" not in run.stderr, run.stderr)
    timed = "".join(line if line[0] == "#" else f"{line[:-1]} 1700000000\n" for line in text.splitlines(True))
    run = promtool(t, None, "tsdb", "create-blocks-from", "openmetrics", t.file("text", timed.encode()), t.path("blocks"))
    equal("status of OpenMetrics to promtool", (run.returncode, run.stderr), (0, ""))
    if prometheus_client is not None:
        families = list(prometheus_client.text_string_to_metric_families(text))
        holds("families", len(families) > 50 and {family.type for family in families} == {"counter", "gauge"}, families)


PLAIN = {"Accept": "text/plain;version=0.0.4;q=1,*/*;q=0.1"}
SCRAPER = {"Accept": "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
                     "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"}  # Prometheus' own


@test("native")
def metrics_to_prometheus(t):
    """In both of its forms, before and while a guest runs."""
    if not os.access(PROMTOOL, os.X_OK):
        raise Skip(missing("promtool"))
    vm = Served(t)
    for state in ("Not started", "Running"):
        equal("state", vm.get("/")["state"], state)
        for headers in ({}, SCRAPER):
            answer = vm.client.call("GET", "/metrics/prometheus", headers=headers)
            equal("what it is", answer.header("Content-Type"), "application/openmetrics-text; version=1.0.0; charset=utf-8")
            check_open_metrics(t, answer.body)
        answer = vm.client.call("GET", "/metrics/prometheus", headers=PLAIN)
        equal("what it is", answer.header("Content-Type"), "text/plain; version=0.0.4; charset=utf-8")
        run = promtool(t, answer.body, "check", "metrics")
        equal("promtool check metrics", (run.returncode, run.stderr), (0, ""))
        if state == "Not started":
            vm.put("/boot-source", {"kernel_image_path": artefact("payload/spin.elf")})
            vm.put("/drives/a", {"drive_id": "a", "is_root_device": False, "path_on_host": t.file("a", size=1 << 20)})
            vm.put("/balloon", {"amount_mib": 0, "deflate_on_oom": True})
            vm.put("/entropy", {})
            vm.start()
    contains("of what is no metric", promtool(t, answer.body.replace("# TYPE", "# TYPE x"), "check", "metrics").stderr,
             "parsing error in line 1")


@test("native")
def metrics_that_are_no_open_metrics(t):
    """What the strict parser is good for: the older form, and one that is cut short, are neither."""
    if prometheus_client is None:
        raise Skip("there is no python3-prometheus-client")
    vm = Served(t)
    text = vm.client.call("GET", "/metrics/prometheus").body
    for broken in (vm.client.call("GET", "/metrics/prometheus", headers=PLAIN).body, text[:-len("# EOF\n")]):
        try:
            list(prometheus_client.text_string_to_metric_families(broken))
        except ValueError as error:
            t.log(str(error))
        else:
            holds("a refusal", False, broken[-200:])
