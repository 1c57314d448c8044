# SPDX-License-Identifier: Apache-2.0
"""Reading all of a cgroup's usage in few system calls.

This runs at the end of every call, so each file costs one open, one read and one close, and
of long files only the wanted keys are looked for.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agentcg.cgroups import parse, refusal
from agentcg.cgroups.directory import Directory, read_at
from agentcg.cgroups.values import Usage
from agentcg.errors import CgroupError

T = TypeVar("T")

# ENOENT: no such file. EOPNOTSUPP: the file is there but the feature is off (PSI, swap).
_ABSENT = (errno.ENOENT, errno.EOPNOTSUPP)


def is_absent(number: int | None) -> bool:
    """Whether an errno says that the kernel or the cgroup lacks the feature."""
    return number in _ABSENT


def is_short(number: int | None) -> bool:
    """Whether an errno of memory.reclaim says that less was reclaimed than asked for."""
    return number == errno.EAGAIN


def parsed(path: Path, knob: str, parser: Callable[[str], T], text: str) -> T:
    """`parser(text)`; a text that is not the documented format raises CgroupError."""
    try:
        return parser(text)
    except ValueError as error:
        raise CgroupError(
            str(path), knob, None, None,
            remedy=f"its content is not what the kernel documents: {error}",
        ) from error  # fmt: skip


def read_usage(cgroup: Directory) -> Usage:
    """See `Cgroup.usage`. `cpu.stat` is in every cgroup: without it the cgroup is gone."""
    fd = cgroup.fileno()

    def get(knob: str, parser: Callable[[str], T]) -> T | None:
        try:
            text = read_at(fd, knob)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise refusal.translate(cgroup.path, fd, knob, None, error) from error
        return parsed(cgroup.path, knob, parser, text)

    number = parse.parse_uint
    cpu_stat = parsed(cgroup.path, "cpu.stat", parse.parse_cpu_stat, cgroup.read("cpu.stat"))
    return Usage(
        memory_current=get("memory.current", number),
        memory_peak=get("memory.peak", number),
        memory_swap_current=get("memory.swap.current", number),
        memory_swap_peak=get("memory.swap.peak", number),
        memory_events=get("memory.events", parse.parse_memory_events),
        memory_stat=get("memory.stat", parse.parse_memory_stat),
        memory_pressure=get("memory.pressure", parse.parse_psi),
        cpu_stat=cpu_stat,
        io_stat=get("io.stat", parse.parse_io_total),
        pids_current=get("pids.current", number),
        pids_peak=get("pids.peak", number),
    )
