# SPDX-License-Identifier: Apache-2.0
"""Several guests at once: whose output is whose, and what comes out in the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from guestvm import together as together_module
from guestvm.together import together

from cgroup_support import until

GUEST = str(Path(together_module.__file__).resolve().parent.parent)
PROGRAM = """
import pathlib, signal, sys, time
from guestvm.together import together

def end(*_):
    sys.exit(9)

def work(name):
    try:
        print("here", flush=True)
        time.sleep(60)
    finally:
        (pathlib.Path(sys.argv[1]) / f"ended-{name}").touch()

signal.signal(signal.SIGTERM, end)
together(["a", "b"], work)
"""


def test_lines_come_whole_and_under_their_names(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Pieces of a line are put together, both streams are shown, the last line may be open."""

    def work(name: str) -> int:
        for piece in ("one ", "line\nnext"):
            os.write(1, piece.encode())
            time.sleep(0.05)
        os.write(2, f" of {name}".encode())
        return 0

    assert together(["a", "long"], work) == 0
    out = capfdbinary.readouterr().out.splitlines()
    assert sorted(out) == [
        b"a   | next of a",
        b"a   | one line",
        b"long| next of long",
        b"long| one line",
    ]


def test_the_first_that_fails_decides() -> None:
    """Statuses are those of a shell; in the order of the names, not of time."""
    statuses = {"a": 0, "b": 7, "c": 3}
    assert together(statuses, lambda name: statuses[name]) == 7
    assert together(["a"], lambda _: os.kill(os.getpid(), signal.SIGKILL) or 0) == 137


def test_nothing_goes_on_when_it_is_interrupted(tmp_path: Path) -> None:
    """The others get SIGTERM when their starter ends, also when it is killed."""
    program = tmp_path / "program"
    program.write_text(PROGRAM)
    for number in (signal.SIGTERM, signal.SIGKILL):
        argv = [sys.executable, program, tmp_path]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, env={"PYTHONPATH": GUEST}) as starter:
            assert starter.stdout is not None
            assert sorted(starter.stdout.readline() for _ in "ab") == [b"a| here\n", b"b| here\n"]
            starter.send_signal(number)
        until(
            lambda: sorted(path.name for path in tmp_path.glob("ended-*")) == ["ended-a", "ended-b"]
        )
        for path in tmp_path.glob("ended-*"):
            path.unlink()
