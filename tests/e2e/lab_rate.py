"""Limits, as a guest's clock sees them: what it reads takes as long as it should, and no longer."""

import re

from harness import holds, test
from vm import small

CLOCK = "read up rest < /proc/uptime; echo at $up"

FIVE = "5 s, 3 % more, or less what comes in while a program starts"


def seconds_for(t, before, command, image, rate):
    """How long the guest takes for it, by its own clock, twice. A busy machine only ever adds to it."""
    vm = small(t, "sh", "-c", f"exec 2>/dev/null; {before}; {CLOCK}; {command}; {CLOCK}; {command}; {CLOCK}",
               options=["--drive", image, "--rate", rate]).ends(0)
    at = [float(up) for up in re.findall(r"at ([0-9.]+)", vm.text())]
    t.log(f"{rate}: {at[1] - at[0]:.2f} s, {at[2] - at[1]:.2f} s")
    return sorted((at[1] - at[0], at[2] - at[1]))


@test("lab")
def a_limited_drive_moves_so_many_bytes(t):
    """1 MiB empties the bucket; then 20 MiB at 4 MiB/s."""
    read = "dd if=/dev/vda of=/dev/null bs=128k iflag=direct count="
    took = seconds_for(t, read + "8", read + "160", t.file("image", size=21 << 20), "vda,bytes=1M/250")
    holds(FIVE, 4.75 <= took[0] <= 5.15, f"{took} s")


@test("lab")
def a_limited_drive_does_so_many_operations(t):
    """100 reads of 4 KiB empty the bucket; then 1,000 at 200 a second."""
    read = "dd if=/dev/vda of=/dev/null bs=4k iflag=direct count="
    took = seconds_for(t, read + "100", read + "1000", t.file("image", size=4 << 20), "vda,ops=100/500")
    holds(FIVE, 4.75 <= took[0] <= 5.15, f"{took} s")


@test("lab")
def limited_random_numbers(t):
    """1 KiB empties the bucket; then 4 KiB at 2 KiB/s, of which the guest's kernel takes some for itself."""
    read = "dd if=/dev/hwrng of=/dev/null bs=64 count="
    took = seconds_for(t, read + "16", read + "64", t.file("image", size=1 << 20), "rng,bytes=1K/500")
    holds("2 s or more", took[0] >= 1.9, f"{took} s")
