# SPDX-License-Identifier: Apache-2.0
"""What cgroup files hold, as values, in the kernel's words.

Sizes are bytes, times microseconds. `None` in a limit to be applied means "leave alone";
in anything that was read it means that this kernel or this cgroup has no such thing.
Formats: Documentation/admin-guide/cgroup-v2.rst, Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final


class Max(enum.Enum):
    """The kernel's word for "no limit"."""

    MAX = "max"

    def __repr__(self) -> str:
        return "MAX"


MAX: Final = Max.MAX

Limit = int | Max


@dataclass(frozen=True, slots=True)
class CpuMax:
    """`cpu.max`: CPU time `quota_us` in every period of `period_us`."""

    quota_us: Limit
    period_us: int = 100_000


@dataclass(frozen=True, slots=True)
class IoMax:
    """`io.max` of one device: bytes and operations a second, reads and writes."""

    rbps: Limit = MAX
    wbps: Limit = MAX
    riops: Limit = MAX
    wiops: Limit = MAX


@dataclass(frozen=True, slots=True)
class IoWeight:
    """`io.weight`: the default, and devices ("8:0") that differ from it."""

    default: int
    devices: dict[str, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits and protections of one cgroup; `None` = leave alone, `MAX` = no limit."""

    memory_min: Limit | None = None
    memory_low: Limit | None = None
    memory_high: Limit | None = None
    memory_max: Limit | None = None
    memory_swap_max: Limit | None = None
    memory_oom_group: bool | None = None
    cpu_weight: int | None = None
    cpu_max: CpuMax | None = None
    io_weight: int | None = None
    pids_max: Limit | None = None


@dataclass(frozen=True, slots=True)
class MemoryEvents:
    """`memory.events`: how often each boundary was met, descendants included."""

    low: int
    high: int
    max: int
    oom: int
    oom_kill: int
    oom_group_kill: int | None  # Linux 5.17


@dataclass(frozen=True, slots=True)
class MemoryStat:
    """The part of `memory.stat` that accounts for a call; the rest: `Cgroup.get(MEMORY_STAT)`."""

    anon: int | None
    file: int | None
    kernel: int | None  # Linux 5.18
    shmem: int | None
    pgfault: int | None  # all faults, major ones included
    pgmajfault: int | None


@dataclass(frozen=True, slots=True)
class CpuStat:
    """`cpu.stat`; the throttling figures exist where the cpu controller is enabled."""

    usage_us: int
    user_us: int
    system_us: int
    nr_periods: int | None
    nr_throttled: int | None
    throttled_us: int | None


@dataclass(frozen=True, slots=True)
class IoStat:
    """`io.stat`, of one device or summed over all."""

    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0
    dbytes: int = 0
    dios: int = 0


@dataclass(frozen=True, slots=True)
class CgroupEvents:
    """`cgroup.events`: `populated` while a live process is in it or below it."""

    populated: bool
    frozen: bool | None  # Linux 5.2


@dataclass(frozen=True, slots=True)
class PsiLine:
    """Share of time in percent over 10, 60 and 300 s, and the total so far."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


@dataclass(frozen=True, slots=True)
class Psi:
    """Pressure: time in which some, or all (`full`), tasks waited for a resource."""

    some: PsiLine
    full: PsiLine | None


@dataclass(frozen=True, slots=True)
class Usage:
    """Everything that one cgroup used, read in one go; `None` where it is not counted here."""

    memory_current: int | None
    memory_peak: int | None
    memory_swap_current: int | None
    memory_swap_peak: int | None
    memory_events: MemoryEvents | None
    memory_stat: MemoryStat | None
    memory_pressure: Psi | None
    cpu_stat: CpuStat
    io_stat: IoStat | None
    pids_current: int | None
    pids_peak: int | None
