"""A monitor to ask, be it Firecracker or mayfly: its life in a folder and a network of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SPIN = os.path.join(ROOT, "build/guest/payload/spin.elf")
KEPT_HEADERS = ("connection", "content-type", "deprecation", "server")


class Monitor:
    def __init__(self, binary):
        # Of one length everywhere: places in texts are counted.
        self.dir = tempfile.mkdtemp(prefix="compat-", dir="/tmp")
        for name, size in (("disk", 2 << 20), ("empty", 0)):
            with open(os.path.join(self.dir, name), "wb") as file:
                file.truncate(size)
        os.symlink(SPIN, os.path.join(self.dir, "spin.elf"))
        self.path = os.path.join(self.dir, "api.sock")
        self.process = subprocess.Popen([binary, "--api-sock", self.path], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.dir)
        self.socket = None
        until = time.monotonic() + 10
        while self.socket is None:
            try:
                self.socket = self.connect()
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.005)

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(20)
        try:
            client.connect(self.path)
        except OSError:
            client.close()
            raise
        return client

    def end(self):
        self.socket.close()
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.end()

    def hide(self, text):
        """What differs from run to run by nature, and the name of the version with the length of what has it."""
        text = text.replace(self.dir, "{DIR}").replace('"1.17.0-dev"', '"1.17.0"')
        return text.replace("Content-Length: 101", "Content-Length: 97").replace("Content-Length: 36", "Content-Length: 32")

    def ask(self, method, path, body):
        """(status, names of headers, body); status 0: the monitor has gone."""
        data = b"" if body is None else body.replace("{DIR}", self.dir).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        try:
            self.socket.sendall(head.encode() + b"\r\n" + data)
            return self.answer()
        except OSError:
            return 0, "", ""

    def answer(self):
        have = b""
        while b"\r\n\r\n" not in have:
            more = self.socket.recv(65536)
            if not more:
                return 0, "", ""
            have += more
        head, body = have.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        while len(body) < int(headers.get("Content-Length", 0)):
            body += self.socket.recv(65536)
        return int(lines[0].split(" ")[1]), " ".join(sorted(headers)), self.hide(body.decode(errors="replace"))

    def ask_raw(self, data):
        """All that comes back for these bytes until nothing more does."""
        client = self.connect()
        client.settimeout(1)
        client.sendall(data)
        have = b""
        try:
            while more := client.recv(65536):
                have += more
            have += b"<end>"
        except OSError:
            pass
        client.close()
        return self.hide(have.decode(errors="replace"))


class CurlMonitor(Monitor):
    """The same, asked by curl, which makes a connection for each request."""

    def ask(self, method, path, body):
        data = "" if body is None else body.replace("{DIR}", self.dir).replace("{SPIN}", SPIN)
        command = ["curl", "-s", "-i", "-g", "--path-as-is", "-m", "20", "--unix-socket", self.path, "-X", method]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        done = subprocess.run([*command, "http://localhost" + path], input=data.encode(), stdout=subprocess.PIPE,
                              check=False)
        head, _, came = done.stdout.partition(b"\r\n\r\n")
        if done.returncode != 0:
            return 0, "", f"curl: status {done.returncode}"
        lines = head.decode().split("\r\n")
        names = sorted(line.split(": ", 1)[0] for line in lines[1:])
        return int(lines[0].split(" ")[1]), " ".join(names), self.hide(came.decode(errors="replace"))
