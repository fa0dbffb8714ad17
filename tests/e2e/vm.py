"""A monitor under test, and everything one can do to it from outside."""

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time

import harness
from harness import JAIL, MAYFLY, Failure, artefact, short

WAIT = {"native": 20, "lab": 240}  # seconds for anything that is to happen; set_place() chooses
place = "native"


def set_place(name):
    global place
    place = name


class Vm:
    """`mayfly ARGS`. Its output is taken in while one waits for something, and only then: a test that
    waits for nothing is a slow reader."""

    def __init__(self, t, *args, terminal=False, stdin="null", fds=(), before=(), binary=MAYFLY, jail=None, devices=()):
        """jail: options of the jailer that starts it; None: no jailer, but where all tests are jailed. devices: block
        devices of the host's that it uses."""
        self.t = t
        self.out = self.err = b""
        self.to_send = b""
        self.status = None
        self.master = self.slave = None
        given = [f"--device {device}:{device}" for device in devices]
        environment = {**os.environ, "JAILED_OPTIONS": " ".join([jail or "", *given])}
        binary = binary if jail is None else JAIL
        command = [*before, binary, *map(str, args)]
        t.log("$ " + " ".join(map(short, command)))
        streams = self.open_terminal() if terminal else {
            "stdin": subprocess.DEVNULL if stdin == "null" else stdin,
            "stdout": subprocess.PIPE,
        }
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, pass_fds=fds, preexec_fn=self.in_child, cwd=harness.ROOT, env=environment,
            **streams)
        self.jail_id = f"jailed-{self.process.pid}"  # if it is in one
        t.cleanups.append(self.end)
        self.read_from = {self.process.stderr.fileno(): "err"}
        self.read_from[self.master if terminal else self.process.stdout.fileno()] = "out"
        self.write_to = self.master if terminal else self.process.stdin and self.process.stdin.fileno()
        for fd in (*self.read_from, *([self.write_to] if self.write_to else [])):
            os.set_blocking(fd, False)

    def open_terminal(self):
        self.master, self.slave = pty.openpty()
        self.found_modes = self.terminal_modes()
        return {"stdin": self.slave, "stdout": self.slave}

    def in_child(self):
        os.setsid()
        if self.slave is not None:
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
        harness.prctl(harness.PR_SET_PDEATHSIG, signal.SIGKILL)

    # Input and output

    def pump(self, seconds):
        """Moves bytes for at most so long; returns at the first that came."""
        writers = [self.write_to] if self.to_send else []
        readable, writable, _ = select.select(list(self.read_from), writers, [], seconds)
        for fd in readable:
            self.take(fd)
        for fd in writable:
            try:
                self.to_send = self.to_send[os.write(fd, self.to_send[:4096]):]
            except BlockingIOError:
                pass
            except BrokenPipeError:
                self.to_send = b""  # it has ended: how, its status says

    def take(self, fd):
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        except OSError:  # the other end of a terminal is gone
            data = b""
        name = self.read_from[fd]
        if data:
            setattr(self, name, getattr(self, name) + data)
        else:
            del self.read_from[fd]

    def send(self, data):
        self.to_send += data

    def close_input(self):
        """After all that was sent."""
        self.until("all input taken", lambda: not self.to_send)
        self.process.stdin.close()
        self.write_to = None

    def until(self, what, condition, limit=None):
        deadline = time.monotonic() + (limit or WAIT[place])
        while not condition():
            if time.monotonic() > deadline:
                raise Failure(what, f"{self.said()} and no more")
            if self.process.poll() is not None:
                while self.read_from:
                    self.pump(1)
                if condition():
                    return
                raise Failure(what, f"the end, status {self.process.returncode}, after {self.said()}")
            self.pump(0.05)

    def wait_for(self, text, limit=None):
        text = text if isinstance(text, bytes) else text.encode()
        self.until(f"output {short(text)}", lambda: text in self.out, limit)

    def wait_for_error(self, text, limit=None):
        self.until(f"message {short(text)}", lambda: text.encode() in self.err, limit)

    def said(self):
        return f"output {short(self.out)} and messages {short(self.err)}"

    # Ends

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self, limit=None):
        """Its exit status, a signal's as a shell says it, with all output taken in."""
        deadline = time.monotonic() + (limit or WAIT[place])
        while self.process.poll() is None or self.read_from:
            if time.monotonic() > deadline:
                raise Failure("an end", f"{self.said()} and no end")
            if self.process.returncode is not None and self.master in self.read_from:
                self.drain_terminal()
            if self.read_from:
                self.pump(0.05)
            else:
                time.sleep(0.01)
        code = self.process.returncode
        self.status = 128 - code if code < 0 else code
        self.t.log(f"status {self.status}\noutput:\n{self.text()}\nmessages:\n{self.errors()}")
        return self.status

    def drain_terminal(self):
        """The test holds the terminal's other side too, so it never sees an end there."""
        while True:
            before = len(self.out)
            self.take(self.master)
            if len(self.out) == before:
                break
        self.read_from.pop(self.master, None)

    def ends(self, status, limit=None):
        came = self.wait(limit)
        if came != status:
            raise Failure(f"status {status}", f"{came}, {self.said()}")
        return self

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
            self.t.log(f"killed by the test\n{self.said()}")

    # Observations

    def text(self):
        return self.out.decode(errors="replace").replace("\r", "")

    def errors(self):
        return self.err.decode(errors="replace")

    def terminal_modes(self):
        return termios.tcgetattr(self.slave)

    def is_raw(self):
        local = self.terminal_modes()[3]
        return not local & (termios.ICANON | termios.ECHO | termios.ISIG)

    def proc(self, name):
        with open(f"/proc/{self.process.pid}/{name}", "rb") as file:
            return file.read().decode(errors="replace")

    def is_stopped(self):
        return self.proc("stat").rsplit(")", 1)[1].split()[0] == "T"

    def thread_names(self):
        folder = f"/proc/{self.process.pid}/task"
        names = []
        for task in os.listdir(folder):
            with open(f"{folder}/{task}/comm") as file:
                names.append(file.read().strip())
        return sorted(names)


def payload(t, name, *args, **settings):
    return Vm(t, "run", "--kernel", artefact(f"payload/{name}.elf"), *args, **settings)


def small(t, *words, kernel=None, options=(), **settings):
    """The small kernel with its initrd; the words are for init."""
    kernel = kernel or artefact("small/vmlinux")
    return Vm(t, "run", "--kernel", kernel, "--initrd", artefact("init.cpio"), *options, "--", *words, **settings)


def cloud(t, *words, options=(), **settings):
    """Debian's cloud kernel with the initrd that has its modules."""
    return Vm(t, "run", "--kernel", artefact("cloud/vmlinuz"), "--initrd", artefact("cloud.cpio"), "--mem", 512,
              *options, "--", *words, **settings)


class Live(Vm):
    """A guest under tests/live: commands while it runs. It watches no files and catches no signals."""

    def __init__(self, t, *words, kernel="small/vmlinux", initrd="init.cpio", options=(), **settings):
        if not os.access(harness.LIVE, os.X_OK):
            raise harness.Skip(f"there is no {harness.LIVE}; make test builds it")
        super().__init__(t, "--kernel", artefact(kernel), "--initrd", artefact(initrd), *options, "--",
                         *words, binary=harness.LIVE, stdin=subprocess.PIPE, **settings)

    def command(self, line):
        """Its answer, a line without the "ok"."""
        start = len(self.err)
        self.send(line.encode() + b"\n")
        self.until(f"an answer to {line}", lambda: b"\n" in self.err[start:])
        answer = self.err[start:].decode(errors="replace").split("\n")[0]
        self.t.log(f"> {line}\n< {answer}")
        if not answer.startswith("ok"):
            raise Failure(f"ok to {line}", short(answer))
        return answer[3:]

    def memory_kib(self, name="RssAnon"):
        for line in self.proc("status").splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1])
        raise Failure(f"a line {name}", "none")
