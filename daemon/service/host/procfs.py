# SPDX-License-Identifier: Apache-2.0
"""Processes that were there before anybody looked, out of /proc, as sights (proc_pid_stat(5))."""

from __future__ import annotations

from pathlib import Path

from agentcg.bpf.sights import ARGV_BYTES, Sight, arguments, shortened

_LINE_MAX_BYTES = 128 * 1024
_DESCENDANTS_MAX = 4096
_PROC = Path("/proc")


def start_ticks(pid: int) -> int | None:
    """When the process was born, in clock ticks since boot; None if there is none, or a zombie."""
    fields = _stat(pid)
    return None if fields is None or fields[2] in (b"Z", b"X") else int(fields[21])


def sight(pid: int, cgroup_id: int) -> Sight | None:
    """The process as if it had just executed its program; None if it is gone.

    Its environment is not read: of another user's process only a privileged reader could.
    """
    fields = _stat(pid)
    if fields is None:
        return None
    parent = int(fields[3])
    above = _stat(parent) if parent else None
    try:
        with (_PROC / str(pid) / "cmdline").open("rb") as file:
            line = file.read(_LINE_MAX_BYTES)
        uid = (_PROC / str(pid)).stat().st_uid
    except OSError:
        return None
    return Sight(
        "ran",
        cgroup_id,
        int(fields[21]) * 10_000_000,
        pid,
        int(fields[21]),
        parent,
        0 if above is None else int(above[21]),
        int(fields[4]),
        int(fields[5]),
        uid,
        fields[1].decode("utf-8", "surrogateescape"),
        argv=arguments(shortened(line)),
        argv_cut=len(line) > ARGV_BYTES,
    )


def parent(pid: int) -> int | None:
    """Its parent; None if there is none, or no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[3]) or None


def descendants(pid: int) -> list[int]:
    """Children, their children and so on, as they are now; parents first."""
    found: list[int] = []
    waiting = [pid]
    while waiting and len(found) < _DESCENDANTS_MAX:
        try:
            tasks = list((_PROC / str(waiting.pop()) / "task").iterdir())
            lists = [(task / "children").read_text() for task in tasks]
        except OSError:
            continue
        children = [int(child) for line in lists for child in line.split()]
        found += children
        waiting += children
    return found


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat, from 0; the second may hold blanks and brackets itself."""
    try:
        data = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    head, _, name = data[: data.rindex(b")")].partition(b" (")
    return [head, name, *data[data.rindex(b")") + 2 :].split()]
