"""The same questions to Firecracker and to mayfly: tests/compat/differential."""

import os
import subprocess

from harness import MAYFLY, ROOT, Skip, artefact, equal, holds, test

DIFFERENTIAL = os.path.join(ROOT, "tests/compat/differential")
PEER = os.environ.get("PEER_FIRECRACKER", os.path.join(ROOT, "../shared/peers/firecracker"))


def ask(t, binary):
    """In a network of its own: interfaces are made, and go with it."""
    artefact("payload/spin.elf")
    run = subprocess.run(["unshare", "-rn", DIFFERENTIAL, "compare", binary], capture_output=True, text=True)
    t.log(run.stdout + run.stderr)
    if "unshare" in run.stderr:
        raise Skip("no namespaces for an unprivileged user: " + run.stderr.strip())
    return run


@test("native", limit=180)
def compat_answers_as_recorded(t):
    run = ask(t, MAYFLY)
    equal("exit status of the comparison", (run.returncode, run.stdout[-600:] if run.returncode else ""), (0, ""))


@test("native", limit=180)
def compat_record_is_true(t):
    """What is written down is what Firecracker answers: no answer of its own differs but for timing."""
    if not os.path.exists(PEER):
        raise Skip("no Firecracker here: name one in PEER_FIRECRACKER=")
    run = ask(t, PEER)
    last = run.stdout.strip().split("\n")[-1]
    holds("at most 3 other answers", ", 0 other statuses, " in last and int(last.split(", ")[2].split()[0]) <= 3, last)
