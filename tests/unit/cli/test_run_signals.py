# SPDX-License-Identifier: Apache-2.0
"""Signals and terminals: what reaches agentcg reaches the command, once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.commandline import command, environment
from support.terminal import Terminal

PATIENCE_S = 60.0

# Tells each signal it gets; ends at the second SIGTERM.
TELLER = """
import os, signal, sys
def tell(number, _):
    # Not print(): a handler can run in the middle of another print(), which refuses that.
    os.write(1, f"got {signal.Signals(number).name}\\n".encode())
    if number == signal.SIGTERM:
        os._exit(9)
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGWINCH", "SIGCONT"):
    signal.signal(getattr(signal, name), tell)
print("ready", os.isatty(0), flush=True)
while True:
    signal.pause()
"""


def started(tmp_path: Path) -> subprocess.Popen[str]:
    """`agentcg run` of the teller, without a daemon, once it is ready."""
    process = subprocess.Popen(
        command("run", sys.executable, "-c", TELLER), env=environment(tmp_path / "absent"),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready False\n"
    return process


@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGUSR1", "SIGWINCH"])
def test_signals_to_the_wrapper_are_relayed(tmp_path: Path, name: str) -> None:
    """A signal from another process reaches the command, and its end is the wrapper's."""
    process = started(tmp_path)
    process.send_signal(getattr(signal, name))
    assert process.stdout is not None
    assert process.stdout.readline() == f"got {name}\n"
    process.terminate()
    assert process.communicate(timeout=PATIENCE_S)[0] == "got SIGTERM\n"
    assert process.returncode == 9


def test_kill_of_the_wrapper_kills_the_command(tmp_path: Path) -> None:
    """SIGKILL cannot be relayed; the kernel does it, so that no command is left behind."""
    process = started(tmp_path)
    process.kill()
    assert process.communicate(timeout=PATIENCE_S)[0] == ""  # the command's end of the pipe closes


def test_terminal_passes_through(tmp_path: Path) -> None:
    """The command has the terminal; ^C reaches it from there, once and not twice."""
    argv = command("run", sys.executable, "-c", TELLER)
    terminal = Terminal(argv, environment(tmp_path / "absent"))
    terminal.expect("ready True")
    terminal.type("\x03")
    terminal.expect("got SIGINT")
    os.kill(terminal.pid, signal.SIGTERM)
    terminal.expect("got SIGTERM")
    assert terminal.status() == 9
    assert terminal.text.count("got SIGINT") == 1


# A shell in small: runs a job in the foreground, says when it stops, and continues it.
SHELL = """
import os, signal, sys
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    _, status = os.waitpid(pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        break
    print("stopped", flush=True)
    os.tcsetpgrp(0, os.getpgrp())
    sys.stdin.readline()
    os.tcsetpgrp(0, pid)
    os.killpg(pid, signal.SIGCONT)
print("ended", os.waitstatus_to_exitcode(status), flush=True)
"""


def test_job_control(tmp_path: Path) -> None:
    """^Z stops the job for the shell above, and fg lets both go on."""
    argv = command("run", "sh", "-c", "echo started; read x; echo got $x; exit 5")
    terminal = Terminal([sys.executable, "-c", SHELL, *argv], environment(tmp_path / "absent"))
    terminal.expect("started")
    terminal.type("\x1a")
    terminal.expect("stopped")
    terminal.type("fg\n")
    terminal.type("word\n")
    terminal.expect("got word")
    terminal.expect("ended 5")
    assert terminal.status() == 0


def test_interrupt_while_waiting_for_room(tmp_path: Path) -> None:
    """^C before the command has started ends agentcg with 130, and nothing is executed."""
    mark = tmp_path / "mark"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        for euid in (0, 1000):
            process = subprocess.Popen(
                command("run", "--wait", "60s", "touch", str(mark), euid=euid),
                env=environment(tmp_path / "s"), stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            peer = listener.accept()[0]
            peer.recv(1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=PATIENCE_S)
            assert (process.returncode, err) == (130, "")
    assert not mark.exists()
