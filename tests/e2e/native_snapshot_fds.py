"""Snapshots by descriptors alone: saved into files that have no name here, and what is passed and not used, or not passed."""

import os
import resource

from api import Served
from harness import contains, equal, holds, test
from native_snapshot import (create, load_body, memory, merge, merge_is_all, release, run_a_little, save, start, start_writing,
                             waiting_kernel)
from native_snapshot_devices import Rooted, rooted
from native_snapshot_identity import opened


def opens(t, *names, flags=os.O_RDWR | os.O_CREAT):
    fds = [os.open(t.path(name), flags, 0o600) for name in names]
    t.cleanups.append(lambda: [os.close(fd) for fd in fds])
    return fds


def create_fds(vm, kind, state, mem):
    body = {"snapshot_path": {"fd": 0}, "mem_file_path": {"fd": 1}, "snapshot_type": kind}
    return vm.client.call("PUT", "/snapshot/create", body, [state, mem])


def refuse(vm, kind, state, mem, why):
    answer = create_fds(vm, kind, state, mem)
    equal("status", answer.status, 400)
    contains("the refusal", answer.fault(), "Create snapshot error: ", why)


def loads(t, name):
    Served(t, name=f"load{name}.sock").put("/snapshot/load", load_body(t, name, resume_vm=False))


@test("native")
def snapshot_into_descriptors(t):
    """Full, then what has changed: merged into the file of the last save, a layer in an empty one."""
    vm = start_writing(t)
    state, mem, layer = opens(t, "state0", "memory0", "memory1")
    vm.patch("/vm", {"state": "Paused"})
    equal("a full save", create_fds(vm, "Full", state, mem).status, 204)
    first = memory(t, "0")
    for _ in range(2):
        run_a_little(vm)
        equal("a diff into it", create_fds(vm, "Diff", state, mem).status, 204)
    second = memory(t, "0")
    loads(t, "0")
    run_a_little(vm)
    equal("a layer", create_fds(vm, "Diff", state, layer).status, 204)
    create(t, vm, "all")
    holds("the guest has written", first != second and second != memory(t, "all"))
    merge_is_all(t, "0", "1")
    vm.end()


@test("native")
def snapshot_into_a_descriptor_of_another(t):
    """The memory of another snapshot is left as it is, and so is what a clone runs from."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    state, other = opens(t, "state0", "memory0")
    before = memory(t, "0")
    create(t, vm, "1")
    run_a_little(vm)
    refuse(vm, "Diff", state, other, "since snapshot")
    holds("it is as it was", memory(t, "0") == before)
    vm.end()
    clone = Served(t, name="clone.sock")
    clone.put("/snapshot/load", load_body(t, "0", resume_vm=False, track_dirty_pages=True))
    for kind in ("Full", "Diff"):
        refuse(clone, kind, state, other, "is what the guest's memory is mapped from")
    holds("it is as it was", memory(t, "0") == before)


@test("native")
def snapshot_diff_into_a_descriptor_that_fails(t):
    """In the middle: the old state does not go with it any more, and the next diff into it makes it good."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    state, mem = opens(t, "state1", "memory0")
    run_a_little(vm)
    limits = resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, ((2 << 20) + 8192, resource.RLIM_INFINITY))
    refuse(vm, "Diff", state, mem, "File too large")
    resource.prlimit(vm.process.pid, resource.RLIMIT_FSIZE, limits)
    clone = Served(t, name="mixed.sock")
    clone.refused("PUT", "/snapshot/load", load_body(t, "0"), "do not belong together")
    clone.ends(1)
    run_a_little(vm)
    equal("the next one", create_fds(vm, "Diff", state, mem).status, 204)
    create(t, vm, "all")
    holds("merged is what a full save has", memory(t, "0") == memory(t, "all"))
    os.rename(t.path("state1"), t.path("state0"))
    loads(t, "0")
    vm.end()


@test("native")
def snapshot_full_into_the_descriptor_of_a_layer(t):
    """It is no layer any more: it can be loaded, and be what layers are of."""
    vm = start_writing(t)
    vm.patch("/vm", {"state": "Paused"})
    create(t, vm, "0")
    run_a_little(vm)
    create(t, vm, "1", "Diff")
    state, mem = opens(t, "state1", "memory1")
    equal("a full save", create_fds(vm, "Full", state, mem).status, 204)
    run_a_little(vm)
    create(t, vm, "2", "Diff")
    equal("mayfly snapshot merge", merge(t, "1", "2", output="merged").returncode, 0)
    os.rename(t.path("memorymerged"), t.path("memory2"))
    loads(t, "1")
    loads(t, "2")
    vm.end()


@test("native")
def snapshot_by_descriptors_in_an_empty_chroot(t):
    """Saved and loaded where nothing has a name, by a user without rights, and without a word."""
    root = rooted(t)
    state, mem, kernel = opens(t, "state", "memory", "kernel-of-nobody")
    with open(waiting_kernel(t), "rb") as file:
        os.write(kernel, file.read())
    vm = Rooted(t, root, "api.sock")
    vm.put("/boot-source", {"kernel_image_path": {"fd": 0}}, [kernel])
    vm.start()
    vm.wait_for("S")
    vm.patch("/vm", {"state": "Paused"})
    equal("a save", create_fds(vm, "Full", state, mem).status, 204)
    vm.end()
    release(t)
    clone = Rooted(t, root, "clone.sock")
    clone.put("/snapshot/load", {"snapshot_path": {"fd": 0}, "resume_vm": True,
                                 "mem_backend": {"backend_type": "File", "backend_path": {"fd": 1}}}, [state, mem])
    clone.ends(0)
    contains("output", clone.text(), "R")
    equal("messages", (vm.errors(), clone.errors()), ("", ""))


@test("native")
def snapshot_descriptors_not_used_or_not_there(t):
    """What no field names is closed; a field whose descriptor did not come is a 400 that says how many came."""
    vm = start(t)
    save(t, vm)
    state, mem, null = opens(t, "state", "memory", "unused")
    before = sorted(opened(vm))
    for body in ({"snapshot_path": t.path("s"), "mem_file_path": t.path("m")},
                 {"snapshot_path": {"fd": 2}, "mem_file_path": {"fd": 9}}, {"snapshot_path": {"fd": -1}, "mem_file_path": {"fd": 0}},
                 {"snapshot_path": {"fd": "0"}, "mem_file_path": {"fd": 0}}, {"snapshot_path": {"fd": 0, "x": 1}}, []):
        vm.client.call("PUT", "/snapshot/create", body, [null, null, null])
        equal("open files", sorted(opened(vm)), before)
    answer = vm.client.call("PUT", "/snapshot/create", {"snapshot_path": {"fd": 0}, "mem_file_path": {"fd": 2}}, [null, null])
    equal("status", answer.status, 400)
    contains("the refusal", answer.fault(), "no descriptor 2 came along, but 2")
    vm.end()
    release(t)
    clone = Served(t, name="clone.sock")
    clone.put("/drives/rootfs", {"drive_id": "rootfs", "is_root_device": True, "path_on_host": t.path("disk")})
    clone.put("/snapshot/prepare", {})
    before = sorted(opened(clone))
    for backend in ({"backend_type": "File", "backend_path": {"fd": 3}}, {"backend_type": "File", "backend_path": {"fd": 2}},
                    {"backend_type": "Uffd", "backend_path": {"fd": 2}}):
        answer = clone.client.call("PUT", "/snapshot/load", {"snapshot_path": {"fd": 0}, "mem_backend": backend},
                                   [state, mem, null])
        equal("status", answer.status, 400)
        equal("open files", sorted(opened(clone)), before)
    clone.put("/snapshot/load", {"snapshot_path": {"fd": 1}, "resume_vm": True,
                                 "mem_backend": {"backend_type": "File", "backend_path": {"fd": 2}}}, [null, state, mem, null])
    contains("output", clone.ends(0).text(), "R")
    holds("the one that was not used is as it was", os.fstat(null).st_size == 0)
