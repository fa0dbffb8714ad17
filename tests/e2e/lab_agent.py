"""mayfly run --agent: a command in the guest as if it ran here: its streams, its arguments, its status."""

import hashlib
import os
import signal
import subprocess
import tempfile

import harness
from harness import artefact, becomes, contains, equal, test
from vm import Vm


def agent(t, *command, options=(), kernel="small/vmlinux", **settings):
    """A Vm whose standard streams are the command's."""
    return Vm(t, "run", "--kernel", artefact(kernel), "--agent", artefact("agent.cpio") + ",wait=200", *options, "--",
              *command, **settings)


def run(t, *command, options=(), stdin=b"", kernel="small/vmlinux"):
    """The same with all its input at once, for what is much."""
    args = [harness.MAYFLY, "run", "--kernel", artefact(kernel), "--agent", artefact("agent.cpio") + ",wait=200",
            *map(str, options), "--", *command]
    t.log("$ " + " ".join(map(harness.short, args)))
    done = subprocess.run(args, input=stdin, capture_output=True, timeout=240)
    t.log(f"status {done.returncode}, {len(done.stdout)} bytes of output, messages:\n{done.stderr.decode(errors='replace')}")
    return done


def own_tmp():
    """A folder for what one monitor leaves, and what to put before its command: others run beside it."""
    folder = tempfile.mkdtemp(prefix="agent-")
    return folder, ("env", f"TMPDIR={folder}")


@test("lab")
def agent_exit_status(t):
    folder, before = own_tmp()
    vm = agent(t, "sh", "-c", "echo out; echo err >&2; exit 7", before=before).ends(7)
    equal("output", vm.out, b"out\n")
    contains("messages", vm.errors(), "err\n")
    equal("what is left of it", os.listdir(folder), [])
    os.rmdir(folder)


@test("lab")
def agent_pipe(t):
    equal("what wc says", run(t, "wc", "-c", stdin=b"hi\n").stdout, b"3\n")


@test("lab")
def agent_signal_and_missing_command(t):
    """One guest tells both: a shell in it says what a shell says."""
    agent(t, "sh", "-c", "kill -9 $$").ends(137)
    vm = agent(t, "/no/such/command").ends(127)
    contains("messages", vm.errors(), "/no/such/command")


@test("lab")
def agent_arguments_byte_for_byte(t):
    """Quotes, white space, every byte but zero, empty ones, and more than a kernel's command line takes."""
    args = [b"a b", b"'\"\\$x`", b"", b"\n\n", b"--", b"-c", bytes(range(1, 256)), b"x" * 100000]
    done = run(t, "sh", "-c", 'for a; do printf "%s" "$a" | md5sum; done', "sh", *args)
    equal("status", done.returncode, 0)
    equal("sums", done.stdout.decode().split("\n")[:-1], [f"{hashlib.md5(a).hexdigest()}  -" for a in args])


@test("lab")
def agent_much_input_and_output(t):
    """Binary, both ways at once, and its end."""
    content = os.urandom(24 << 20)
    with open(t.file("in", content), "rb") as source, open(t.path("out"), "wb") as out:
        process = subprocess.Popen(
            [harness.MAYFLY, "run", "--kernel", artefact("small/vmlinux"), "--agent", artefact("agent.cpio") + ",wait=200",
             "--", "cat"], stdin=source, stdout=out)
        t.cleanups.append(process.kill)
        equal("status", process.wait(240), 0)
    with open(t.path("out"), "rb") as out:
        equal("the same bytes", hashlib.md5(out.read()).hexdigest(), hashlib.md5(content).hexdigest())


@test("lab")
def agent_hundred_megabytes_to_a_slow_reader(t):
    """The guest waits for the reader; nothing is lost at the end."""
    process = subprocess.Popen(
        [harness.MAYFLY, "run", "--kernel", artefact("small/vmlinux"), "--agent", artefact("agent.cpio") + ",wait=200",
         "--", "sh", "-c", "dd if=/dev/zero bs=1M count=100 2>/dev/null; echo end; exit 3"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    t.cleanups.append(process.kill)
    total, last = 0, b""
    while data := os.read(process.stdout.fileno(), 1 << 20):
        total += len(data)
        last = (last + data)[-4:]
    equal("bytes", total, (100 << 20) + 4)
    equal("the last", last, b"end\n")
    equal("status", process.wait(60), 3)


@test("lab")
def agent_reader_that_goes_away(t):
    """As in a pipe here: the command has its SIGPIPE."""
    process = subprocess.Popen(
        [harness.MAYFLY, "run", "--kernel", artefact("small/vmlinux"), "--agent", artefact("agent.cpio") + ",wait=200",
         "--", "yes"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    t.cleanups.append(process.kill)
    equal("output", process.stdout.read(4), b"y\ny\n")
    process.stdout.close()
    equal("status", process.wait(120), 128 + signal.SIGPIPE)


@test("lab")
def agent_on_a_root_filesystem(t):
    """Debian's, not the initrd's; and what is written to it is there afterwards."""
    image = t.path("image")
    subprocess.run(["cp", artefact("debian.ext4"), image], check=True)
    command = "cat /etc/os-release; echo written >/root/file; grep ' / ' /proc/mounts; cat /root/file"
    vm = agent(t, "bash", "-c", command, options=["--rootfs", image, "--mem", 256]).ends(0)
    contains("output", vm.text(), "bookworm", "/dev/vda / ext4 rw", "written")
    vm = agent(t, "bash", "-c", "cat /root/file; touch /root/other", options=["--rootfs", image + ":ro", "--mem", 256]).ends(1)
    contains("output", vm.text(), "written")
    contains("messages", vm.errors(), "Read-only file system")


@test("lab")
def agent_with_the_cloud_kernel(t):
    done = run(t, "sh", "-c", "uname -r; cat; exit 5", kernel="cloud/vmlinuz", options=["--mem", 512], stdin=b"hello")
    contains("output", done.stdout.decode(), "cloud-amd64", "hello")
    equal("status", done.returncode, 5)


@test("lab")
def agent_panic(t):
    vm = agent(t, "sh", "-c", "echo c >/proc/sysrq-trigger").ends(125)
    contains("messages", vm.errors(), "the guest ended before its command did", "sysrq triggered crash")


@test("lab", "agent-ended-by-SIGTERM", number=signal.SIGTERM)
@test("lab", "agent-ended-by-SIGINT", number=signal.SIGINT)
def agent_ended(t, number):
    folder, before = own_tmp()
    vm = agent(t, "sh", "-c", "echo started; sleep 1000", before=before)
    vm.wait_for("started")
    vm.signal(number)
    vm.ends(128 + number, 60)
    equal("what is left of it", os.listdir(folder), [])
    os.rmdir(folder)


@test("lab")
def agent_with_a_vsock_of_the_users(t):
    """Orphans are reaped and do not hold the end up; the user's socket stays the user's to use."""
    path = t.path("mine")
    vm = agent(t, "sh", "-c", "(sleep 1000; echo late) & echo early", options=["--vsock", path + ",cid=33"])
    becomes("the socket", lambda: os.path.exists(path))
    equal("output", vm.ends(0).out, b"early\n")
    equal("sockets", os.listdir(t.dir), [])
