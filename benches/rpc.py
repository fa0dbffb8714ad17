"""The control plane's two languages: MessagePack-RPC beside HTTP, ours and the peer's; a microVM in one call."""
import json
import os
import socket
import subprocess
import time

import report
import spawning

CALLS = 2000
DEPTH = 16
SHAPES = ((1, 1), (8, 1), (16, 1), (1, DEPTH), (8, DEPTH), (16, DEPTH))  # clients, requests at a time
HTTP_CLIENTS = 10  # are served at once, here and there
STARTS = 8
PATIENCE = 10  # s


def serve(program, path):
    if os.path.exists(path):
        os.unlink(path)
    process = subprocess.Popen([program, "--api-sock", path, "--level", "Error"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        try:
            client.connect(path)
            return process, client
        except OSError:
            client.close()
    return process, None


def end(process, client, path):
    if client:
        client.close()
    process.kill()
    process.wait()
    process.stdout.close()
    if os.path.exists(path):
        os.unlink(path)


def measure_calls(bench, program, language, clients, depth):
    path = os.path.join(bench.dir, "rpc.sock")
    if language == "http" and clients > HTTP_CLIENTS:
        return {}
    process, client = serve(program, path)
    if client:
        client.close()
    command = [os.path.join(bench.build, "bench-rpc"), language, str(CALLS), str(clients), str(depth), path]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False,
                              timeout=10)
        return next(iter(spawning.read_lines(done.stdout).values()), {})
    except subprocess.TimeoutExpired:
        return {}
    finally:
        end(process, None, path)


# -- a microVM with three devices: from spawn to its first byte --------------------------------------------

def configuration(bench):
    machine = bench.payload("byte")
    path = os.path.join(bench.dir, "rpc-vsock")
    if os.path.exists(path):
        os.unlink(path)
    return {"machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
            "boot-source": {"kernel_image_path": machine["kernel"]},
            "drives": [{"drive_id": "root", "is_root_device": True, "path_on_host": machine["drive"]}],
            "vsock": {"guest_cid": 3, "uds_path": path}, "entropy": {}}


def http_calls(config):
    yield "/machine-config", config["machine-config"]
    yield "/boot-source", config["boot-source"]
    yield "/drives/root", config["drives"][0]
    yield "/vsock", config["vsock"]
    yield "/entropy", config["entropy"]
    yield "/actions", {"action_type": "InstanceStart"}


def start_by_http(client, config):
    for path, body in http_calls(config):
        data = json.dumps(body).encode()
        client.sendall(f"PUT {path} HTTP/1.1\r\nContent-Type: application/json\r\n"
                       f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        if b" 204 " not in client.recv(65536).split(b"\r\n")[0]:
            return False
    return True


def pack(value):
    """MessagePack of what a configuration consists of, without a package that not every host has."""
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xce" + value.to_bytes(4, "big")
    if isinstance(value, str):
        return b"\xda" + len(value).to_bytes(2, "big") + value.encode()
    if isinstance(value, list):
        return b"\xdc" + len(value).to_bytes(2, "big") + b"".join(map(pack, value))
    return b"\xde" + len(value).to_bytes(2, "big") + b"".join(pack(part) for item in value.items() for part in item)


def start_by_rpc(client, config):
    client.sendall(b"\x94" + pack(0) + pack(1) + pack("vm.configure_and_start") + pack([config]))
    answer = client.recv(65536)  # [1, id, nil, nil]; ids below 128 are a byte
    return answer == b"\x94\x01\x01\xc0\xc0"


def measure_start(bench, program, start):
    """µs; None when it failed."""
    path, config = os.path.join(bench.dir, "rpc.sock"), configuration(bench)
    begin = time.monotonic()
    process, client = serve(program, path)
    try:
        good = client is not None and start(client, config) and process.stdout.read(1) == b"M"
        return (time.monotonic() - begin) * 1e6 if good else None
    except OSError:
        return None
    finally:
        end(process, client, path)


def starts(bench, ways):
    times = {name: [] for name in ways}
    for _ in range(STARTS):
        for name, (program, start) in ways.items():
            times[name].append(measure_start(bench, program, start))
    return {name: sorted(time for time in values if time) for name, values in times.items()}


# -- allocations -------------------------------------------------------------------------------------------

def allocations(bench):
    """Of each request: how many, and bytes, in both languages."""
    path = os.path.join(bench.dir, "allocs.sock")
    done = subprocess.run([os.path.join(bench.build, "bench-allocs"), str(CALLS), path], stdout=subprocess.PIPE, text=True,
                          check=False, timeout=60)
    return spawning.read_lines(done.stdout)


# -- tables ------------------------------------------------------------------------------------------------

def calls_row(name, results):
    cells = [name]
    for clients, depth in SHAPES:
        result = results.get(f"{clients}x{depth}", {})
        batch, rate = result.get("batch"), result.get("rate")
        cells.append(f"{report.ms(batch[0])} {report.ms(batch[1])} {rate[0]:.0f}" if batch and rate else "-")
    return cells


def run(bench):
    programs = {"mayfly rpc": (bench.mayfly, "rpc"), "mayfly HTTP": (bench.mayfly, "http")}
    ways = {"mayfly, one rpc": (bench.mayfly, start_by_rpc), "mayfly, 6 HTTP": (bench.mayfly, start_by_http)}
    if bench.peer:
        programs["firecracker HTTP"] = (bench.peer, "http")
        ways["firecracker, 6 HTTP"] = (bench.peer, start_by_http)
    results = {name: {f"{clients}x{depth}": measure_calls(bench, program, language, clients, depth)
                      for clients, depth in SHAPES} for name, (program, language) in programs.items()}
    print(f"Round trips for /machine-config, ms; CLIENTS x requests at a time, {CALLS} calls a client; HTTP serves "
          f"{HTTP_CLIENTS} clients at once")
    report.table([""] + [f"{clients} x {depth} p50, p99, calls/s" for clients, depth in SHAPES],
                 [calls_row(name, result) for name, result in results.items()])
    started = starts(bench, ways)
    print("\nA microVM with three devices, from spawn to the guest's first byte, ms")
    report.table(["", "p50", "min", "runs"],
                 [[name, report.ms(times[len(times) // 2]), report.ms(times[0]), str(len(times))] if times else
                  [name, "-", "-", "0"] for name, times in started.items()])
    counted = allocations(bench)
    print("\nAllocations of a call, and their bytes")
    report.table(["", "rpc", "bytes", "HTTP", "bytes"],
                 [[name, *(f"{value:g}" for value in row["rpc"] + row["http"])] for name, row in counted.items()])
    return {"calls": results, "starts": started, "allocations": counted}
