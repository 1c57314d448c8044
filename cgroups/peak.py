# SPDX-License-Identifier: Apache-2.0
"""Peaks since a moment of one's own choosing (Linux 6.12).

`memory.peak` and `memory.swap.peak` hold the maximum since the cgroup was made. Writing to a
descriptor of the file starts a new maximum that only this descriptor sees; what others read
from the file stays. Limit: each reset makes the kernel forget the maxima of all such
descriptors but for the present use (mm/memcontrol.c, peak_write; seen on 6.12 and 7.2), so a
cgroup should have one `Peak` at a time. Source: cgroup-v2.rst.
"""

from __future__ import annotations

import os
from typing import Self

from agentcg.cgroups.cgroup import Cgroup
from agentcg.cgroups.knobs import MEMORY_PEAK, Knob
from agentcg.cgroups.refusal import is_gone
from agentcg.closing import Closing


class Peak(Closing):
    """A peak that can be reset; a context manager that holds one descriptor."""

    def __init__(self, cgroup: Cgroup, knob: Knob[int], fd: int) -> None:
        """Takes over `fd`; use `open`."""
        self._cgroup = cgroup
        self._knob = knob
        self._fd = fd

    @classmethod
    def open(cls, cgroup: Cgroup, knob: Knob[int] = MEMORY_PEAK) -> Self | None:
        """A peak that starts now; `None` where the kernel cannot reset it (before 6.12), or
        the cgroup has no such file."""
        if not _is_writable(cgroup, knob):
            return None
        peak = cls(cgroup, knob, cgroup.open_file(knob.name, os.O_RDWR))
        try:
            peak.reset()
        except BaseException:
            peak.close()
            raise
        return peak

    def read(self) -> int:
        """Bytes at most since the last `reset`."""
        try:
            return self._knob.parse(os.pread(self._fd, 64, 0).decode())
        except OSError as error:
            raise self._cgroup.refused(error, self._knob.name) from error

    def reset(self) -> None:
        """Start a new maximum at the present use."""
        try:
            os.pwrite(self._fd, b"reset\n", 0)  # any text that is not empty
        except OSError as error:
            raise self._cgroup.refused(error, self._knob.name, "reset") from error

    def close(self) -> None:
        """Give the descriptor back. May be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _is_writable(cgroup: Cgroup, knob: Knob[int]) -> bool:
    """Kernels that cannot reset show the file without a write bit; root's rights do not help."""
    try:
        mode = os.stat(knob.name, dir_fd=cgroup.fileno()).st_mode
    except FileNotFoundError as error:
        if is_gone(cgroup.fileno()):
            raise cgroup.refused(error, knob.name) from error
        return False
    return bool(mode & 0o200)
