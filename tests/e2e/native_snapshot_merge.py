"""`mayfly snapshot merge` of layers that make a layer again, and of what cannot be put together."""

import os
import subprocess

from harness import Skip, contains, equal, holds, test
from native_snapshot import merge_files

SIZE = 16 << 20
IDS = [f"{number:032x}" for number in range(4)]


def layer(t, number, pages):
    """The memory file of a diff, made by hand: number `number` of a chain, with these pages."""
    path = t.path(f"layer{number}")
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for page in pages:
            file.seek(page * 4096)
            file.write(bytes([number]) * 4096)
    try:
        os.setxattr(path, "user.mayfly.snapshot", IDS[number].encode())
        os.setxattr(path, "user.mayfly.parent", IDS[number - 1].encode())
    except OSError:
        raise Skip("no user attributes here") from None
    return path


def data(path):
    """Numbers of the pages that are no holes."""
    pages, at = [], 0
    with open(path, "rb") as file:
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return pages
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            pages += range(at // 4096, end // 4096)
            at = end


@test("native")
def snapshot_layers_make_a_layer(t):
    """What none of them has is a hole still; its attributes are the last one's, and whose layer the first one is."""
    layers = [layer(t, 1, (1, 700)), layer(t, 2, (700, 1300)), layer(t, 3, (5,))]
    output = t.path("layer")
    equal("mayfly snapshot merge", merge_files(*layers, output=output).stderr, "")
    equal("pages that are there", data(output), [1, 5, 700, 1300])
    with open(output, "rb") as file:
        content = file.read()
    equal("whose they are", [content[page * 4096] for page in (1, 5, 700, 1300)], [1, 3, 2, 2])
    equal("its id", os.getxattr(output, "user.mayfly.snapshot").decode(), IDS[3])
    equal("what it is a layer of", os.getxattr(output, "user.mayfly.parent").decode(), IDS[0])


@test("native")
def snapshot_layers_of_nobody(t):
    """An attribute that is no id belongs to nothing; only a parent's may be empty: what was merged into memory has none."""
    one, two = layer(t, 1, (1, 700)), layer(t, 2, (700, 1300))
    for name, texts in (("snapshot", (b"", b"1" * 33, b"1" * 31)), ("parent", (b"1" * 33, b"1" * 31))):
        before = os.getxattr(two, f"user.mayfly.{name}")
        for text in texts:
            os.setxattr(two, f"user.mayfly.{name}", text)
            done = merge_files(one, two, output=t.path("layer"))
            equal("status", done.returncode, 152)
            contains("the refusal", done.stderr, f"{two}: its attribute user.mayfly.{name} is no snapshot's id")
        os.setxattr(two, f"user.mayfly.{name}", before)
    os.setxattr(one, "user.mayfly.parent", b"")
    equal("mayfly snapshot merge", merge_files(one, two, output=t.path("layer")).stderr, "")


@test("native")
def snapshot_layers_where_holes_are_lost(t):
    """Where a page takes a block of 2 MiB, the rest of it would be zeroes over what has not changed."""
    layers = [layer(t, 1, (1, 700)), layer(t, 2, (700, 1300))]
    folder = t.path("huge")
    os.mkdir(folder)
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "huge=always,size=64m", "none", folder],
                                           capture_output=True, check=False).returncode != 0:
        raise Skip("a filesystem of huge pages cannot be mounted here")
    t.cleanups.append(lambda: subprocess.run(["umount", "-l", folder], check=False))
    output = os.path.join(folder, "layer")
    with open(output, "wb") as file:
        file.truncate(SIZE)
        file.seek(4096)
        file.write(b"x" * 4096)
    if len(data(output)) == 1:
        raise Skip("that filesystem keeps the holes of single pages")
    os.unlink(output)
    done = merge_files(*layers, output=output)
    equal("status", done.returncode, 152)
    contains("the refusal", done.stderr, output, "does not keep the holes of single pages")
    equal("what is left there", os.listdir(folder), [])
    full = t.file("full", b"f" * SIZE)
    equal("all of memory may go there", merge_files(full, *layers, output=output).stderr, "")
    with open(output, "rb") as file:
        content = file.read()
    holds("what none of them has", content[2 * 4096:700 * 4096] == b"f" * (698 * 4096))
