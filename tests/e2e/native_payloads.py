"""Payload guests: a few instructions that any KVM runs. What the monitor does around a guest."""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time

import files
from files import elf, segment
from harness import MAYFLY, ROOT, Failure, Skip, artefact, becomes, contains, equal, holds, lacks, test
from vm import Vm, payload

SPIN = b"\x66\xba\xf8\x03\xb0S\xee\xf3\x90\xeb\xfc"  # mov $0x3f8,%dx; mov $'S',%al; out; 1: pause; jmp 1b


def need_kvm():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm that this user may use")


@test("native", "payload-byte", name="byte", output=b"M")
@test("native", "payload-byte-by-pvh", name="byte-pvh", output=b"M")
@test("native", "payload-counter", name="counter", output=b"x" * 65536)
def payload_writes(t, name, output):
    need_kvm()
    vm = payload(t, name).ends(0)
    equal("output", vm.out, output)
    equal("messages", vm.errors(), "")


@test("native")
def payload_triple_fault(t):
    need_kvm()
    vm = payload(t, "triple").ends(160)
    equal("output", vm.out, b"T")
    equal("lines of messages:", len(vm.errors().splitlines()), 1)
    contains("a message", vm.errors(), "mayfly: error: ", "vCPU 0: triple fault")


@test("native")
def kvm_internal_error_shows_registers(t):
    """A jump into the device hole: there is nothing to run, and KVM gives up."""
    need_kvm()
    code = b"\xb8\x00\x00\x00\xd0\xff\xe0"  # mov $0xd0000000,%eax; jmp *%rax
    vm = Vm(t, "run", "--kernel", t.file("kernel", elf(segment(data=code)))).ends(1)
    contains("a message", vm.errors(), "mayfly: error: ", "vCPU 0", "KVM", "rip 00000000d0000000", "cr3", "efer")


def private_kib(vm, ram_kib):
    """{mapping: KiB} of pages that are this process's alone, guest RAM left out."""
    used, name, size = {}, "", 0
    for line in vm.proc("smaps").splitlines():
        word, value = line.split()[:2]
        if not word.endswith(":"):
            name = line
        elif word == "Size:":
            size = int(value)
        elif word in ("Private_Clean:", "Private_Dirty:") and size != ram_kib and int(value):
            used[name] = used.get(name, 0) + int(value)
    return used


@test("native")
def the_monitor_itself_is_small(t):
    """From a copy, whose pages nobody shares. 1 MiB is promised with any guest: what Linux makes it touch beyond what
    this payload does, some 150 KiB, must have room."""
    need_kvm()
    vm = payload(t, "spin", "--mem", 128, "--drive", t.file("drive", size=1 << 20),
                 binary=shutil.copy(MAYFLY, t.path("mayfly")))
    vm.wait_for("S")
    time.sleep(3)  # until it has given back what only its start needed
    used = private_kib(vm, 128 << 10)
    holds("private memory of at most 800 KiB", sum(used.values()) <= 800, f"{sum(used.values())} KiB: {used}")


@test("native", "memory-of-128M", mem="128M")
@test("native", "memory-of-512", mem="512")
@test("native", "memory-of-4G", mem="4G")
@test("native", "memory-of-3073", mem="3073")
def memory(t, mem):
    need_kvm()
    equal("output", payload(t, "byte", "--mem", mem).ends(0).out, b"M")


@test("native")
def cpus_32(t):
    need_kvm()
    equal("output", payload(t, "byte", "--cpus", 32).ends(0).out, b"M")


@test("native")
def vcpu_threads_are_named(t):
    need_kvm()
    vm = payload(t, "spin", "--cpus", 3)
    vm.wait_for("S")
    wanted = ["fc_vcpu 0", "fc_vcpu 1", "fc_vcpu 2"]
    becomes(f"threads {wanted}", lambda: [name for name in vm.thread_names() if "vcpu" in name] == wanted)


@test("native", "ended-by-SIGTERM", number=signal.SIGTERM, status=143)
@test("native", "ended-by-SIGINT", number=signal.SIGINT, status=130)
@test("native", "ended-by-SIGHUP", number=signal.SIGHUP, status=156)
@test("native", "ended-by-SIGQUIT", number=signal.SIGQUIT, status=131)
@test("native", "ended-by-SIGXCPU", number=signal.SIGXCPU, status=154)
@test("native", "ended-by-SIGSEGV", number=signal.SIGSEGV, status=150)
@test("native", "ended-by-SIGILL", number=signal.SIGILL, status=157)
@test("native", "ended-by-SIGSYS", number=signal.SIGSYS, status=148)
@test("native", "ended-by-SIGTRAP", number=signal.SIGTRAP, status=133)
@test("native", "ended-by-SIGUSR1", number=signal.SIGUSR1, status=138)
@test("native", "ended-by-SIGALRM", number=signal.SIGALRM, status=142)
def ended_by_signal(t, number, status):
    need_kvm()
    vm = payload(t, "spin", "--cpus", 2)
    vm.wait_for("S")
    vm.signal(number)
    vm.ends(status, 5)
    equal("lines of messages:", len(vm.errors().splitlines()), 1)
    contains("a message", vm.errors(), "mayfly: ", number.name)


@test("native", "agent-monitor-that-crashes", number=signal.SIGSEGV)
@test("native", "agent-monitor-that-is-trapped", number=signal.SIGSYS)
def agent_crash(t, number):
    """Whoever runs a command in the guest can tell its status from the monitor's."""
    need_kvm()
    vm = payload(t, "spin", "--agent", artefact("agent.cpio"), "--", "true")
    vm.until("a guest that runs", lambda: "fc_vcpu 0" in vm.thread_names())
    vm.signal(number)
    vm.ends(125, 5)
    contains("a message", vm.errors(), number.name)


@test("native")
def ignored_signals_stay_ignored(t):
    """As nohup and a shell's background jobs want it."""
    need_kvm()
    process = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", MAYFLY, "run", "--kernel", artefact("payload/spin.elf")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    t.cleanups.append(process.kill)
    equal("the guest's output", process.stdout.read(1), b"S")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    equal("status after SIGHUP", process.poll(), None)
    process.terminate()
    equal("status", process.wait(5), 143)


@test("native")
def signals_work_while_nobody_reads_messages(t):
    need_kvm()
    reader, writer = os.pipe()
    process = subprocess.Popen([MAYFLY, "run", "--kernel", artefact("payload/spin.elf")],
                               stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    t.cleanups.append(process.kill)
    equal("the guest's output", os.read(reader, 1), b"S")
    os.set_blocking(writer, False)
    for size in (4096, 1):
        try:
            while True:
                os.write(writer, bytes(size))
        except BlockingIOError:
            pass
    os.set_blocking(writer, True)
    for _ in range(5):
        process.terminate()
        time.sleep(0.5)
        if process.poll() is not None:
            return
    raise Failure("an end after several SIGTERMs", "none")


@test("native")
def fifty_starts_and_ends(t):
    """A race at either end shows here sooner than in one run."""
    need_kvm()
    for number in range(50):
        vm = payload(t, "spin", "--cpus", 1 + number % 4)
        vm.wait_for("S")
        time.sleep(number % 5 / 1000)
        vm.signal(signal.SIGTERM)
        vm.ends(143, 5)


# Serial output ---------------------------------------------------------------------------------------


@test("native")
def console_none(t):
    need_kvm()
    vm = payload(t, "counter", "--console", "none").ends(0)
    equal("output", vm.out + vm.err, b"")


@test("native")
def console_to_a_file_adds_at_its_end(t):
    need_kvm()
    path = t.file("console", b"before\n")
    vm = payload(t, "counter", "--console", path).ends(0)
    equal("output", vm.out + vm.err, b"")
    equal("bytes in the file", files.read_at(path, 0, 100000), b"before\n" + b"x" * 65536)


@test("native")
def console_makes_its_file(t):
    need_kvm()
    payload(t, "byte", "--console", t.path("new")).ends(0)
    equal("the file", files.read_at(t.path("new"), 0, 10), b"M")


@test("native")
def slow_reader_loses_nothing(t):
    need_kvm()
    vm = payload(t, "counter")
    time.sleep(1.5)  # the pipe is full long before the guest is done
    equal("bytes of output", len(vm.ends(0).out), 65536)


@test("native")
def lost_output_is_counted(t):
    """This guest never asks whether the port is ready: what it writes is there or told as lost."""
    need_kvm()
    vm = payload(t, "counter")
    fcntl.fcntl(vm.process.stdout, fcntl.F_SETPIPE_SZ, 4096)
    time.sleep(1.5)
    vm.ends(0)
    lost = re.search(r"(\d+) bytes of the guest's output were lost", vm.errors())
    holds("a message about lost output", lost, vm.errors())
    equal("bytes that came and bytes that were lost:", len(vm.out) + int(lost.group(1)), 65536)


@test("native")
def reader_that_stays_away_is_told(t):
    """More than a pipe holds and nobody reads: the end does not wait for ever, and says what was lost."""
    need_kvm()
    reader, writer = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", 'head -c 60000 /dev/zero; exec "$@"', "sh", MAYFLY, "run", "--kernel",
         artefact("payload/counter.elf")], stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE)
    t.cleanups.append(process.kill)
    _, errors = process.communicate(timeout=30)
    equal("status", process.returncode, 0)
    contains("a message", errors.decode(), "lost", "output")
    os.close(reader)


@test("native")
def reader_that_is_gone(t):
    need_kvm()
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen([MAYFLY, "run", "--kernel", artefact("payload/counter.elf")],
                               stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE)
    t.cleanups.append(process.kill)
    _, errors = process.communicate(timeout=30)
    equal("status", process.returncode, 0)
    contains("a message", errors.decode(), "console", "Broken pipe")


@test("native")
def output_to_a_full_disk(t):
    need_kvm()
    with open("/dev/full", "wb") as full:
        process = subprocess.run([MAYFLY, "run", "--kernel", artefact("payload/counter.elf")], timeout=30,
                                 stdin=subprocess.DEVNULL, stdout=full, stderr=subprocess.PIPE, check=False)
    equal("status", process.returncode, 0)
    contains("a message", process.stderr.decode(), "No space left")


@test("native", "standard-streams-closed", closed="<&- >&- 2>&-")
@test("native", "standard-input-closed", closed="<&-")
@test("native", "standard-output-closed", closed=">&-")
def without_streams(t, closed):
    """No descriptor of the monitor's own may take the place of a closed one."""
    need_kvm()
    image = t.file("image", b"as it was", size=1 << 20)
    kernel = artefact("payload/counter.elf")
    process = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", MAYFLY, "run", "--kernel", kernel, "--drive",
                              image], timeout=30, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    equal("status", process.returncode, 0)
    equal("the image", files.read_at(image, 0, 1 << 20), b"as it was" + bytes((1 << 20) - 9))


@test("native")
def output_shared_with_a_shell_stays_blocking(t):
    """O_NONBLOCK on a shared description would reach whoever else has it."""
    need_kvm()
    reader, writer = os.pipe()
    process = subprocess.Popen([MAYFLY, "run", "--kernel", artefact("payload/spin.elf")], stdin=reader, stdout=writer,
                               stderr=subprocess.DEVNULL)
    t.cleanups.append(process.kill)
    time.sleep(0.5)
    holds("a writer that blocks", os.get_blocking(writer))
    holds("a reader that blocks", os.get_blocking(reader))
    process.terminate()
    equal("status", process.wait(5), 143)
    holds("a writer that blocks afterwards", os.get_blocking(writer))


# Files that shrink -----------------------------------------------------------------------------------


@test("native", "kernel-cut-short-while-it-runs", what="kernel")
@test("native", "initrd-cut-short-while-it-runs", what="initrd")
@test("native", "kernel-emptied-while-it-runs", what="kernel", size=0)
def cut_short(t, what, size=0x1800):
    need_kvm()
    # Both large enough to be mapped: a small one is read, and then its file does not matter any more.
    kernel = t.file("kernel", elf(segment(data=SPIN + bytes(17 << 20))))
    initrd = t.file("initrd", b"")
    os.truncate(initrd, (16 << 20) + 0x8000)
    vm = Vm(t, "run", "--kernel", kernel, "--initrd", initrd)
    vm.wait_for("S")
    os.truncate(t.path(what), size)
    vm.ends(149, 5)
    equal("lines of messages:", len(vm.errors().splitlines()), 1)
    contains("a message", vm.errors(), "mayfly: error: ", t.path(what), "cut short")


@test("native")
def kernel_replaced_while_it_runs(t):
    """A new file under the old name, as package managers and compilers make it, harms nobody."""
    need_kvm()
    kernel = t.file("kernel", elf(segment(data=SPIN + bytes(0x8000))))
    vm = Vm(t, "run", "--kernel", kernel)
    vm.wait_for("S")
    os.rename(t.file("new"), kernel)
    time.sleep(0.5)
    holds("a microVM that goes on", vm.process.poll() is None)
    vm.signal(signal.SIGTERM)
    vm.ends(143, 5)


# The program itself ----------------------------------------------------------------------------------


@test("native")
def timings_are_a_table(t):
    need_kvm()
    vm = payload(t, "byte", "--timings").ends(0)
    equal("output", vm.out, b"M")
    rows = [line for line in vm.errors().splitlines() if line.strip()]
    for row in ("process start", "configuration", "kernel load", "first KVM_RUN", "first guest console byte", "init"):
        holds(f"a row '{row}'", any(line.strip().startswith(row) for line in rows), vm.errors())
    times = [float(line.split()[-2]) for line in rows if line.split()[-1].replace(".", "").isdigit()]
    holds("times that only grow", times == sorted(times) and len(times) >= 6, vm.errors())


@test("native")
def empty_chroot(t):
    """One static file, /dev/kvm and what the command line names: no library, no /proc, no /etc."""
    need_kvm()
    if os.geteuid() != 0:
        raise Skip("needs root to change the root")
    root = t.path("root")
    os.makedirs(os.path.join(root, "dev"))
    shutil.copy(MAYFLY, os.path.join(root, "mayfly"))
    shutil.copy(artefact("payload/byte.elf"), os.path.join(root, "kernel"))
    t.file("root/image", size=1 << 20)
    os.mknod(os.path.join(root, "dev/kvm"), 0o600 | 0o020000, os.stat("/dev/kvm").st_rdev)
    vm = Vm(t, "run", "--kernel", "/kernel", "--drive", "/image", before=["chroot", root], binary="/mayfly").ends(0)
    equal("output", vm.out, b"M")
    equal("messages", vm.errors(), "")


@test("native")
def a_static_file(t):
    headers = subprocess.run(["readelf", "-lW", MAYFLY], stdout=subprocess.PIPE, text=True, check=True).stdout
    lacks("program headers", headers, "INTERP")
    contains("program headers", headers, "GNU_RELRO")


@test("native", "help", args=["--help"], words=["Usage: mayfly", "run", "check-host", "--version"])
@test("native", "help-by-word", args=["help"], words=["Usage: mayfly"])
@test("native", "help-run", args=["help", "run"], words=["--kernel", "--drive", "reboot=k panic=-1", "160", "Ctrl-A x"])
@test("native", "help-run-by-option", args=["run", "--help"], words=["Usage: mayfly run"])
@test("native", "version", args=["--version"], words=["mayfly v"])
def prints(t, args, words):
    vm = Vm(t, *args).ends(0)
    contains("output", vm.text(), *words)
    equal("messages", vm.errors(), "")


@test("native")
def check_host_says_what_kvm_can(t):
    vm = Vm(t, "check-host", "--json")
    status = vm.wait(20)
    report = json.loads(vm.text())
    equal("can_run_guests and the status agree:", report["can_run_guests"], status == 0)


@test("native")
def check_host_looks_at_each_capability(t):
    """Those of KVM's capabilities that the machine names, and none that it has no use for."""
    used, looked_at = set(), set()
    for folder, names in (("vmm", used), ("cmd", looked_at)):
        for name in os.listdir(os.path.join(ROOT, folder)):
            if name.endswith(".c") and (folder == "vmm" or name == "check_host_caps.c"):
                with open(os.path.join(ROOT, folder, name), encoding="utf-8") as file:
                    names.update(re.findall(r"KVM_CAP_[A-Z0-9_]+", file.read()))
    equal("not looked at:", used - looked_at, set())
    report = Vm(t, "check-host", "--json")
    report.wait(20)
    rows = [check["id"] for check in json.loads(report.text())["checks"]]
    for unused in ("dirty_log_ring", "manual_dirty_log", "pre_fault_memory", "x86_disable_exits", "signal_msi"):
        equal(f"rows about {unused}:", rows.count(f"kvm_cap_{unused}"), 0)


@test("native")
def killed_leaves_nothing(t):
    need_kvm()
    vm = payload(t, "spin", "--drive", t.file("image", size=1 << 20))
    vm.wait_for("S")
    vm.signal(signal.SIGKILL)
    vm.ends(137, 5)
    becomes("no process of ours", lambda: not has_children())
    equal("files", sorted(os.listdir(t.dir)), ["image"])


def has_children():
    try:
        os.waitpid(-1, os.WNOHANG)
        return True
    except ChildProcessError:
        return False
