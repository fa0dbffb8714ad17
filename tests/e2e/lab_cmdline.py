"""The kernel's command line and the words that reach init."""

import re

from harness import contains, equal, holds, test
from vm import small

ARGUMENTS = ["two words", "", "a=b", " lead and trail ", "it's", "$HOME \\n", "tab\there", "Ünïcödé", "x.y=1", "-v", "50%"]


@test("lab")
def init_arguments_arrive_exactly(t):
    vm = small(t, "@args", *ARGUMENTS).ends(0)
    equal("lines of output", lines(vm), [f"[{argument}]" for argument in ARGUMENTS])


@test("lab")
def init_arguments_31(t):
    words = [f"word{number}" for number in range(31)]
    vm = small(t, "@args", *words).ends(0)
    equal("lines of output", lines(vm), [f"[{word}]" for word in words])


def lines(vm):
    """What @args printed: not the kernel's messages, which start with a time."""
    return [line for line in vm.text().split("\n") if re.match(r"\[(?! *\d+\.\d{6}\])", line)]


def kernel_sees(t, *options):
    vm = small(t, "cat", "/proc/cmdline", options=options).ends(0)
    return next((line for line in vm.text().split("\n") if "/proc/cmdline" in line), "")


@test("lab")
def cmdline_by_default(t):
    came = kernel_sees(t)
    contains("a command line", came, "reboot=k", "panic=-1", "console=ttyS0", "-- cat /proc/cmdline")
    holds("no root=", "root=" not in came, came)


@test("lab")
def cmdline_of_ones_own(t):
    image = t.file("image", size=1 << 20)
    equal("command line", kernel_sees(t, "--cmdline", "quiet answer=42", "--drive", image),
          "quiet answer=42 console=ttyS0 -- cat /proc/cmdline")


@test("lab")
def cmdline_with_a_root_added(t):
    came = kernel_sees(t, "--cmdline", "quiet", "--rootfs", t.file("image", size=1 << 20))
    equal("command line", came, "quiet console=ttyS0 root=/dev/vda rw -- cat /proc/cmdline")


@test("lab")
def cmdline_with_a_read_only_root_added(t):
    came = kernel_sees(t, "--cmdline", "quiet", "--rootfs", t.file("image", size=1 << 20) + ":ro")
    equal("command line", came, "quiet console=ttyS0 root=/dev/vda ro -- cat /proc/cmdline")


@test("lab")
def cmdline_that_names_its_own(t):
    text = "quiet console=ttyS0,115200 root=/dev/vdb ro"
    came = kernel_sees(t, "--cmdline", text, "--rootfs", t.file("image", size=1 << 20))
    equal("command line", came, f"{text} -- cat /proc/cmdline")


@test("lab")
def cmdline_variables_reach_init(t):
    vm = small(t, "sh", "-c", "echo mine is $MINE", options=["--cmdline", "quiet MINE=yours"]).ends(0)
    contains("output", vm.text(), "mine is yours")


@test("lab")
def cmdline_quotes_in_the_text(t):
    vm = small(t, "sh", "-c", "echo mine is $MINE", options=["--cmdline", 'quiet MINE="a b"']).ends(0)
    contains("output", vm.text(), "mine is a b")


@test("lab")
def cmdline_of_2047_bytes(t):
    text = "quiet " + "filler=" + "x" * 1900
    end = "console=ttyS0 -- cat /proc/cmdline"
    text += "y" * (2047 - len(text) - len(end) - 1)
    came = kernel_sees(t, "--cmdline", text)
    equal("command line", came, f"{text} {end}")
    equal("its length", len(came), 2047)
