"""A client of the API socket, and a monitor that serves one."""

import json
import socket
import time

from harness import Failure, equal, short
from vm import Vm


class Answer:
    def __init__(self, head, body):
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split(" ")[1])
        self.line = lines[0]
        self.headers = [line.split(": ", 1) for line in lines[1:]]
        self.body = body.decode()

    def header(self, name):
        return dict(self.headers).get(name)

    def json(self):
        return json.loads(self.body)

    def fault(self):
        return self.json()["fault_message"]

    def __str__(self):
        return f"{self.status} {short(self.body)}"


class Client:
    """One connection. Sends requests and reads answers, byte by byte as they are."""

    def __init__(self, path, patience=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self.socket.connect(path)
        self.have = b""

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Failure("more of an answer", f"the end of the connection after {short(self.have)}")
        self.have += data

    def answer(self):
        while b"\r\n\r\n" not in self.have:
            self.more()
        head, self.have = self.have.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(self.have) < length:
            self.more()
        body, self.have = self.have[:length], self.have[length:]
        return Answer(head, body)

    def ask(self, method, path, body=None, fds=(), headers=None):
        """Without waiting for the answer. body: bytes, text, or what is to become JSON; None: none."""
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n"
        head += "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        if body is None:
            data = b""
        else:
            data = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        if fds:
            socket.send_fds(self.socket, [head.encode() + b"\r\n" + data], list(fds))
        else:
            self.send(head.encode() + b"\r\n" + data)

    def call(self, method, path, body=None, fds=(), headers=None):
        self.ask(method, path, body, fds, headers)
        return self.answer()


class Served(Vm):
    """`mayfly --api-sock S ARGS` with a client connected."""

    def __init__(self, t, *args, name="api.sock", **settings):
        self.path = t.path(name)
        super().__init__(t, "--api-sock", self.path, *args, **settings)
        self.client = self.connect()

    def connect(self):
        until = time.monotonic() + 10
        while True:
            try:
                return Client(self.path)
            except OSError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise Failure("an API socket", self.said()) from None
                time.sleep(0.005)

    def get(self, path):
        answer = self.client.call("GET", path)
        equal(f"status of GET {path}", answer.status, 200)
        return answer.json()

    def ok(self, method, path, body=None, fds=()):
        answer = self.client.call(method, path, body, fds)
        if answer.status not in (200, 204):
            raise Failure(f"{method} {path} to succeed", answer)
        return answer

    def put(self, path, body, fds=()):
        return self.ok("PUT", path, body, fds)

    def patch(self, path, body):
        return self.ok("PATCH", path, body)

    def refused(self, method, path, body, *words):
        """400 with a sentence that has these words."""
        answer = self.client.call(method, path, body)
        equal(f"status of {method} {path}", answer.status, 400)
        for word in words:
            if word not in answer.body:
                raise Failure(f"{method} {path} refused with {short(word)}", answer)
        return answer

    def start(self):
        self.put("/actions", {"action_type": "InstanceStart"})
