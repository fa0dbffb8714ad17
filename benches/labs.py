"""One start of the lab for what is to be measured there: a request goes in, an answer comes out."""
import json
import os
import subprocess


def ask(bench, name, request, patience, options=(), partial=False):
    """What benches/inside-NAME answered; it finds the request in the file that it is given, and there under "answer"
    where to put its own. None when the lab failed; with `partial` what it had measured until then counts."""
    request = dict(request, answer=os.path.join(bench.dir, f"{name}-answer.json"))
    path = os.path.join(bench.dir, f"{name}-request.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(request, file)
    if os.path.exists(request["answer"]):
        os.unlink(request["answer"])
    done = subprocess.run(["tests/lab/lab", *options, "-t", str(patience), "-w", bench.dir, "--",
                           f"benches/inside-{name}", path], stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        print(f"  the lab ended with status {done.returncode}"
              f"{'; what it measured until then counts' if partial else ''}\n")
    if (done.returncode and not partial) or not os.path.exists(request["answer"]):
        return None
    with open(request["answer"], encoding="utf-8") as file:
        return json.load(file)
