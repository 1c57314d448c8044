# SPDX-License-Identifier: Apache-2.0
"""Leaves and processes for the tests of accounting; needs root and a cgroup2 mount."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentcg.bpf import Accounting, ExecEvent, ExitEvent, OomEvent

BPFFS = Path("/sys/fs/bpf")
_SYS_CLONE3 = 435
_CLONE_INTO_CGROUP = 0x200000000


def cgroup2() -> Path:
    """Where the v2 hierarchy is mounted, also beside v1 hierarchies."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    raise AssertionError("no cgroup2 mount")


def mount_bpffs() -> None:
    """Where pins are; systemd mounts it, a container may not have it."""
    if not BPFFS.is_mount():
        subprocess.run(["mount", "-t", "bpf", "bpf", str(BPFFS)], check=True)


class Leaf:
    """A cgroup of the test's own, with ways to run something in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.id = path.stat().st_ino

    def child(self, name: str) -> Leaf:
        return Leaf(self.path / name)

    def enter(self) -> None:
        (self.path / "cgroup.procs").write_text("0")

    def start(self, *argv: str | bytes, **options: Any) -> subprocess.Popen[bytes]:
        """Fork outside, move in, exec: as a client that is placed does."""
        return subprocess.Popen(argv, preexec_fn=self.enter, **options)  # noqa: PLW1509 (no threads here)

    def run(self, *argv: str | bytes) -> int:
        """Start `argv`, wait for it, give its status (-n for signal n)."""
        return self.start(*argv).wait()

    def python(self, script: str) -> int:
        """Run a script that starts neither processes nor threads of its own accord."""
        return self.run(sys.executable, "-S", "-c", script)

    def clone_into(self, status: int) -> int:
        """A child born in the leaf that ends at once with `status`; returns its pid."""
        directory = os.open(self.path, os.O_RDONLY)
        # struct clone_args: flags, ..., exit_signal (5th), ..., cgroup (11th)
        arguments = (ctypes.c_uint64 * 11)()
        arguments[0], arguments[4], arguments[10] = _CLONE_INTO_CGROUP, 17, directory
        libc = ctypes.CDLL(None, use_errno=True)
        pid: int = libc.syscall(_SYS_CLONE3, arguments, ctypes.sizeof(arguments))
        if pid == 0:
            os._exit(status)
        os.close(directory)
        assert pid > 0, os.strerror(ctypes.get_errno())
        os.waitpid(pid, 0)
        return pid

    def remove(self) -> None:
        for path in (*self.path.glob("**/"), self.path):
            with contextlib.suppress(OSError):
                (path / "cgroup.kill").write_text("1")
        for path in sorted({*self.path.glob("**/"), self.path}, reverse=True):
            _remove_when_empty(path)


@contextlib.contextmanager
def leaf() -> Iterator[Leaf]:
    """A leaf below the root of the hierarchy, removed with everything in it."""
    made = Leaf(cgroup2() / f"agentcg-test-{os.getpid()}-{time.monotonic_ns()}")
    try:
        yield made
    finally:
        made.remove()


@contextlib.contextmanager
def pin_root() -> Iterator[Path]:
    """A directory on bpffs for this test alone; what is pinned there is unpinned."""
    mount_bpffs()
    root = BPFFS / f"agentcg-test-{os.getpid()}-{time.monotonic_ns()}"
    try:
        yield root
    finally:
        subprocess.run(["rm", "-rf", str(root)], check=True)


def drain(accounting: Accounting) -> list[ExecEvent | ExitEvent | OomEvent]:
    """All events that wait, however many polls that takes."""
    events: list[ExecEvent | ExitEvent | OomEvent] = []
    while more := accounting.poll():
        events += more
    return events


def _remove_when_empty(path: Path) -> None:
    """rmdir, which is refused for a moment while killed processes are being reaped."""
    deadline = time.monotonic() + 120
    while True:
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
