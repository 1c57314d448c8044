# SPDX-License-Identifier: Apache-2.0
"""Bringing back what a process has in swap, before it needs it: process_madvise(2), MADV_WILLNEED.

The kernel reads swapped pages of the ranges into its swap cache (mm/madvise.c, since 5.10 for other
processes); the process then takes them by minor faults. It needs CAP_SYS_NICE, and for what ptrace
would need CAP_SYS_PTRACE: a host gives both where it wants this (docs/policy.md, `idle`). Without
them the process takes its pages back one by one, as ever, and the log says so once.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

log = logging.getLogger(__name__)

_SYS_PROCESS_MADVISE = 440  # on all architectures: newer than the common table
_MADV_WILLNEED = 3
_RANGES = 512  # of 1,024 (IOV_MAX) at once
_PIECE_BYTES = 1 << 20
READERS = 2
"""Threads for one process: decompressing is what takes the time, and two take half of it."""
RANGES_MAX = 16_384  # of one process


class _IoVec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)


def swap_in(pid: int) -> int:
    """Ask for all swapped memory of process `pid`; how many bytes it has in swap. 0 where it is
    gone, has none, or may not be asked for."""
    try:
        swapped = _swapped_bytes(pid)
        if not swapped:
            return 0
        pidfd = os.pidfd_open(pid)
    except OSError:
        return 0
    try:
        _advise_all(pidfd, [*_pieces(pid)])
    except PermissionError:
        _say_refused()
        return 0
    except OSError:
        return 0
    finally:
        os.close(pidfd)
    return swapped


def _swapped_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
        if line.startswith(b"VmSwap:"):
            return int(line.split()[1]) * 1024
    return 0


def _ranges(pid: int) -> Iterator[tuple[int, int]]:
    """Private writable memory: what can be in swap."""
    count = 0
    with Path(f"/proc/{pid}/maps").open(errors="replace") as lines:
        for line in lines:
            place, rights, _ = line.split(" ", 2)
            if rights.startswith("rw") and rights.endswith("p"):
                low, high = (int(part, 16) for part in place.split("-"))
                yield low, high - low
                count += 1
                if count >= RANGES_MAX:
                    return


def _pieces(pid: int) -> Iterator[tuple[int, int]]:
    """Ranges in parts of a size that can be shared out."""
    for low, size in _ranges(pid):
        for at in range(0, size, _PIECE_BYTES):
            yield low + at, min(_PIECE_BYTES, size - at)


def _advise_all(pidfd: int, pieces: list[tuple[int, int]]) -> None:
    """Side by side; raises what the kernel refuses one of them with."""

    def read(first: int) -> None:
        own = pieces[first::READERS]
        for at in range(0, len(own), _RANGES):
            _advise(pidfd, own[at : at + _RANGES])

    with ThreadPoolExecutor(READERS) as readers:
        for _ in readers.map(read, range(READERS)):
            pass


def _advise(pidfd: int, ranges: list[tuple[int, int]]) -> None:
    vector = (_IoVec * len(ranges))(*(_IoVec(low, size) for low, size in ranges))
    done = _libc.syscall(
        _SYS_PROCESS_MADVISE, pidfd, ctypes.byref(vector), ctypes.c_size_t(len(ranges)),
        _MADV_WILLNEED, 0,
    )  # fmt: skip
    if done < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _say_refused() -> None:
    """Once: it would be the same for every agent."""
    log.warning(
        "memory of agents that waited is not read back ahead of their calls: "
        "that takes CAP_SYS_NICE and CAP_SYS_PTRACE; see docs/policy.md, idle"
    )
