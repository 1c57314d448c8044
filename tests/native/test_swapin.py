# SPDX-License-Identifier: Apache-2.0
"""Asking the kernel to read swapped memory of another process back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from agentcg.daemon.service.host.swapin import _advise_all, _pieces, _ranges, swap_in
from cgroup_support import process


def test_the_kernel_takes_the_ranges_of_another_process() -> None:
    """As root: all private writable memory of a process that runs, in pieces, side by side."""
    words = [sys.executable, "-c", "import sys; print('ready', flush=True); sys.stdin.read()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline()  # before, its memory is still being laid out
        ranges = list(_ranges(child.pid))
        assert len(ranges) > 3
        pieces = list(_pieces(child.pid))
        assert all(low % 4096 == size % 4096 == 0 for low, size in pieces)
        assert sum(size for _, size in pieces) == sum(size for _, size in ranges)
        assert max(size for _, size in pieces) <= 1 << 20
        pidfd = os.pidfd_open(child.pid)
        try:
            _advise_all(pidfd, pieces)  # raises what the kernel refuses with
        finally:
            os.close(pidfd)


def test_who_is_gone_or_has_nothing_in_swap_is_passed_over() -> None:
    """No error: 0 bytes."""
    with process() as child:
        assert swap_in(child.pid) == 0
    assert swap_in(child.pid) == 0


def test_names_that_are_no_text_are_nothing_special(tmp_path: Path) -> None:
    """A process may call itself, and the files that it maps, what it likes."""
    code = """
import ctypes, mmap, sys
ctypes.CDLL(None).prctl(15, b"\\xff\\xfe", 0, 0, 0)
with open(b"PATH/\\xff", "w+b") as file:
    file.truncate(4096)
    kept = mmap.mmap(file.fileno(), 0)
print(flush=True)
sys.stdin.read()
""".replace("PATH", str(tmp_path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert swap_in(child.pid) == 0
        assert len(list(_ranges(child.pid))) > 3
        child.kill()
