"""Guests that run fio on request: what is started, asked, and looked at from outside. Used inside the lab."""
import glob
import json
import os
import re
import select
import subprocess
import time

import machines

CMDLINE = ("quiet console=ttyS0 reboot=k panic=-1 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd "
           "MAYFLY_END=reboot")
QEMU = "/usr/bin/qemu-system-x86_64"
BOOT_LIMIT = 120  # s
TICK = os.sysconf("SC_CLK_TCK")
COUNTERS = ("exits", "io_exits", "mmio_exits", "irq_exits", "halt_exits", "irq_injections")


class Hung(Exception):
    pass


class Guest:
    """A monitor with a guest in it that serves."""

    def __init__(self, name, command, log):
        self.name, self.output = name, b""
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log)
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            self.answer(BOOT_LIMIT)
        except Hung:
            self.end()
            raise

    def pin(self, how):
        """`apart`: vCPUs on CPU 0 and everything else on CPU 1; `together`: all on CPU 0."""
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/comm", encoding="utf-8") as file:
                is_vcpu = "cpu" in file.read().lower()
            os.sched_setaffinity(int(task), {0 if is_vcpu or how == "together" else 1})

    def answer(self, seconds):
        """Its next line of `serve: KEY=VALUE ...` as {KEY: number}."""
        until = time.monotonic() + seconds
        while True:
            lines = self.output.split(b"\n")
            for number, line in enumerate(lines[:-1]):
                if line.startswith(b"serve: "):
                    self.output = b"\n".join(lines[number + 1:])
                    words = [word.split("=", 1) for word in line.decode().split()[1:] if "=" in word]
                    return {key: float(value or "nan") for key, value in words}
            left = until - time.monotonic()
            if left <= 0 or self.process.poll() is not None:
                what = "gone" if self.process.poll() is not None else "silent"
                raise Hung(f"{self.name} is {what}; it said {self.output[-300:].decode(errors='replace')!r}")
            select.select([self.process.stdout], [], [], min(left, 1))
            self.output += self.process.stdout.read() or b""

    def ask(self, line, seconds):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        return self.answer(seconds)

    def end(self):
        self.process.kill()
        self.process.wait()

    # From outside

    def cpu(self):
        """Seconds of CPU that the process took, all its threads', but not what the guest ran in them."""
        with open(f"/proc/{self.process.pid}/stat", encoding="utf-8") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        user, system, guest = int(fields[11]), int(fields[12]), int(fields[40])
        return (user + system - guest) / TICK

    def counters(self):
        """KVM's, of all its vCPUs; nothing where debugfs is not mounted."""
        found = {}
        for folder in glob.glob(f"/sys/kernel/debug/kvm/{self.process.pid}-*"):
            for name in COUNTERS:
                if os.path.exists(os.path.join(folder, name)):
                    with open(os.path.join(folder, name), encoding="utf-8") as file:
                        found[name] = int(file.read())
        return found


class Tracepoint:
    """Counts by one of the kernel's own tracepoints. To switch it on patches the kernel's text, which an emulated host
    does not always survive: once, and after everything else."""

    FOLDER = "/sys/kernel/tracing/events"

    def __init__(self, event, key, names):
        if not os.path.exists(self.FOLDER):
            subprocess.run(["mount", "-t", "tracefs", "tracefs", "/sys/kernel/tracing"], check=True)
        self.event, self.key, self.names = os.path.join(self.FOLDER, event), key, names
        with open(f"{self.event}/trigger", "w", encoding="utf-8") as file:
            file.write(f"hist:keys=common_pid,{key}:size=8192")

    def of(self, pid):
        """{name or number: hits} of all its threads, since it was switched on."""
        tasks, found = set(os.listdir(f"/proc/{pid}/task")), {}
        with open(f"{self.event}/hist", encoding="utf-8") as file:
            for line in re.findall(r"^\{(.*)\} hitcount: *(\d+)", file.read(), re.M):
                keys = dict(re.findall(r"(\w+): *(\w+)", line[0]))
                if keys["common_pid"] in tasks:
                    number = int(keys[self.key], 0)
                    name = self.names.get(number, str(number))
                    found[name] = found.get(name, 0) + int(line[1])
        return found


def syscalls():
    return Tracepoint("raw_syscalls/sys_enter", "id", {
        426: "io_uring_enter", 16: "ioctl", 232: "epoll_wait", 281: "epoll_wait", 0: "read", 1: "write", 8: "lseek",
        17: "pread64", 18: "pwrite64", 327: "preadv2", 328: "pwritev2"})


def exits():
    """Why vCPUs left their guests, in AMD's numbers: the lab's processor is one."""
    return Tracepoint("kvm/kvm_exit", "exit_reason", {
        0x60: "host irq", 0x64: "irq window", 0x78: "halt", 0x7b: "port", 0x7c: "MSR", 0x400: "MMIO or memory"})


def firecracker(binary, machine, config_path, engine):
    """machines.firecracker() with these drives, this engine, and a flush as mayfly has it."""
    command = machines.firecracker(binary, machine, config_path)
    with open(config_path, encoding="utf-8") as file:
        config = json.load(file)
    config["drives"] = [{"drive_id": f"d{number}", "path_on_host": path, "is_root_device": False, "is_read_only": False,
                         "cache_type": "Writeback", "io_engine": engine}
                        for number, path in enumerate(machine["drives"])]
    with open(config_path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return command


def mayfly(binary, machine):
    drives = [word for path in machine["drives"] for word in ("--drive", path + machine.get("settings", ""))]
    # Firecracker adds pci=off itself.
    return machines.mayfly(binary, dict(machine, cmdline=machine["cmdline"] + " pci=off"), drives)


def qemu(machine):
    command = [QEMU, "-M", "microvm,accel=kvm", "-cpu", "host", "-m", str(machine["mib"]), "-smp", "1", "-nodefaults",
               "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio", "-kernel", machine["kernel"],
               "-initrd", machine["initrd"], "-append", machine["cmdline"] + " -- " + " ".join(machine["words"])]
    for number, path in enumerate(machine["drives"]):
        command += ["-drive", f"if=none,id=d{number},file={path},format=raw,cache=writeback,aio=io_uring",
                    "-device", f"virtio-blk-device,drive=d{number}"]
    return command


def machine(request, drives):
    return {"kernel": request["kernel"], "initrd": request["initrd"], "mib": 160, "cmdline": CMDLINE,
            "words": ["serve"], "drives": drives}


def commands(request, drives_of):
    """{name: command} of every monitor; drives_of(name) says which drives it gets."""
    result = {"mayfly": mayfly(request["mayfly"], machine(request, drives_of("mayfly")))}
    if request.get("other"):
        result["other"] = mayfly(request["other"], machine(request, drives_of("other")))
    for name, engine in (("fc-sync", "Sync"), ("fc-async", "Async")):
        if request["peer"]:
            config = os.path.join(request["dir"], f"blk-{name}.json")
            result[name] = firecracker(request["peer"], machine(request, drives_of(name)), config, engine)
    if os.access(QEMU, os.X_OK) and request.get("qemu", True):
        result["qemu"] = qemu(machine(request, drives_of("qemu")))
    return result
