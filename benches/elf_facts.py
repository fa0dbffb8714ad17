"""A program's size and what protects it, as readelf finds it."""
import os
import re
import subprocess
import tempfile


def readelf(flags, path):
    return subprocess.run(["readelf", "-W", flags, path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=True).stdout


def stripped_size(path):
    with tempfile.NamedTemporaryFile() as file:
        subprocess.run(["strip", "-o", file.name, path], check=True)
        return os.path.getsize(file.name)


def facts(path):
    """[(what, found, is it there)]"""
    headers, dynamic, symbols, notes = (readelf(flags, path) for flags in ("-lh", "-d", "-s", "-n"))
    stack = re.search(r"GNU_STACK.* (\S+) +0x", headers)
    pie = "DYN (" in headers and "INTERP" not in headers and "(NEEDED)" not in dynamic
    now = "BIND_NOW" in dynamic or re.search(r"FLAGS_1.*\bNOW\b", dynamic)
    checked = sorted(set(re.findall(r"\b__(\w+)_chk\b", symbols)) - {"stack"})
    cet = [name for name in ("IBT", "SHSTK") if re.search(rf"x86 feature:.*\b{name}\b", notes)]
    return [
        ("static-pie", "position independent, no interpreter, needs no library" if pie else "no", bool(pie)),
        ("RELRO", "yes" if "GNU_RELRO" in headers else "no", "GNU_RELRO" in headers),
        ("BIND_NOW", "yes" if now else "no", bool(now)),
        ("stack not executable", f"GNU_STACK {stack[1]}" if stack else "no GNU_STACK",
         bool(stack) and "E" not in stack[1]),
        ("no segment writable and executable", "yes" if not re.search(r"\bRWE\b", headers) else "no",
         not re.search(r"\bRWE\b", headers)),
        ("stack protector", "yes" if "__stack_chk_fail" in symbols else "no symbol", "__stack_chk_fail" in symbols),
        ("FORTIFY", f"{len(checked)} checked functions" if checked else "no symbol", bool(checked)),
        ("CET", ", ".join(cet) if cet else "not marked: the C library's archive is not built for it", bool(cet)),
    ]
