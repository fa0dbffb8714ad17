"""Jails under test: the jailer, with a program that attacks from inside."""

import os
import subprocess
import sys

import harness
from harness import JAILER, Failure, Skip

PRISONER = os.path.join(harness.BUILD, "prisoner")
UID = 31415
CGROUPS = "/sys/fs/cgroup"


def need_root():
    if os.geteuid() != 0:
        raise Skip("a jail is built by root")
    for program in (JAILER, PRISONER):
        if not os.access(program, os.X_OK):
            raise Skip(f"there is no {program}")


class Jail:
    """One id below a base of the test's own; cleaned up at the test's end."""

    count = 0

    def __init__(self, t, program=PRISONER, uid=UID):
        need_root()
        Jail.count += 1
        self.t, self.program, self.uid = t, program, uid
        self.id = f"e2e-{os.getpid()}-{Jail.count}"
        self.base = t.path("jails")
        self.name = os.path.basename(program)
        self.dir = f"{self.base}/{self.name}/{self.id}"
        self.root = f"{self.dir}/root"
        t.cleanups.append(self.clean_up)

    def command(self, *words, options=()):
        return [JAILER, "--id", self.id, "--exec-file", self.program, "--uid", str(self.uid), "--gid", str(self.uid),
                "--chroot-base-dir", self.base, *map(str, options), "--", *map(str, words)]

    def run(self, *words, options=(), fds=(), limit=30):
        command = self.command(*words, options=options)
        self.t.log("$ " + " ".join(command))
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, pass_fds=fds, check=False)
        self.t.log(f"status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def popen(self, *words, options=(), before=()):
        process = subprocess.Popen([*before, *self.command(*words, options=options)], stdout=subprocess.PIPE, text=True)
        self.t.cleanups.append(lambda: (process.kill(), process.wait()))
        return process

    def start(self, *words, options=(), before=()):
        """Waits for the first line of its output."""
        process = self.popen(*words, options=options, before=before)
        if not process.stdout.readline():
            raise Failure("a jailed program that runs", f"its end, status {process.wait()}")
        return process

    def clean(self):
        return subprocess.run([JAILER, "cleanup", "--id", self.id, "--exec-file", self.name, "--chroot-base-dir",
                               self.base], capture_output=True, text=True, check=False)

    def clean_up(self):
        self.clean()

    def cgroups(self):
        """What there is of this id's."""
        found = []
        for folder, folders, _ in os.walk(CGROUPS):
            found += [os.path.join(folder, name) for name in folders if name == self.id]
        return found


def without_call(call, error):
    """What to put before a command so that a system call fails there."""
    return [sys.executable, os.path.join(harness.ROOT, "tests/e2e/without_call.py"), str(call), str(error)]


def unjailed(t, *words, before=(), limit=30):
    """The same program with nothing around it: the attempt itself must work, or a refusal proves nothing."""
    need_root()
    done = subprocess.run([*before, PRISONER, *map(str, words)], capture_output=True, text=True, timeout=limit, check=False)
    t.log(f"unjailed {words}: status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done
