"""The tests of the lab: emulated hosts side by side, each with one test at a time.

A host has one CPU: with several its emulator loses a race now and then, and with it a guest or the whole host, which
happened to Firecracker's guests as well. One CPU is also sooner done than two, and a host for each CPU of this machine
uses them all. A host that dies all the same, or falls silent, is followed by another, and its test comes again, last."""

import collections
import os
import select
import subprocess
import time

import harness

CPUS, MIB = 1, 6144  # of a host; the biggest guest is smaller
SECONDS = 3600  # of its life; each test has a limit of its own
SILENCE = 120  # seconds; in one that lives something is told every harness.TELL_EVERY
TRIES = 5  # of a test whose host died; of all together without one result in between


class Host:
    def __init__(self, command, jailed):
        self.process = subprocess.Popen(
            [os.path.join(harness.ROOT, "tests/lab/lab"), "-c", str(CPUS), "-m", str(MIB), "-t", str(SECONDS), "-w",
             harness.OUT, "--", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=harness.ROOT,
            env=harness.environment(jailed))
        self.test, self.rest, self.heard = None, b"", time.monotonic()

    def fileno(self):
        return self.process.stdout.fileno()

    def begin(self, test):
        self.test, self.heard = test, time.monotonic()
        try:
            self.process.stdin.write(test.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # its end is read

    def read(self):
        """Whole lines; None at its end."""
        self.heard = time.monotonic()
        data = os.read(self.fileno(), 65536)
        *lines, self.rest = (self.rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines] if data else None

    def is_silent(self):
        return self.test and time.monotonic() > self.heard + SILENCE

    def end(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait()


class Labs:
    """`command(n)` is what the n-th host runs: tests/e2e/inside, which takes names from its standard input."""

    def __init__(self, tests, jailed, score, command):
        self.waiting = collections.deque(test.name for test in tests)
        self.jailed, self.score, self.command = jailed, score, command
        self.hosts, self.made, self.barren, self.deaths = [], 0, 0, collections.Counter()

    def run(self):
        try:
            while self.waiting or self.busy():
                self.begin()
                ready, _, _ = select.select(self.busy(), [], [], 5)
                for host in self.busy():
                    self.listen(host, host in ready)
        finally:
            for host in self.hosts:
                host.end()

    def busy(self):
        return [host for host in self.hosts if host.test]

    def begin(self):
        while len(self.hosts) < min(harness.AT_ONCE, len(self.waiting)):
            self.hosts.append(Host(self.command(self.made), self.jailed))
            self.made += 1
        for host in self.hosts:
            if not host.test and self.waiting:
                host.begin(self.waiting.popleft())

    def listen(self, host, ready):
        lines = host.read() if ready else []
        if lines is None or host.is_silent():
            self.lose(host, "died" if ready else "fell silent")
            return
        for line in lines:
            print(line, flush=True)
            if self.score.hear(line, [host.test]):
                host.test, self.barren = None, 0

    def lose(self, host, how):
        self.hosts.remove(host)
        host.end()
        self.barren += 1
        self.deaths[host.test] += 1
        print(f"# the host of {host.test} {how}", flush=True)
        if self.barren == TRIES:
            self.waiting.append(host.test)
            self.give_up()
        elif self.deaths[host.test] == TRIES:
            self.fail(host.test)
        else:
            self.waiting.append(host.test)

    def give_up(self):
        for host in self.busy():
            self.waiting.append(host.test)
            host.test = None
        while self.waiting:
            self.fail(self.waiting.popleft())

    def fail(self, test):
        self.score.add(test, "FAIL", "expected a result, came the end of its host", 0)
