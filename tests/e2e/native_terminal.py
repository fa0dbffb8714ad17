"""The terminal: raw while a guest runs, and given back as it was found on every way out."""

import os
import signal
import termios
import time

from harness import becomes, contains, equal, holds, test
from native_payloads import need_kvm
from vm import payload

CTRL_A = b"\x01"


def on_terminal(t, *args):
    """A guest that says S and spins, on a terminal of its own that is raw by now."""
    need_kvm()
    vm = payload(t, "spin", *args, terminal=True)
    vm.wait_for("S")
    becomes("a raw terminal", vm.is_raw)
    return vm, vm.found_modes


def restored(vm, found):
    equal("terminal modes", vm.terminal_modes(), found)


@test("native")
def ctrl_a_x_ends(t):
    vm, found = on_terminal(t)
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)
    contains("a message", vm.errors(), "mayfly: ", "Ctrl-A x")


@test("native")
def ctrl_a_x_in_two_pieces(t):
    vm, found = on_terminal(t)
    vm.send(CTRL_A)
    vm.until("input taken", lambda: not vm.to_send)
    time.sleep(0.2)
    vm.send(b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native")
def ctrl_a_x_behind_much_input(t):
    """The guest reads nothing: its port is full, and the way out must stay open."""
    vm, found = on_terminal(t)
    vm.send(b"y" * 3000 + CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native")
def ctrl_a_h_helps(t):
    vm, found = on_terminal(t)
    vm.send(CTRL_A + b"h")
    vm.wait_for_error("Ctrl-A x")
    holds("a terminal that stays raw", vm.is_raw())
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native")
def interrupt_key_is_the_guests(t):
    vm, found = on_terminal(t)
    vm.send(b"\x03\x1a\x1c")  # Ctrl-C, Ctrl-Z, Ctrl-\
    time.sleep(0.5)
    holds("a microVM that goes on", vm.process.poll() is None and not vm.is_stopped())
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native", "terminal-back-after-SIGTERM", number=signal.SIGTERM, status=143)
@test("native", "terminal-back-after-SIGINT", number=signal.SIGINT, status=130)
@test("native", "terminal-back-after-SIGHUP", number=signal.SIGHUP, status=156)
@test("native", "terminal-back-after-SIGQUIT", number=signal.SIGQUIT, status=131)
@test("native", "terminal-back-after-SIGSEGV", number=signal.SIGSEGV, status=150)
@test("native", "terminal-back-after-SIGABRT", number=signal.SIGABRT, status=134)
def signalled(t, number, status):
    vm, found = on_terminal(t)
    vm.signal(number)
    vm.ends(status, 5)
    restored(vm, found)


@test("native", "terminal-back-after-power-off", name="byte", status=0)
@test("native", "terminal-back-after-triple-fault", name="triple", status=160)
def ended_by_guest(t, name, status):
    need_kvm()
    vm = payload(t, name, terminal=True)
    vm.ends(status)
    restored(vm, vm.found_modes)


@test("native")
def terminal_back_while_stopped(t):
    vm, found = on_terminal(t)
    for _ in range(2):
        vm.signal(signal.SIGTSTP)
        becomes("a stopped monitor", vm.is_stopped)
        restored(vm, found)
        vm.signal(signal.SIGCONT)
        becomes("a raw terminal again", vm.is_raw)
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native")
def terminal_changed_while_stopped(t):
    """What the shell sets meanwhile is what the user wants back."""
    vm, _ = on_terminal(t)
    vm.signal(signal.SIGTSTP)
    becomes("a stopped monitor", vm.is_stopped)
    changed = vm.terminal_modes()
    changed[3] &= ~termios.ECHOE
    termios.tcsetattr(vm.slave, termios.TCSANOW, changed)
    vm.signal(signal.SIGCONT)
    becomes("a raw terminal again", vm.is_raw)
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, changed)


@test("native", "terminal-from-the-background-by-a-line", first=b"abc\n")
@test("native", "terminal-from-the-background-by-end-of-input", first=b"\x04")
def from_the_background(t, first):
    """A shell's fg sends no signal to a job that runs; what is typed then shows that the terminal is ours."""
    need_kvm()
    shell = ("bash", "--norc", "-ic", '"$@" & read -r line; fg >/dev/null', "bash")
    vm = payload(t, "echo", terminal=True, before=shell)
    vm.wait_for("S")
    time.sleep(0.3)
    holds("a terminal left alone", not vm.is_raw())
    found = vm.terminal_modes()
    vm.send(b"\n")
    vm.until("input taken", lambda: not vm.to_send)
    time.sleep(0.5)  # bash takes it and puts the monitor into the foreground
    vm.send(first)
    vm.until("a raw terminal", vm.is_raw)
    vm.send(b"xyz")
    vm.wait_for("xyz")
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native")
def stopped_by_SIGSTOP_goes_on(t):
    """Nobody can restore the terminal for a SIGSTOP, but after SIGCONT all must be as before."""
    vm, found = on_terminal(t)
    vm.signal(signal.SIGSTOP)
    becomes("a stopped monitor", vm.is_stopped)
    vm.signal(signal.SIGCONT)
    becomes("a raw terminal", vm.is_raw)
    vm.send(CTRL_A + b"x")
    vm.ends(0, 5)
    restored(vm, found)


@test("native")
def terminal_that_goes_away(t):
    """The window is closed: SIGHUP comes, and the monitor ends."""
    vm, _ = on_terminal(t)
    os.close(vm.slave)
    os.close(vm.master)
    vm.read_from.pop(vm.master)
    vm.slave = vm.master = None
    vm.ends(156, 5)
