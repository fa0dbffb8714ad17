"""What every test is written with, and what runs them: each in a process of its own, with a time limit."""

import ctypes
import fnmatch
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GUEST = os.path.join(ROOT, "build/guest")
OUT = os.path.join(ROOT, "build/e2e")  # logs; also what the lab can write to
PROGRAM = os.path.abspath(os.environ.get("MAYFLY", os.path.join(ROOT, "build/gcc-release/mayfly")))
BUILD = os.path.dirname(PROGRAM)
JAILED = bool(os.environ.get("JAILED"))
JAIL = os.path.join(BUILD, "jailed/mayfly")  # tests/jail/jailed.c: becomes the monitor in a jail
MAYFLY = JAIL if JAILED else PROGRAM  # what starts a monitor
JAILER = os.path.join(BUILD, "mayfly-jailer")



def environment(jailed):
    """Of a process with tests whose monitors are in jails, or are not."""
    others = {name: value for name, value in os.environ.items() if name != "JAILED"}
    return {**others, "JAILED": "1"} if jailed else others


LIVE = os.path.join(BUILD, "live")  # tests/live: devices changed while the guest runs

LIMITS = {"native": 60, "lab": 300}  # seconds; several times what the slowest test needs on a busy machine

TELL_EVERY = 30  # seconds; what is still running is told when nothing else is

AT_ONCE = 2  # tests

# Whoever started us may have us ignore signals (nohup does), and what is ignored stays so in a monitor under test.
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
prctl = ctypes.CDLL(None, use_errno=True).prctl


class Failure(Exception):
    def __init__(self, expected, came):
        super().__init__(f"expected {expected}, came {came}")


class Skip(Exception):
    pass


class TimeOut(Exception):
    pass


# Tests -----------------------------------------------------------------------------------------------

TESTS = []


class Test:
    def __init__(self, name, group, function, limit, alone):
        self.name, self.group, self.function = name, group, function
        self.limit = limit or LIMITS[group]
        self.alone = alone


def test(group, name=None, /, limit=None, alone=False, **values):
    """Registers a function of a Context as a test. May stand several times above one function, with
    other names and values for its further arguments. `alone`: nothing runs beside it."""

    def register(function):
        def call(t):
            return function(t, **values)

        TESTS.append(Test(name or function.__name__.replace("_", "-"), group, call, limit, alone))
        return function

    return register


class Context:
    """What a test is given: a folder of its own, a log, and an end for everything it starts."""

    def __init__(self, test_name):
        self.dir = tempfile.mkdtemp(prefix="mayfly-e2e-")
        self.jails = self.dir + "-jails"
        self.log_file = open(log_path(test_name), "w", errors="replace")
        self.cleanups = []
        os.environ |= {"JAILED_PROGRAM": PROGRAM, "JAILED_BASE": self.jails, "JAILED_WRITE": self.dir,
                       "JAILED_READ": f"{ROOT}:{OUT}"}

    def log(self, text):
        print(text, file=self.log_file, flush=True)

    def path(self, name):
        return os.path.join(self.dir, name)

    def file(self, name, content=b"", size=None):
        """A file of the test's own; beyond its content it is a hole, up to `size`."""
        with open(self.path(name), "wb") as file:
            file.write(content)
            if size is not None:
                file.truncate(size)
        return self.path(name)

    def clean_up(self):
        for cleanup in reversed(self.cleanups):
            cleanup()
        shutil.rmtree(self.dir, ignore_errors=True)

    def clean_jails(self):
        """Those of monitors that stood where the test expected one; they have ended. How many there were."""
        found = glob.glob(f"{self.jails}/*/*/*")
        for path in found:
            base, program, name = path.rsplit("/", 2)
            done = subprocess.run([JAILER, "cleanup", "--id", name, "--exec-file", program, "--chroot-base-dir", base],
                                  capture_output=True, text=True, check=False)
            equal("status and messages of a jail's clean-up", (done.returncode, done.stderr), (0, ""))
        shutil.rmtree(self.jails, ignore_errors=True)
        return len(found)


LOGS = os.path.join(OUT, "log/jailed" if JAILED else "log")


def log_path(test_name):
    return os.path.join(LOGS, test_name)


def artefact(name):
    path = os.path.join(GUEST, name)
    if not os.path.exists(path):
        raise Skip(f"there is no build/guest/{name}; tests/guest/all makes it")
    return path


def missing(name):
    """Why a program of others is not in build/; make test makes it where it can be had."""
    why = os.path.join(ROOT, f"build/{name}.missing")
    if not os.path.exists(why):
        return f"there is no build/{name}; make test makes it"
    with open(why, encoding="utf-8") as file:
        return f"no {name}: {file.read().strip()}"


# Expectations ----------------------------------------------------------------------------------------


def short(value):
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 1200 else f"{text[:300]} ... {text[-850:]}"


def equal(what, came, wanted):
    if came != wanted:
        raise Failure(f"{what} {short(wanted)}", short(came))


def contains(what, text, *parts):
    for part in parts:
        if part not in text:
            raise Failure(f"{what} with {short(part)}", short(text))


def lacks(what, text, *parts):
    for part in parts:
        if part in text:
            raise Failure(f"{what} without {short(part)}", short(text))


def holds(what, condition, came=""):
    if not condition:
        raise Failure(what, short(came) if came != "" else "nothing of the kind")


def becomes(what, function, limit=10):
    """Waits until function() is true."""
    until = time.monotonic() + limit
    while not function():
        if time.monotonic() > until:
            raise Failure(f"{what} within {limit} s", "no such thing")
        time.sleep(0.02)


# Running ---------------------------------------------------------------------------------------------


def on_time_out(number, frame):
    raise TimeOut


def run_in_child(test_, report):
    """In the child: runs the test and writes how it went to the descriptor `report`."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_CHILD_SUBREAPER, 1)  # what a monitor leaves behind becomes this process's child
    signal.signal(signal.SIGTERM, on_time_out)
    context = Context(test_.name)
    result, text = "ok", ""
    try:
        test_.function(context)
    except Skip as reason:
        result, text = "skip", str(reason)
    except TimeOut:
        result, text = "FAIL", f"expected an end within {test_.limit} s, came none"
        context.log(traceback.format_exc())
    except Failure as failure:
        result, text = "FAIL", str(failure)
        context.log(traceback.format_exc())
    except Exception as problem:  # a test that is wrong itself
        result, text = "FAIL", f"the test stopped: {type(problem).__name__}: {problem}"
        context.log(traceback.format_exc())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        context.clean_up()
    try:
        if context.clean_jails() == 0 and JAILED and result == "ok":
            result, text = "FAIL", "expected a monitor in a jail, came none; tests/e2e/unjailed is for tests without"
    except Failure as failure:
        if result == "ok":
            result, text = "FAIL", str(failure)
    os.write(report, json.dumps([result, text]).encode())


class Running:
    def __init__(self, test_):
        self.test, self.start = test_, time.monotonic()
        self.report, write_end = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.report)
            status = 1
            try:
                run_in_child(test_, write_end)
                status = 0
            finally:
                os._exit(status)
        os.close(write_end)
        self.deadline = self.start + test_.limit
        self.told = False

    def check_deadline(self):
        """First it is told, so that it can say where it was; then there is no more time."""
        if time.monotonic() > self.deadline:
            os.kill(self.pid, signal.SIGKILL if self.told else signal.SIGTERM)
            self.told, self.deadline = True, time.monotonic() + 15

    def finish(self):
        data = b""
        while chunk := os.read(self.report, 65536):
            data += chunk
        os.close(self.report)
        os.waitpid(self.pid, 0)
        return json.loads(data) if data else ["FAIL", "expected a result, came the end of the test's process"]


class Score:
    def __init__(self):
        self.counts = {"ok": 0, "FAIL": 0, "skip": 0}

    def add(self, name, result, text, seconds):
        self.counts[result] += 1
        if result == "ok":
            print(f"ok {name} ({seconds:.1f} s)", flush=True)
        else:
            text = " ".join(text.split("\n"))
            more = f"; more in {os.path.relpath(log_path(name), ROOT)}" if result == "FAIL" else ""
            print(f"{result} {name}: {text}{more}", flush=True)

    def hear(self, line, names):
        """A line of another process that runs tests: which of `names` it has the result of, which counts; or None."""
        result, _, rest = line.partition(" ")
        name = rest.split(" ")[0].rstrip(":")
        if result not in self.counts or name not in names:
            return None
        self.counts[result] += 1
        return name

    def print(self):
        counts = self.counts
        print(f"{counts['ok']} passed, {counts['FAIL']} failed, {counts['skip']} skipped", flush=True)
        return 1 if counts["FAIL"] else 0


def run_tests(tests, score, at_once, again=False):
    """Tests that want to be alone come last. `again`: one that fails has a second chance with nothing beside
    it, for machines that others load too; a line tells of the first failure, and the second one counts."""
    waiting = sorted(tests, key=lambda test_: test_.alone)
    running, failed = [], set()
    told = time.monotonic()
    os.makedirs(LOGS, exist_ok=True)
    while waiting or running:
        while waiting and len(running) < (1 if waiting[0].alone else at_once):
            running.append(Running(waiting.pop(0)))
        ready, _, _ = select.select([one.report for one in running], [], [], 1)
        if ready:
            told = time.monotonic()
        elif time.monotonic() > told + TELL_EVERY:
            told = time.monotonic()
            print("# still running: " + ", ".join(one.test.name for one in running), flush=True)
        for one in list(running):
            one.check_deadline()
            if one.report not in ready:
                continue
            running.remove(one)
            result, text = one.finish()
            if result == "FAIL" and again and one.test.name not in failed:
                print(f"# {one.test.name} once more, it failed: {' '.join(text.split())}", flush=True)
                failed.add(one.test.name)
                one.test.alone = True
                waiting.append(one.test)
                continue
            score.add(one.test.name, result, text, time.monotonic() - one.start)


def matching(patterns):
    def wanted(test_):
        return not patterns or any(fnmatch.fnmatch(test_.name, f"*{pattern}*") for pattern in patterns)

    return [test_ for test_ in TESTS if wanted(test_)]


def not_in_jails():
    """{name: reason} of tests that tests/e2e/unjailed has. A line of it that is for no test is a mistake."""
    found = {}
    with open(os.path.join(ROOT, "tests/e2e/unjailed"), encoding="utf-8") as file:
        for line in file:
            pattern, _, reason = (part.strip() for part in line.partition("#"))
            names = fnmatch.filter((test_.name for test_ in TESTS), pattern) if pattern else []
            if pattern and not (names and reason):
                raise ValueError(f"tests/e2e/unjailed: {pattern} is for no test, or has no reason")
            found |= dict.fromkeys(names, reason)
    return found
