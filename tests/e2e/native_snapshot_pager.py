"""Memory that comes from elsewhere than a file: a template passed as a descriptor, and a page-fault handler."""

import ctypes
import os
import select
import shutil
import signal
import socket
import subprocess
import time

from api import Served
from harness import BUILD, Skip, becomes, contains, equal, holds, test
from native_snapshot import FLAG, load_body, release, save, start
from native_snapshot_identity import opened

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
        except Exception as end:  # the process may end while it answers
            t.log(f"{pages} pages: {end}")
            answer = None
        handler.process.wait(20)
        if answer and answer.status == 400:  # it has not come so far that there is a guest
            contains("the refusal", answer.fault(), handler.path, "is gone, and with it guest memory")
            clone.ends(1, 20)
        else:
            clone.ends(149, 20)
            contains("messages", clone.errors(), "the page-fault handler is gone")
        os.unlink(handler.path)


class Silent:
    """Takes memory over and never answers for it."""

    def __init__(self, t):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(t.path("pager"))
        self.listener.listen(1)
        self.connection = self.uffd = None
        t.cleanups.append(self.end)

    def is_asked_by(self, clone):
        """A request is on its way: somebody of the monitor's waits for a page."""
        readable, _, _ = select.select([self.listener, clone.client.socket], [], [], 20)
        if self.listener not in readable:
            raise Skip(clone.client.answer().fault())
        self.connection, _ = self.listener.accept()
        _, fds, _, _ = socket.recv_fds(self.connection, 8192, 4)
        equal("descriptors", len(fds), 1)
        self.uffd = fds[0]
        readable, _, _ = select.select(fds, [], [], 20)
        equal("a fault", readable, fds)

    def end(self):
        self.listener.close()
        if self.connection:
            self.connection.close()
            os.close(self.uffd)
            self.connection = None


def ask_to_load(t, clone, **more):
    """Without waiting for the answer."""
    backend = {"backend_type": "Uffd", "backend_path": t.path("pager"), **more}
    clone.client.ask("PUT", "/snapshot/load", load_body(t, mem_backend=backend, resume_vm=False))


def nothing_saved(t):
    left = os.listdir(t.path(""))
    holds("neither file, nor half of one", not {"s", "m"} & set(left) and not any("saving" in name for name in left), left)


def ready(t, prepared):
    clone = Served(t, name="clone.sock")
    clone.client.socket.settimeout(20)
    if prepared:
        clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
        clone.put("/snapshot/prepare", {})
    return clone


def goes_on_or_ends(t, clone, prepared):
    """After a load that failed: a prepared process is as before, any other ends."""
    if not prepared:
        clone.ends(1)
        return
    clone.put("/snapshot/load", load_body(t))
    contains("output", clone.ends(0).text(), "R")


@test("native", "snapshot-pager-goes-and-its-descriptor-stays", prepared=False)
@test("native", "snapshot-pager-of-a-prepared-process-goes-and-its-descriptor-stays", prepared=True)
def snapshot_pager_goes_and_its_descriptor_stays(t, prepared):
    """The connection ends, but somebody has the userfaultfd still: nobody waits for a page that will not come."""
    saved(t)
    release(t)
    silent, clone = Silent(t), ready(t, prepared)
    ask_to_load(t, clone)
    silent.is_asked_by(clone)
    silent.connection.close()
    answer = clone.client.answer()
    equal("status", answer.status, 400)
    contains("the refusal", answer.fault(), t.path("pager"), "is gone, and with it guest memory")
    goes_on_or_ends(t, clone, prepared)


@test("native", "snapshot-pager-that-never-answers", prepared=False)
@test("native", "snapshot-pager-of-a-prepared-process-that-never-answers", prepared=True)
def snapshot_pager_that_never_answers(t, prepared):
    """The load ends when the time is over; a prepared process has lost nothing, and leaks nothing."""
    saved(t)
    release(t)
    silent, clone = Silent(t), ready(t, prepared)
    before = sorted(opened(clone))
    for _ in range(3 if prepared else 1):
        ask_to_load(t, clone, timeout_ms=200)
        silent.is_asked_by(clone)
        answer = clone.client.answer()
        equal("status", answer.status, 400)
        contains("the refusal", answer.fault(), f"the page-fault handler at {t.path('pager')} does not answer")
        if prepared:
            equal("open files", sorted(opened(clone)), before)
            equal("threads that watch it", clone.thread_names().count("pager"), 0)
    goes_on_or_ends(t, clone, prepared)


@test("native")
def snapshot_client_dies_while_its_load_waits(t):
    """The others are answered when the load has ended; what it brought along is closed, and the next one is as any."""
    saved(t)
    release(t)
    silent, clone = Silent(t), ready(t, True)
    before = sorted(opened(clone))
    other, dying = clone.client, clone.connect()
    clone.client = dying
    ask_to_load(t, clone, timeout_ms=500)
    silent.is_asked_by(clone)
    clone.client = other
    dying.socket.close()
    equal("the state that another is told", clone.get("/")["state"], "Not started")
    becomes("the files of before", lambda: sorted(opened(clone)) == before, 20)
    goes_on_or_ends(t, clone, True)


@test("native", "snapshot-terminated-while-a-pager-is-silent", prepared=False, number=signal.SIGTERM)
@test("native", "snapshot-interrupted-while-a-pager-is-silent", prepared=False, number=signal.SIGINT)
@test("native", "snapshot-prepared-terminated-while-a-pager-is-silent", prepared=True, number=signal.SIGTERM)
def snapshot_ended_while_a_pager_is_silent(t, prepared, number):
    """The signal ends it as ever, and what it has made is put away; what does not end it does nothing."""
    saved(t)
    silent, clone = Silent(t), ready(t, prepared)
    ask_to_load(t, clone, timeout_ms=600000)
    silent.is_asked_by(clone)
    clone.signal(signal.SIGCONT)
    clone.signal(number)
    equal("status", clone.wait(60), 128 + number)
    contains("messages", clone.errors(), f"ended by signal {number.name}")
    holds("the socket is gone", not os.path.exists(clone.path))


@test("native", "snapshot-terminated-while-a-save-waits-for-a-pager", goes=False, status=128 + signal.SIGTERM)
@test("native", "snapshot-pager-dies-in-a-save", goes=True, status=149)
def snapshot_save_that_gets_no_pages(t, goes, status):
    """A signal that ends the process ends a save that waits, and so does the handler's end; it leaves nothing."""
    saved(t)
    handler = Handler(t, 1000, "silent")  # all that is not zeroes, and has been written by then
    clone = paged(t, resume_vm=False)
    clone.client.ask("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m")})
    equal("the handler", handler.process.stdout.readline(), "enough\n")
    if goes:
        handler.end()
    else:
        clone.signal(signal.SIGTERM)
    equal("status", clone.wait(60), status)
    nothing_saved(t)


@test("native")
def snapshot_save_from_a_silent_pager(t):
    """It fails when no page has come in time, and the next one too; the microVM is as before, and ends as any."""
    saved(t)
    handler = Handler(t, 1000, "silent")
    clone = Served(t, name="clone.sock")
    ask_to_load(t, clone, timeout_ms=300)
    answer = clone.client.answer()
    if answer.status == 400 and "userfaultfd is not allowed" in answer.body:
        raise Skip(answer.fault())
    equal("status of the load", answer.status, 204)
    before = sorted(opened(clone))
    for _ in range(2):
        clone.refused("PUT", "/snapshot/create", {"snapshot_path": t.path("s"), "mem_file_path": t.path("m")},
                      f"the page-fault handler at {t.path('pager')} does not answer")
        nothing_saved(t)
        equal("open files", sorted(opened(clone)), before)
        equal("state", clone.get("/")["state"], "Paused")
    equal("threads that wait", clone.thread_names().count("page-fetch"), 1)
    equal("the handler lives", handler.process.poll(), None)
    clone.signal(signal.SIGTERM)
    clone.ends(128 + signal.SIGTERM, 20)


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


class Frozen:
    """A thread of the monitor's that does not go on, as one that waits for a page does not."""

    def __init__(self, vm, name):
        folder = f"/proc/{vm.process.pid}/task"
        self.tid = next(int(task) for task in os.listdir(folder) if open(f"{folder}/{task}/comm").read().strip() == name)
        self.ptrace = ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
            if self.ptrace(request, self.tid, None, None) != 0:
                raise Skip(f"a thread cannot be stopped here: {os.strerror(ctypes.get_errno())}")
        os.waitpid(self.tid, 0x40000000)  # __WALL

    def thaw(self):
        self.ptrace(PTRACE_DETACH, self.tid, None, None)


def with_devices(t, vm):
    vm.put("/balloon", {"amount_mib": 5, "deflate_on_oom": True, "stats_polling_interval_s": 1, "free_page_hinting": True})
    t.file("pmem", b"x" * (2 << 20))
    vm.put("/pmem/pmem0", {"id": "pmem0", "path_on_host": t.path("pmem")})


@test("native", limit=120)
def snapshot_requests_while_a_device_waits_for_a_page(t):
    """What asks the device is refused after a while, all else is answered at once; then both go on."""
    saved(t, before=lambda vm: with_devices(t, vm))
    Handler(t)
    clone = paged(t, resume_vm=False)
    asks = (("PATCH", "/drives/rootfs", {"drive_id": "rootfs", "rate_limiter": {"ops": {"size": 10, "refill_time": 100}}}),
            ("PATCH", "/drives/rootfs", {"drive_id": "rootfs", "path_on_host": t.path("disk")}),
            ("PATCH", "/pmem/pmem0", {"id": "pmem0", "rate_limiter": {"ops": {"size": 10, "refill_time": 100}}}),
            ("PATCH", "/balloon", {"amount_mib": 6}), ("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 2}),
            ("GET", "/balloon/statistics", None), ("GET", "/balloon/hinting/status", None))
    frozen = Frozen(clone, "io0")
    for method, path, body in asks:
        clone.refused(method, path, body, f"a device waits for a page of guest memory, and the page-fault handler at {t.path('pager')}")
        start = time.monotonic()
        for other in ("/", "/vm/config", "/machine-config", "/balloon", "/version", "/vm/stats", "/vm/trace"):
            clone.get(other)
        holds("answers at once", time.monotonic() - start < 1.5, time.monotonic() - start)
    frozen.thaw()
    for method, path, body in asks:
        answer = clone.client.call(method, path, body)
        holds("done, or refused for what it is", answer.status in (200, 204) or "not activated" in answer.body, answer)
    clone.signal(signal.SIGTERM)
    clone.ends(128 + signal.SIGTERM)


@test("native")
def snapshot_pager_that_does_not_accept(t):
    """Nor is it waited for for ever until it takes the connection; a signal ends that wait too."""
    saved(t)
    silent, waiting = Silent(t), []
    t.cleanups.append(lambda: [client.close() for client in waiting])
    while len(waiting) < 100:
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[-1].setblocking(False)
        try:
            waiting[-1].connect(silent.listener.getsockname())
        except BlockingIOError:
            break
    clone = ready(t, False)
    ask_to_load(t, clone, timeout_ms=200)
    answer = clone.client.answer()
    if "userfaultfd is not allowed" in answer.body:
        raise Skip(answer.fault())
    contains("the refusal", answer.fault(), f"cannot connect to the page-fault handler at {t.path('pager')}: Connection timed out")
    clone.ends(1)
    clone = ready(t, False)
    ask_to_load(t, clone, timeout_ms=600000)
    clone.signal(signal.SIGTERM)
    equal("status", clone.wait(60), 128 + signal.SIGTERM)


@test("native")
def snapshot_pager_whose_connection_is_full(t):
    """A passed connection that takes no message is refused, as one that is no socket."""
    saved(t)
    clone = ready(t, True)
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    theirs.setblocking(False)
    try:
        while True:
            theirs.send(bytes(65536))
    except BlockingIOError:
        theirs.setblocking(True)
    null = os.open("/dev/null", os.O_RDWR)
    before = sorted(opened(clone))
    for fd, why in ((theirs.fileno(), "Resource temporarily unavailable"), (null, "Socket operation on non-socket")):
        body = load_body(t, mem_backend={"backend_type": "Uffd", "backend_path": {"fd": 0}})
        answer = clone.client.call("PUT", "/snapshot/load", body, [fd])
        if "userfaultfd is not allowed" in answer.body:
            raise Skip(answer.fault())
        equal("status", answer.status, 400)
        contains("the refusal", answer.fault(), "cannot hand memory over to the page-fault handler at the passed connection", why)
        equal("open files", sorted(opened(clone)), before)
    ours.close()
    theirs.close()
    os.close(null)


@test("native")
def snapshot_pager_patience_that_is_none(t):
    saved(t)
    clone = ready(t, True)
    for more, why in (({"timeout_ms": 0}, "timeout_ms is 0"), ({"timeout_ms": -1}, "expected u32"), ({"timeout_ms": 1 << 32}, "expected u32"),
                      ({"timeout_ms": 1, "backend_type": "File"}, "timeout_ms is for a backend of type Uffd")):
        backend = {"backend_type": "Uffd", "backend_path": t.path("pager"), **more}
        clone.refused("PUT", "/snapshot/load", load_body(t, mem_backend=backend), why)


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
