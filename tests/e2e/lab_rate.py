"""Limits, as a guest's clock sees them: what it reads takes as long as it should, and no longer."""

import re

from harness import holds, test
from vm import small

CLOCK = "read up rest < /proc/uptime; echo \"at $up\""


def seconds_for(t, command, image, rate):
    """How long the guest takes for it, by its own clock."""
    vm = small(t, "sh", "-c", f"{CLOCK}; {command}; {CLOCK}", options=["--drive", image, "--rate", rate]).ends(0)
    start, end = (float(at) for at in re.findall(r"at ([0-9.]+)", vm.text()))
    t.log(f"{rate}: {end - start:.2f} s")
    return end - start


@test("lab")
def a_limited_drive_moves_so_many_bytes(t):
    """21 MiB: one is in the bucket, the others come at 4 MiB/s."""
    took = seconds_for(t, "cat /dev/vda > /dev/null", t.file("image", size=21 << 20), "vda,bytes=1M/250")
    holds(f"{took:.2f} s within 3 % of 5 s", took, 4.85 <= took <= 5.15)


@test("lab")
def a_limited_drive_does_so_many_operations(t):
    """700 reads of 4 KiB: 100 are in the bucket, the others come at 200 a second."""
    took = seconds_for(t, "dd if=/dev/vda of=/dev/null bs=4k count=700 iflag=direct 2>/dev/null",
                       t.file("image", size=4 << 20), "vda,ops=100/500")
    holds(f"{took:.2f} s within 5 % of 3 s", took, 2.85 <= took <= 3.15)


@test("lab")
def limited_random_numbers(t):
    """6 KiB: one is in the bucket, the others come at 2 KiB/s; the guest's kernel takes some for itself."""
    took = seconds_for(t, "dd if=/dev/hwrng of=/dev/null bs=64 count=96 2>/dev/null", t.file("image", size=1 << 20),
                       "rng,bytes=1K/500")
    holds(f"{took:.2f} s at least 2.4 s", took, took >= 2.4)
