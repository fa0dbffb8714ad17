"""A Linux guest whose memory a page-fault handler fills in, and whose balloon gives some of it up meanwhile."""

import os
import re
import signal
import subprocess
import threading
import time

from api import Served
from harness import Failure, artefact, becomes, equal, holds, test
from native_snapshot import load_body
from native_snapshot_pager import Handler

KEPT, BALLOON = 2, 40  # MiB: what the guest keeps, and what it gives up


class Counted(Handler):
    """Takes in what the handler says, so that it never waits, and counts the bytes that were removed."""

    def __init__(self, t):
        super().__init__(t)
        self.removed = 0
        thread = threading.Thread(target=self.take, daemon=True)
        thread.start()

    def take(self):
        for line in self.process.stdout:
            if line.startswith("removed "):
                self.removed += int(line.split()[1])


def ask(vm, command, mark):
    vm.send(command.encode() + f"; echo {mark[:1]}''{mark[1:]}\n".encode())
    vm.wait_for(mark)


def saved(t, mem, reporting):
    vm = Served(t, stdin=subprocess.PIPE)
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 1, "mem_size_mib": mem})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet"})
    vm.put("/balloon", {"amount_mib": 0, "deflate_on_oom": False, "stats_polling_interval_s": 1,
                        "free_page_reporting": reporting})
    vm.start()
    vm.wait_for("# ")
    ask(vm, f"mount -t tmpfs t /tmp; head -c {KEPT << 20} /dev/urandom >/tmp/kept; md5sum /tmp/kept", "written")
    ask(vm, "cd /tmp", "there")
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")})
    vm.end()
    return re.search(r"([0-9a-f]{32})  /tmp/kept", vm.text()).group(1)


def loaded(t):
    handler = Counted(t)
    clone = Served(t, name="clone.sock", stdin=subprocess.PIPE)
    clone.client.socket.settimeout(120)
    clone.put("/snapshot/load", load_body(t, mem_backend={"backend_type": "Uffd", "backend_path": handler.path}))
    return handler, clone


def check(clone, digest, mark, use=8):
    """What the guest kept is right, and memory that comes back can be used: the same bytes twice."""
    ask(clone, f"md5sum kept; head -c {use << 20} /dev/urandom >new; md5sum <new >a; md5sum <new >b; cmp a b && echo sa''me; "
        "rm new", mark)
    holds("what the guest kept", clone.text().count(digest) > 0, clone.text()[-500:])
    holds("what comes back can be used", "same" in clone.text(), clone.text()[-500:])
    clone.out = b""


@test("lab", limit=900)
def snapshot_paged_guest_with_a_balloon(t):
    """Inflated, it tells the handler of what is gone; deflated, the pages are zeroes, not what the memory file has there."""
    digest = saved(t, mem=96, reporting=False)
    handler, clone = loaded(t)
    check(clone, digest, "before")
    equal("bytes removed so far", handler.removed, 0)
    for number in range(2):
        clone.patch("/balloon", {"amount_mib": BALLOON})
        becomes("an inflated balloon", lambda: clone.get("/balloon/statistics")["actual_mib"] == BALLOON, 120)
        becomes("a handler that knows", lambda n=number: handler.removed >= (n + 1) * BALLOON << 20, 30)
        clone.patch("/balloon", {"amount_mib": 0})
        becomes("a deflated balloon", lambda: clone.get("/balloon/statistics")["actual_mib"] == 0, 120)
        check(clone, digest, f"after{number}")
    save_again(t, clone, digest)
    clone.end()
    handler.process.wait(20)


def save_again(t, clone, digest):
    """With all that the handler has not been asked for, and zeroes where pages were removed; loaded without it."""
    clone.client.socket.settimeout(240)
    clone.patch("/balloon", {"amount_mib": BALLOON})
    becomes("an inflated balloon", lambda: clone.get("/balloon/statistics")["actual_mib"] == BALLOON, 120)
    clone.patch("/vm", {"state": "Paused"})
    clone.put("/snapshot/create", {"snapshot_path": t.path("state2"), "mem_file_path": t.path("memory2")})
    holds("a sparse file", os.stat(t.path("memory2")).st_blocks * 512 < 56 << 20)
    second = Served(t, name="second.sock", stdin=subprocess.PIPE)
    second.client.socket.settimeout(120)
    second.put("/snapshot/load", load_body(t, "2"))
    second.patch("/balloon", {"amount_mib": 0})
    becomes("a deflated balloon", lambda: second.get("/balloon/statistics")["actual_mib"] == 0, 120)
    check(second, digest, "second")
    second.end()


@test("lab", limit=900)
def snapshot_paged_guest_reports_free_pages(t):
    """What the guest frees by itself the handler hears of too, and nothing that is in use goes with it."""
    digest = saved(t, mem=160, reporting=True)
    handler, clone = loaded(t)
    for number in range(2):
        check(clone, digest, f"use{number}", use=32)
        becomes("pages that were reported", lambda n=number: handler.removed >= (n + 1) * 4 << 20, 120)
    clone.end()
    handler.process.wait(20)


def busy(t):
    """Saved while its disk is read and written."""
    vm = Served(t, stdin=subprocess.PIPE)
    vm.client.socket.settimeout(120)
    vm.put("/machine-config", {"vcpu_count": 2, "mem_size_mib": 96})
    vm.put("/boot-source", {"kernel_image_path": artefact("small/vmlinux"), "initrd_path": artefact("vsock.cpio"),
                            "boot_args": "console=ttyS0 reboot=k panic=1 quiet"})
    vm.put("/drives/data", {"drive_id": "data", "is_root_device": False, "path_on_host": t.file("disk", size=16 << 20)})
    vm.start()
    vm.wait_for("# ")
    ask(vm, "(while :; do dd if=/dev/vda of=/dev/null bs=64k; dd if=/dev/zero of=/dev/vda bs=4k count=100; done) 2>/dev/null &"
        "(while :; do echo 3 >/proc/sys/vm/drop_caches; done) & true", "busy")
    vm.patch("/vm", {"state": "Paused"})
    vm.put("/snapshot/create", {"snapshot_path": t.path("state"), "mem_file_path": t.path("memory")})
    vm.end()


@test("lab", "snapshot-paged-guest-terminated-while-nobody-answers", pause=False, limit=900)
@test("lab", "snapshot-paged-guest-paused-while-nobody-answers", pause=True, limit=900)
def snapshot_paged_guest_that_gets_no_pages(t, pause):
    """Whoever of the monitor's threads waits for a page: a signal ends it, and a pause comes to an end."""
    busy(t)
    for pages in (30, 100, 200, 400, 800):
        handler = Handler(t, pages, "silent")
        clone = Served(t, name=f"{pages}.sock", stdin=subprocess.PIPE)
        clone.client.socket.settimeout(120)
        backend = {"backend_type": "Uffd", "backend_path": handler.path, "timeout_ms": 1000 if pause else 600000}
        clone.client.ask("PUT", "/snapshot/load", load_body(t, mem_backend=backend))
        equal("the handler", handler.process.stdout.readline(), "enough\n")
        time.sleep(0.5)  # let them all come to wait
        if pause:
            try:
                answers = clone.client.answer().status, clone.client.call("PATCH", "/vm", {"state": "Paused"}).status
                t.log(f"{pages} pages: {answers}")
            except (Failure, OSError) as end:
                t.log(f"{pages} pages: {end}")
        clone.signal(signal.SIGTERM)
        status = clone.wait(120)
        holds("its end", status in ((143, 149, 1) if pause else (143,)), f"after {pages} pages {status}: {clone.errors()}")
        handler.end()
        os.unlink(handler.path)
