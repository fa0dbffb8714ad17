"""Bad input: a status that says whose fault it is, one line that names the object, nothing left behind."""

import gzip
import os
import subprocess

import files
from files import LOAD, elf, segment
from harness import GUEST, MAYFLY, Failure, Skip, artefact, contains, equal, holds, test
from vm import Vm

BAD_CONFIG, BAD_ARGUMENTS, FAILURE = 152, 153, 1  # `mayfly help run`


def refused(t, args, status, *words, **settings):
    """Runs `mayfly ARGS` in a folder that must not change, as the ancestor of whatever it may leave."""
    before = snapshot(t.dir)
    vm = Vm(t, *args, **settings)
    came = vm.wait(10)
    lines = vm.errors().splitlines()
    if came != status:
        raise Failure(f"status {status}", f"{came}, {vm.said()}")
    equal("lines on standard error:", len(lines), 1)
    holds("a line that starts with 'mayfly: error: '", lines[0].startswith("mayfly: error: "), lines[0])
    contains("a line", lines[0], *words)
    equal("standard output", vm.out, b"")
    equal("files in the folder", snapshot(t.dir), before)
    holds("no process left behind", not children(), children())


def snapshot(folder):
    return {(entry.name, entry.stat(follow_symlinks=False).st_size) for entry in os.scandir(folder)}


def children():
    """What the monitor left running is this test's child now (harness.py: a subreaper)."""
    try:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        return f"process {pid}" if pid == 0 else ""
    except ChildProcessError:
        return ""


def run(*args):
    return ["run", "--kernel", artefact("payload/byte.elf"), *args]


# Kernels ---------------------------------------------------------------------------------------------


def good():
    return elf(segment())


@test("native", "kernel-empty", content=lambda: b"", words=["empty"])
@test("native", "kernel-text", content=lambda: b"#hello, I am a text file\n" * 40, words=["text"])
@test("native", "kernel-random", content=lambda: bytes(range(128, 256)) * 100, words=["ELF", "bzImage"])
@test("native", "kernel-gzip", content=lambda: gzip.compress(good()), words=["gzip"])
@test("native", "kernel-elf32", content=lambda: elf(segment(), bits=1), words=["32-bit"])
@test("native", "kernel-aarch64", content=lambda: elf(segment(), machine=files.EM_AARCH64), words=["arm64"])
@test("native", "kernel-shared-object", content=lambda: elf(segment(), kind=3), words=["position-independent"])
@test("native", "kernel-four-bytes", content=lambda: good()[:4], words=["truncated"])
@test("native", "kernel-half-header", content=lambda: good()[:40], words=["truncated"])
@test("native", "kernel-half-table", content=lambda: good()[:80], words=["truncated"])
@test("native", "kernel-without-its-segment", content=lambda: good()[:0x1001], words=["truncated"])
@test("native", "kernel-half-bzimage", content=lambda: bzimage()[:1 << 20], words=["truncated"])
@test("native", "kernel-bzimage-header-only", content=lambda: bzimage()[:0x210], words=["truncated"])
@test("native", "kernel-without-segments", content=lambda: elf(), words=["program headers"])
@test("native", "kernel-of-65535-segments", content=lambda: elf(segment(), count=65535), words=["65535"])
@test("native", "kernel-overlapping", words=["overlap"],
      content=lambda: elf(segment(LOAD, bytes(0x2000)), segment(LOAD + 0x1000, bytes(0x1000), offset=0x4000)))
@test("native", "kernel-in-the-first-mib", content=lambda: elf(segment(0x1000), entry=0x1000), words=["0x1000"])
@test("native", "kernel-in-the-device-hole", content=lambda: elf(segment(0xC0000000), entry=0xC0000000),
      words=["0xc0000000"])
@test("native", "kernel-at-the-end-of-the-world", content=lambda: elf(segment(2**64 - 4096), entry=2**64 - 4096),
      words=["0xfffffffffffff000"])
@test("native", "kernel-that-wraps-around", content=lambda: elf(segment(2**64 - 4096, memory=1 << 20)), words=["wraps"])
@test("native", "kernel-of-2-pib", content=lambda: elf(segment(memory=2 << 50)), words=[])
@test("native", "kernel-bigger-than-memory", content=lambda: elf(segment(memory=1 << 30)), words=["--mem"])
@test("native", "kernel-file-bigger-than-segment", content=lambda: elf(segment(memory=1)), words=["segment 0"])
@test("native", "kernel-data-beyond-the-file", content=lambda: elf(segment(offset=1 << 60, data=b"", memory=8, size=8)),
      words=["truncated"])
@test("native", "kernel-entry-nowhere", content=lambda: elf(segment(), entry=0x5000000), words=["0x5000000"])
def kernel(t, content, words):
    path = t.file("kernel", content())
    refused(t, ["run", "--kernel", path], BAD_CONFIG, path, *words)


def bzimage():
    with open(artefact("cloud/vmlinuz"), "rb") as file:
        return file.read()


@test("native", "kernel-missing", make=None, words=["No such file"])
@test("native", "kernel-directory", make=os.mkdir, words=["directory"])
@test("native", "kernel-fifo", make=os.mkfifo, words=["pipe"])
@test("native", "kernel-loop-of-links", make=lambda path: os.symlink(path, path), words=["symbolic links"])
@test("native", "kernel-device", make=lambda path: os.symlink("/dev/urandom", path), words=["device"])
def kernel_of_a_wrong_kind(t, make, words):
    path = t.path("kernel")
    if make:
        make(path)
    refused(t, ["run", "--kernel", path], BAD_CONFIG, path, *words)


# Initial RAM disks -----------------------------------------------------------------------------------


@test("native", "initrd-missing", make=None, words=["No such file"])
@test("native", "initrd-directory", make=os.mkdir, words=["directory"])
@test("native", "initrd-fifo", make=os.mkfifo, words=["pipe"])
@test("native", "initrd-empty", make=lambda path: open(path, "w").close(), words=["empty"])
@test("native", "initrd-bigger-than-memory", words=["--mem"],
      make=lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 4 << 30))
@test("native", "initrd-of-an-exbibyte", words=["--mem"],
      make=lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 43))
def initrd(t, make, words):
    path = t.path("initrd")
    if make:
        try:
            make(path)
        except OSError as problem:
            raise Skip(f"this filesystem cannot have such a file: {problem}") from None
    refused(t, run("--initrd", path), BAD_CONFIG, path, *words)


# Drives ----------------------------------------------------------------------------------------------


@test("native", "drive-missing", make=None, words=["No such file"])
@test("native", "drive-directory", make=os.mkdir, words=["directory"])
@test("native", "drive-fifo", make=os.mkfifo, words=["FIFO"])
@test("native", "drive-character-device", make=lambda path: os.symlink("/dev/urandom", path), words=["character device"])
@test("native", "drive-empty", make=lambda path: open(path, "w").close(), words=["empty", "truncate -s"])
@test("native", "drive-smaller-than-a-sector", make=lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 511),
      words=["511"])
def drive(t, make, words):
    path = t.path("image")
    if make:
        make(path)
    refused(t, run("--drive", path), BAD_CONFIG, "drive vda", path, *words)
    refused(t, run("--rootfs", path + ":ro"), BAD_CONFIG, "drive vda", path, *words)


@test("native")
def drive_descriptor_not_open(t):
    refused(t, run("--drive", "fd=77"), BAD_CONFIG, "drive vda", "77")


@test("native")
def drive_descriptor_not_writable(t):
    fd = os.open(t.file("image", size=1 << 20), os.O_RDONLY)
    refused(t, run("--drive", f"fd={fd}"), BAD_CONFIG, "drive vda", str(fd), "writing", fds=[fd])


@test("native", "drive-descriptor-of-the-console", text="fd=0", words=["descriptor 0"])
@test("native", "drive-descriptor-no-number", text="fd=seven", words=["seven"])
@test("native", "drive-descriptor-negative", text="fd=-3", words=["-3"])
@test("native", "drive-unknown-setting", text="image,shine=yes", words=["shine"])
@test("native", "drive-without-a-path", text="", words=["path"])
@test("native", "drive-read-only-without-a-path", text=":ro", words=["path"])
def drive_text(t, text, words):
    refused(t, run("--drive", text), BAD_ARGUMENTS, "--drive", *words)


@test("native")
def second_rootfs(t):
    image, other = t.file("image", size=1 << 20), t.file("other", size=1 << 20)
    refused(t, run("--rootfs", image, "--rootfs", other), BAD_ARGUMENTS, "--rootfs", other)


@test("native")
def seventeen_drives(t):
    image = t.file("image", size=1 << 20)
    drives = ["--drive", image + ":ro"] * 17
    refused(t, run(*drives), BAD_ARGUMENTS, "--drive", image, "16")
    refused(t, run("--rootfs", image, *drives[2:]), BAD_ARGUMENTS, image, "16")


@test("native")
def sixteen_drives_and_one_missing(t):
    image = t.file("image", size=1 << 20)
    refused(t, run(*["--drive", image + ":ro"] * 15, "--drive", t.path("no")), BAD_CONFIG, "drive vdp", t.path("no"))


# Values ----------------------------------------------------------------------------------------------


@test("native", "cpus-0", value="0")
@test("native", "cpus-33", value="33")
@test("native", "cpus-1x", value="1x")
@test("native", "cpus-negative", value="-1")
@test("native", "cpus-empty", value="")
@test("native", "cpus-huge", value="99999999999999999999")
@test("native", "cpus-fraction", value="1.5")
def cpus(t, value):
    refused(t, run("--cpus", value), BAD_ARGUMENTS, "--cpus", f"'{value}'", "32")


@test("native", "agent-refused-before", args=["--cpus", "0", "--agent", "a.cpio"], words=["--cpus"])
@test("native", "agent-refused-after", args=["--agent", "a.cpio", "--cpus", "0"], words=["--cpus"])
@test("native", "agent-unknown-option", args=["--bogus", "--agent=a.cpio"], words=["--bogus"])
def agent_refused(t, args, words):
    """125 is the monitor's failure whatever it was, also where the option that says so comes later."""
    refused(t, run(*args, "--", "true"), 125, *words)


@test("native", "mem-1x", value="1x")
@test("native", "mem-negative", value="-1")
@test("native", "mem-empty", value="")
@test("native", "mem-word", value="lots")
@test("native", "mem-fraction", value="128.5")
@test("native", "mem-overflowing", value="99999999T")
@test("native", "mem-overflowing-number", value="99999999999999999999")
def mem_text(t, value):
    refused(t, run("--mem", value), BAD_ARGUMENTS, "--mem", f"'{value}'")


@test("native", "mem-0", value="0")
@test("native", "mem-1", value="1")
@test("native", "mem-too-little", value="1K")
@test("native", "mem-99999T", value="99999T")
@test("native", "mem-no-whole-page", value="200001K")
def mem_value(t, value):
    refused(t, run("--mem", value), BAD_CONFIG, "memory")


@test("native")
def mem_more_than_the_host_has(t):
    with open("/proc/meminfo") as file:
        figures = {line.split(":")[0]: int(line.split()[1]) for line in file}
    mib = (figures["MemTotal"] + figures["SwapTotal"]) // 1024 + 1024
    refused(t, run("--mem", str(mib)), BAD_CONFIG, "memory", f"{mib} MiB", "--mem")


# Command lines ---------------------------------------------------------------------------------------


@test("native", "cmdline-too-long", args=["--cmdline", "x" * 2048])
@test("native", "cmdline-of-a-megabyte", args=["--cmdline", "x" * 100000])
@test("native", "cmdline-too-long-with-init-arguments", args=["--", *["y" * 100] * 30])
@test("native", "cmdline-newline", args=["--cmdline", "quiet\npanic=1"], word="newline")
@test("native", "cmdline-open-quote", args=["--cmdline", 'quiet "panic=1'], word="quote")
@test("native", "init-argument-with-a-quote", args=["--", "echo", 'say "hello"'], word="quote")
@test("native", "init-argument-with-a-newline", args=["--", "echo", "one\ntwo"], word="newline")
@test("native", "init-arguments-33", args=["--", *["x"] * 33], word="33")
def cmdline(t, args, word="shorten"):
    what = "init" if args[0] == "--" and word != "shorten" else "command line"
    refused(t, run(*args), BAD_CONFIG, what, word)


@test("native", "no-command", args=[], words=["--help"])
@test("native", "unknown-command", args=["fly"], words=["fly", "--help"])
@test("native", "unknown-help", args=["help", "fly"], words=["fly"])
@test("native", "no-kernel", args=["run"], words=["--kernel"])
@test("native", "unknown-option", args=["run", "--kernel", "k", "--colour", "red"], words=["--colour"])
@test("native", "unknown-short-option", args=["run", "-k", "kernel"], words=["-k"])
@test("native", "option-without-value", args=["run", "--kernel"], words=["--kernel", "value"])
@test("native", "option-twice", args=["run", "--kernel", "a", "--kernel", "b"], words=["--kernel", "twice"])
@test("native", "mem-twice", args=["run", "--kernel", "a", "--mem", "64", "--mem", "128"], words=["--mem", "twice"])
@test("native", "abbreviated-option", args=["run", "--kern", "a"], words=["--kern"])
@test("native", "stray-argument", args=["run", "--kernel", "a", "stray"], words=["stray", "--"])
@test("native", "flag-with-value", args=["run", "--kernel", "a", "--timings=yes"], words=["--timings"])
def usage(t, args, words):
    refused(t, args, BAD_ARGUMENTS, *words)


@test("native", "kernel-of-no-path", args=["--kernel", ""], what="kernel")
@test("native", "initrd-of-no-path", args=["--kernel", "k", "--initrd", ""], what="initrd")
@test("native", "console-of-no-path", args=["--kernel", "k", "--console", ""], what="--console")
def empty_path(t, args, what):
    args = [artefact("payload/byte.elf") if word == "k" else word for word in args]
    refused(t, ["run", *args], BAD_CONFIG, f"{what}: the path is empty")


@test("native", "long-path-of-a-drive", option="--drive", what="drive vda: ")
@test("native", "long-path-of-a-console", option="--console", what="--console: ")
def long_path(t, option, what):
    """Between the object and the reason something may be missing, neither of them."""
    refused(t, run(option, t.path("x" * 200 + "/" + "y" * 200 + "/" + "z" * 200)), BAD_CONFIG, what,
            "z: No such file or directory")


@test("native")
def console_is_a_pipe_that_nobody_reads(t):
    os.mkfifo(t.path("pipe"))
    refused(t, run("--console", t.path("pipe")), BAD_CONFIG, "--console", t.path("pipe"), "reads")


@test("native")
def tap_that_the_host_has_not(t):
    """Nor is it afterwards: root could make one by opening it."""
    refused(t, run("--net", "tap=misspelt0"), BAD_CONFIG, "net net0", "there is no tap misspelt0", "ip tuntap add")


@test("native")
def one_descriptor_for_two_drives(t):
    image = t.file("image", bytes(1 << 20))
    with open(image, "r+b") as opened:
        refused(t, run("--drive", f"fd={opened.fileno()}", "--drive", f"fd={opened.fileno()}"), BAD_CONFIG,
                "drive vdb", "vda", fds=[opened.fileno()])


@test("native")
def console_that_cannot_be_opened(t):
    path = t.path("no/such/console")
    refused(t, run("--console", path), BAD_CONFIG, "--console", path, "No such file")


# No KVM ----------------------------------------------------------------------------------------------


def with_devices(t, script, *words, before=()):
    """Runs a good microVM where /dev holds only what the script makes."""
    if os.geteuid() != 0:
        raise Skip("needs root to have another /dev")
    os.chmod(t.dir, 0o755)
    # Nobody may look into the project's folder; what it runs from lies elsewhere.
    subprocess.run(["cp", MAYFLY, os.path.join(GUEST, "payload/byte.elf"), t.dir], check=True)
    place = ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none /dev; {script}; exec "$@"', "sh", *before]
    refused(t, ["run", "--kernel", t.path("byte.elf")], FAILURE, "/dev/kvm", *words,
            before=place, binary=t.path(os.path.basename(MAYFLY)))


@test("native")
def kvm_missing(t):
    with_devices(t, ":", "No such file", "check-host")


@test("native")
def kvm_without_right(t):
    with_devices(t, "mknod -m 600 /dev/kvm c 10 232", "root", "group",
                 before=["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"])


@test("native")
def kvm_that_is_none(t):
    with_devices(t, "touch /dev/kvm", "not KVM's device", "check-host")


@test("native")
def kvm_without_driver(t):
    with_devices(t, "mknod /dev/kvm c 10 254", "No such device", "check-host")
