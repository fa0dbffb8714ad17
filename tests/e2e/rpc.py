"""A client of MessagePack-RPC, with Debian's msgpack and nothing of ours, and mayctl."""

import array
import os
import socket
import subprocess

import msgpack
from harness import MAYFLY, Failure, short

MAYCTL = os.path.join(os.path.dirname(MAYFLY), "mayctl")


class Refused(Exception):
    pass


class Rpc:
    def __init__(self, path, patience=10):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self.socket.connect(path)
        self.unpacker = msgpack.Unpacker()
        self.last = 0
        self.answers, self.events = {}, []

    def send(self, method, fds=(), **params):
        self.last += 1
        data = msgpack.packb([0, self.last, method, [params] if params else []])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = self.socket.sendmsg([data], rights)
        if sent < len(data):  # a monitor that had it all may have answered and gone
            self.socket.sendall(data[sent:])
        return self.last

    def message(self):
        """The next one, of whatever kind; None at the connection's end."""
        while True:
            for message in self.unpacker:
                return message
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self.unpacker.feed(data)

    def answer(self, number):
        while number not in self.answers:
            message = self.message()
            if message is None:
                raise Failure("an answer", "the end of the connection")
            if message[0] == 1:
                self.answers[message[1]] = message[2:]
            else:
                self.events.append(message[1:])
        error, result = self.answers.pop(number)
        if error is not None:
            raise Refused(error["message"])
        return result

    def call(self, method, fds=(), **params):
        return self.answer(self.send(method, fds, **params))

    def refused(self, method, *words, fds=(), **params):
        try:
            came = self.call(method, fds, **params)
        except Refused as error:
            for word in words:
                if word not in str(error):
                    raise Failure(f"{method} refused with {short(word)}", str(error)) from None
            return
        raise Failure(f"{method} refused", came)

    def event(self):
        while not self.events:
            message = self.message()
            if message is None:
                raise Failure("an event", "the end of the connection")
            if message[0] == 2:
                self.events.append(message[1:])
        return self.events.pop(0)


def mayctl(t, sock, *words, status=0, fds=()):
    """What it prints, on standard output or, where it fails, as its error."""
    command = [MAYCTL, *(["--sock", sock] if sock else []), *map(str, words)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, pass_fds=fds)
    t.log(f"$ {' '.join(command)}\n{ended.stdout}{ended.stderr}status {ended.returncode}")
    if ended.returncode != status:
        raise Failure(f"status {status} of mayctl {' '.join(map(str, words))}",
                      f"{ended.returncode}, {ended.stdout}{ended.stderr}")
    return ended.stdout if status == 0 else ended.stderr
