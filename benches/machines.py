"""The same machine as a mayfly command and as a Firecracker command with its configuration file."""
import json
import os

MIB = 1 << 20


def mayfly(binary, machine, extra=()):
    command = [binary, "run", "--kernel", machine["kernel"], "--cpus", "1", "--mem", str(machine["mib"])]
    if machine.get("initrd"):
        command += ["--initrd", machine["initrd"]]
    if machine.get("drive"):
        command += ["--drive", machine["drive"]]
    if machine.get("cmdline"):
        command += ["--cmdline", machine["cmdline"]]
    return command + list(extra) + (["--"] + machine["words"] if machine.get("words") else [])


def firecracker(binary, machine, config_path):
    """Writes the configuration. Its log would go where the guest's output goes: off."""
    boot = {"kernel_image_path": machine["kernel"]}
    if machine.get("initrd"):
        boot["initrd_path"] = machine["initrd"]
    if machine.get("cmdline"):
        words = machine.get("words")
        boot["boot_args"] = machine["cmdline"] + (" -- " + " ".join(words) if words else "")
    drives = []
    if machine.get("drive"):
        drives = [{"drive_id": "data", "path_on_host": machine["drive"], "is_root_device": False,
                   "is_read_only": False}]
    config = {"boot-source": boot, "drives": drives,
              "machine-config": {"vcpu_count": 1, "mem_size_mib": machine["mib"]}}
    with open(config_path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    return [binary, "--no-api", "--config-file", config_path, "--level", "Off"]


def make_drive(path, mib=64):
    """A sparse file; guests may write to it, so it is made anew."""
    with open(path, "wb") as file:
        file.truncate(mib * MIB)
    return path


def find_peer(repository):
    """Firecracker's path, or None and why not."""
    path = os.environ.get("PEER_FIRECRACKER") or os.path.join(repository, "..", "shared", "peers", "firecracker")
    if os.access(path, os.X_OK) and os.path.isfile(path):
        return os.path.realpath(path), None
    return None, "no program at PEER_FIRECRACKER" + ("" if os.environ.get("PEER_FIRECRACKER") else
                                                    ", nor at ../shared/peers/firecracker")
