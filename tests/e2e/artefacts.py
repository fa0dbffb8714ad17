"""What the suite makes for itself of the artefacts in build/guest, before the lab starts."""

import os

import files
from harness import GUEST, OUT

NO_NOTE = os.path.join(OUT, "vmlinux-without-note")


def make():
    source = os.path.join(GUEST, "small/vmlinux")
    if not os.path.exists(source):
        return
    if not os.path.exists(NO_NOTE) or os.path.getmtime(NO_NOTE) < os.path.getmtime(source):
        files.without_pvh_note(source, NO_NOTE)
