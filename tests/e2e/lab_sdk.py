"""The published Go SDK for Firecracker drives a microVM of ours, unmodified."""

import os
import re
import subprocess

import files
import harness
from harness import MAYFLY, Skip, artefact, contains, equal, missing, test
from lab_net import GUEST, make_tap

SDK = os.path.join(harness.ROOT, "build/go-sdk")

# The SDK sorts a kernel's words as it likes, so none are for init: this starts it.
RDINIT = "#!/bin/sh\nexec /init sh /work.sh\n"
WORK = f"""ifconfig eth0 {GUEST.format(44)} up
route add -host 169.254.9.9 dev eth0
token=$(printf 'PUT /latest/api/token HTTP/1.1\\r\\nX-metadata-token-ttl-seconds: 600\\r\\n\\r\\n' | nc -w 20 169.254.9.9 80 | tail -n 1)
echo "metadata $(wget -q -O - --header "X-metadata-token: $token" http://169.254.9.9/latest/a)"
until [ "$(head -c 6 /dev/vda)" = second ]; do echo 3 > /proc/sys/vm/drop_caches; sleep 0.1; done
echo second drive
sleep 100000
"""


@test("lab")
def sdk_go(t):
    """Boot, pause, patch, balloon, stop."""
    if not os.access(SDK, os.X_OK):
        raise Skip(missing("go-sdk"))
    folder = t.path("sdk")
    os.mkdir(folder)
    for name in ("first", "second"):
        with open(os.path.join(folder, f"{name}.img"), "wb") as image:
            image.write(name.encode() + bytes((1 << 20) - len(name)))
    make_tap(t, "sdk", 44)
    initrd = t.file("sdk.cpio", files.initrd_with(artefact("init.cpio"), {"sdk.sh": RDINIT.encode(), "work.sh": WORK.encode()}))
    done = subprocess.run([SDK, MAYFLY, artefact("small/vmlinux"), initrd, "sdk", folder], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=330, check=False)
    t.log(done.stdout)
    contains("steps", done.stdout, "ok a balloon of 20 MiB", "ok Shutdown", "ok Wait")
    equal("steps that failed", re.findall(r"^failed.*", done.stdout, re.M), [])
    equal("status", done.returncode, 0)
