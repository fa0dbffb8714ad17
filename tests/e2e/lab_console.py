"""The serial port as a guest's programs and its user see it."""

import fcntl
import hashlib
import time

import files
from harness import becomes, contains, equal, holds, lacks, test
from vm import small

MANY = 17000  # bytes; more than any buffer on the way, when the pipe has a page


@test("lab")
def typed_input_reaches_the_guest(t):
    vm = small(t, "@echo-stdin", terminal=True)
    vm.wait_for("ready")
    holds("a raw terminal", vm.is_raw())
    vm.send(b"hello there\r")
    vm.wait_for("got:hello there")
    vm.send(b"\x01h")
    vm.wait_for_error("Ctrl-A x")
    vm.send(b"quit\r")
    vm.ends(0)
    equal("terminal modes", vm.terminal_modes(), vm.found_modes)


@test("lab")
def ctrl_a_x_ends_a_real_guest(t):
    vm = small(t, "@echo-stdin", terminal=True)
    vm.wait_for("ready")
    vm.send(b"\x01x")
    vm.ends(0)
    equal("terminal modes", vm.terminal_modes(), vm.found_modes)


@test("lab")
def ctrl_a_twice_sends_one(t):
    vm = small(t, "sh", "-c", "stty raw -echo; echo ready; head -c 3 | hexdump -C", terminal=True)
    vm.wait_for("ready")
    vm.send(b"a\x01\x01b")
    vm.ends(0)
    contains("output", vm.text(), "61 01 62")


@test("lab")
def interrupt_key_reaches_the_guest(t):
    vm = small(t, "sh", "-c", "trap 'echo interrupted; exit' INT; echo ready; while :; do sleep 0.1; done", terminal=True)
    vm.wait_for("ready")
    vm.send(b"\x03")
    vm.ends(0)
    contains("output", vm.text(), "interrupted")


@test("lab")
def piped_input_is_binary_and_whole(t):
    """Every byte value, Ctrl-A among them: a pipe has no escape keys."""
    data = (bytes(range(256)) + files.pattern(4096, 3)) * (MANY // 4352 + 1)
    vm = small(t, "sh", "-c", f"stty raw -echo; echo ready; head -c {len(data)} | md5sum", stdin=-1)
    fcntl.fcntl(vm.write_to, fcntl.F_SETPIPE_SZ, 4096)
    vm.wait_for("ready")
    vm.send(data)
    vm.ends(0)
    contains("output", vm.text(), hashlib.md5(data).hexdigest())


@test("lab")
def input_before_the_guest_is_ready(t):
    """`echo ... | mayfly run`: all is there, and at an end, long before the guest reads."""
    vm = small(t, "@echo-stdin", stdin=-1)
    vm.send(b"first line\nsecond line\nquit\n")
    vm.close_input()
    vm.ends(0)
    contains("output", vm.text(), "got:first line\n", "got:second line\n")


@test("lab")
def output_is_binary_and_whole(t):
    script = "stty -opost; echo begin; for i in 1 2 3 4; do cat /bin/busybox | head -c 9000; done; echo end"
    vm = small(t, "sh", "-c", script).ends(0)
    body = vm.out.split(b"begin\n", 1)[1].split(b"end\n")[0]
    equal("bytes between the marks", len(body), 36000)
    holds("the same bytes four times", body == body[:9000] * 4)


@test("lab")
def slow_reader_does_not_block_the_guest(t):
    """While nobody reads its 60 KB, a guest's other work goes on: it counts on a drive."""
    image = t.file("counter", size=1 << 20)
    count = "i=0; while :; do i=$((i + 1)); printf %08d $i | dd of=/dev/vda conv=notrunc,fsync 2>/dev/null; done"
    vm = small(t, "sh", "-c", f"stty -opost; ({count}) & echo ready; sleep 1; head -c 60000 /dev/zero | tr '\\0' z; echo; "
               "echo all", options=["--drive", image])
    fcntl.fcntl(vm.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    vm.wait_for("ready")
    time.sleep(6)  # the pipe and our buffer are full by now

    def counted():
        return int(files.read_at(image, 0, 8).strip(b"\0") or 0)

    before = counted()
    becomes("a count that goes on", lambda: counted() > before + 1, 30)
    vm.ends(0)
    equal("bytes of output", vm.out.count(b"z"), 60000)
    contains("output", vm.text(), "all\n")


@test("lab")
def console_none_is_silent(t):
    image = t.file("image", size=1 << 20)
    vm = small(t, "sh", "-c", "cat /proc/cmdline > /dev/vda; echo heard", options=["--console", "none", "--drive", image])
    vm.ends(0)
    equal("output", vm.out + vm.err, b"")
    seen = files.read_at(image, 0, 2048).strip(b"\0").decode()
    contains("a command line", seen, "reboot=k")
    lacks("a command line", seen, "console=")


@test("lab")
def console_to_a_file(t):
    vm = small(t, "@cpus", options=["--console", t.path("console")]).ends(0)
    equal("output", vm.out + vm.err, b"")
    contains("the file", files.read_at(t.path("console"), 0, 1 << 20).decode(), "cpus: 1")
