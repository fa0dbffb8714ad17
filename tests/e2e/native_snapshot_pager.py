"""Memory that comes from elsewhere than a file: a template passed as a descriptor, and a page-fault handler."""

import json
import os
import select
import shutil
import socket
import subprocess

from api import Served
from harness import BUILD, Skip, contains, equal, holds, test
from native_snapshot import FLAG, load_body, release, save, start

HANDLER = os.path.join(BUILD, "uffd-handler")


def saved(t, **machine):
    vm = start(t, **machine)
    save(t, vm)
    vm.end()


class Handler:
    def __init__(self, t, *more):
        if not os.path.exists(HANDLER):
            raise Skip(f"no {HANDLER}: make it")
        self.path = t.path("pager")
        self.process = subprocess.Popen([HANDLER, self.path, t.path("memory"), *map(str, more)], stdout=subprocess.PIPE,
                                        text=True)
        t.cleanups.append(self.end)
        equal("the handler", self.process.stdout.readline(), "ready\n")

    def end(self):
        self.process.kill()
        self.process.wait()


def paged(t, name="clone.sock", prepared=False, **more):
    clone = Served(t, name=name)
    if prepared:
        clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
        clone.put("/snapshot/prepare", {})
    backend = {"backend_type": "Uffd", "backend_path": t.path("pager")}
    answer = clone.client.call("PUT", "/snapshot/load", load_body(t, mem_backend=backend, **more))
    if answer.status == 400 and "userfaultfd is not allowed" in answer.body:
        raise Skip(answer.fault())
    equal("status of the load", answer.status, 204)
    return clone


@test("native")
def snapshot_from_a_template(t):
    """A memfd that many share, each to write to copies of its own; the state comes as a descriptor too."""
    saved(t)
    template = os.memfd_create("template")
    with open(t.path("memory"), "rb") as file:
        os.sendfile(template, file.fileno(), 0, os.fstat(file.fileno()).st_size)
    os.unlink(t.path("memory"))
    os.pwrite(template, b"R", FLAG)
    clones = []
    for number in range(2):
        state = os.open(t.path("state"), os.O_RDONLY)
        clones.append(Served(t, name=f"{number}.sock"))
        clones[-1].put("/snapshot/load", {"snapshot_path": {"fd": 1}, "resume_vm": True,
                                          "mem_backend": {"backend_type": "File", "backend_path": {"fd": 0}}},
                       [template, state])
        os.close(state)
    for clone in clones:
        contains("output", clone.ends(0).text(), "R")
    short = os.memfd_create("short")
    os.truncate(short, 4096)
    clone = Served(t, name="short.sock")
    answer = clone.client.call("PUT", "/snapshot/load", {
        "snapshot_path": t.path("state"), "mem_file_path": {"fd": 0}}, [short])
    equal("status", answer.status, 400)
    contains("the refusal", answer.fault(), "the memory's descriptor has 4096 bytes")


@test("native", "snapshot-paged", prepared=False)
@test("native", "snapshot-paged-into-a-prepared-process", prepared=True)
def snapshot_paged(t, prepared):
    """The guest runs from pages that a handler fills in; a save of it has all of them."""
    saved(t)
    shutil.copyfile(t.path("memory"), t.path("before"))
    release(t)
    handler = Handler(t)
    clone = paged(t, prepared=prepared, resume_vm=False)
    save(t, clone, "2")
    with open(t.path("memory"), "rb") as whole, open(t.path("memory2"), "rb") as again:
        holds("a byte that the guest never touched", again.read()[FLAG:FLAG + 4096] == whole.read()[FLAG:FLAG + 4096])
    clone.patch("/vm", {"state": "Resumed"})
    contains("output", clone.ends(0).text(), "R")
    equal("the handler ends with it", handler.process.wait(20), 0)


@test("native", "snapshot-pager-dies-under-a-running-guest", running=True)
@test("native", "snapshot-pager-dies-under-a-paused-guest", running=False)
def snapshot_pager_dies(t, running):
    """An end with its name and status within a second or so, whatever the guest is just doing."""
    saved(t)
    handler = Handler(t)
    clone = paged(t, resume_vm=running)
    handler.end()
    clone.ends(149, 10)
    contains("messages", clone.errors(), t.path("pager"), "the page-fault handler is gone")
    equal("lines of messages", len(clone.errors().splitlines()), 1)


@test("native")
def snapshot_pager_dies_in_a_fault(t):
    """Pages that nobody answers for any more are not taken for zeroes: the guest gets no further."""
    saved(t)
    release(t)
    for pages in range(4):
        handler = Handler(t, pages)
        clone = Served(t, name=f"{pages}.sock")
        backend = {"backend_type": "Uffd", "backend_path": handler.path}
        try:
            answer = clone.client.call("PUT", "/snapshot/load", load_body(t, mem_backend=backend))
            holds("an answer", answer.status in (204, 400), answer)
        except Exception as end:  # the process may end while it answers
            t.log(f"{pages} pages: {end}")
        handler.process.wait(20)
        clone.ends(149, 20)
        contains("messages", clone.errors(), "the page-fault handler is gone")
        os.unlink(handler.path)


@test("native")
def snapshot_pager_goes_and_its_descriptor_stays(t):
    """The connection ends, but somebody has the userfaultfd still: nobody waits for a page that will not come."""
    saved(t)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(t.path("pager"))
    listener.listen(1)
    clone = Served(t, name="clone.sock")
    body = json.dumps(load_body(t, mem_backend={"backend_type": "Uffd", "backend_path": t.path("pager")}))
    clone.client.send(f"PUT /snapshot/load HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    readable, _, _ = select.select([listener, clone.client.socket], [], [], 20)
    if listener not in readable:
        raise Skip(clone.client.answer().fault())
    connection, _ = listener.accept()
    _, fds, _, _ = socket.recv_fds(connection, 8192, 4)
    equal("descriptors", len(fds), 1)
    readable, _, _ = select.select(fds, [], [], 20)  # somebody waits for a page
    equal("a fault", readable, fds)
    connection.close()
    clone.ends(149, 20)
    contains("messages", clone.errors(), "the page-fault handler is gone")
    os.close(fds[0])


@test("native")
def snapshot_pager_that_is_not_there(t):
    saved(t)
    clone = Served(t, name="clone.sock")
    backend = {"backend_type": "Uffd", "backend_path": t.path("nobody")}
    answer = clone.client.call("PUT", "/snapshot/load", load_body(t, mem_backend=backend))
    if "userfaultfd is not allowed" in answer.body:
        raise Skip(answer.fault())
    equal("status", answer.status, 400)
    contains("the refusal", answer.fault(), f"cannot connect to the page-fault handler at {t.path('nobody')}: "
             "No such file or directory")
    clone.ends(1)


@test("native", "snapshot-huge-from-a-file", prepared=False)
@test("native", "snapshot-huge-into-a-prepared-process", prepared=True)
def snapshot_huge(t, prepared):
    """An ordinary file is copied into huge pages, or the load is refused and says how many there would have to be."""
    saved(t)
    release(t)
    clone = Served(t, name="clone.sock")
    if prepared:
        clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
        clone.put("/snapshot/prepare", {})
    answer = clone.client.call("PUT", "/snapshot/load", load_body(t, huge_pages="2M"))
    if answer.status == 204:
        contains("output", clone.ends(0).text(), "R")
        return
    equal("status", answer.status, 400)
    contains("the refusal", answer.fault(), "huge pages")
    if prepared:
        clone.put("/snapshot/load", load_body(t, huge_pages="None"))
        contains("output", clone.ends(0).text(), "R")
