# SPDX-License-Identifier: Apache-2.0
"""What cgroup files hold, as values, in the kernel's words.

Named tuples, because many are made and few looked at: a frozen dataclass takes ten times as long.

Sizes are bytes, times microseconds. `None` in a limit to be applied means "leave alone";
in anything that was read it means that this kernel or this cgroup has no such thing.
Formats: Documentation/admin-guide/cgroup-v2.rst, Documentation/accounting/psi.rst.
"""

from __future__ import annotations

import enum
from typing import Final, NamedTuple


class Max(enum.Enum):
    """The kernel's word for "no limit"."""

    MAX = "max"

    def __repr__(self) -> str:
        return "MAX"


MAX: Final = Max.MAX

Limit = int | Max


class CpuMax(NamedTuple):
    """`cpu.max`: CPU time `quota_us` in every period of `period_us`."""

    quota_us: Limit
    period_us: int = 100_000


class IoMax(NamedTuple):
    """`io.max` of one device: bytes and operations a second, reads and writes."""

    rbps: Limit = MAX
    wbps: Limit = MAX
    riops: Limit = MAX
    wiops: Limit = MAX


class IoWeight(NamedTuple):
    """`io.weight`: the default, and devices ("8:0") that differ from it."""

    default: int
    devices: dict[str, int]


class Limits(NamedTuple):
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


DEFAULTS: Final = Limits(
    memory_min=0, memory_low=0, memory_high=MAX, memory_max=MAX, memory_swap_max=MAX,
    memory_oom_group=False, cpu_weight=100, cpu_max=CpuMax(MAX), io_weight=100, pids_max=MAX,
)  # fmt: skip
"""What the kernel gives a new cgroup."""


def beyond_defaults(limits: Limits) -> Limits:
    """What of `limits` has to be written to a cgroup that has just been made."""
    pairs = zip(limits, DEFAULTS, strict=True)
    return Limits._make(None if value == default else value for value, default in pairs)


class MemoryEvents(NamedTuple):
    """`memory.events`: how often each boundary was met, descendants included."""

    low: int
    high: int
    max: int
    oom: int
    oom_kill: int
    oom_group_kill: int | None  # Linux 5.17


class MemoryStat(NamedTuple):
    """The part of `memory.stat` that accounts for a call; the rest: `Cgroup.get(MEMORY_STAT)`."""

    anon: int | None
    file: int | None
    kernel: int | None  # Linux 5.18
    shmem: int | None
    pgfault: int | None  # all faults, major ones included
    pgmajfault: int | None
    # Pages. Refaults: read again after they were reclaimed (5.9 with this name); pgsteal:
    # reclaimed; pswpin, pswpout: read from and written to swap (6.13).
    workingset_refault_anon: int | None = None
    workingset_refault_file: int | None = None
    pgsteal: int | None = None
    pswpin: int | None = None
    pswpout: int | None = None


class CpuStat(NamedTuple):
    """`cpu.stat`; the throttling figures exist where the cpu controller is enabled."""

    usage_us: int
    user_us: int
    system_us: int
    nr_periods: int | None
    nr_throttled: int | None
    throttled_us: int | None


class IoStat(NamedTuple):
    """`io.stat`, of one device or summed over all."""

    rbytes: int = 0
    wbytes: int = 0
    rios: int = 0
    wios: int = 0
    dbytes: int = 0
    dios: int = 0


class CgroupEvents(NamedTuple):
    """`cgroup.events`: `populated` while a live process is in it or below it."""

    populated: bool
    frozen: bool | None  # Linux 5.2


class PsiLine(NamedTuple):
    """Share of time in percent over 10, 60 and 300 s, and the total so far."""

    avg10: float
    avg60: float
    avg300: float
    total_us: int


class Psi(NamedTuple):
    """Pressure: time in which some, or all (`full`), tasks waited for a resource."""

    some: PsiLine
    full: PsiLine | None


class Stalled(NamedTuple):
    """The totals of a pressure file, in microseconds."""

    some_us: int
    full_us: int | None


class Usage(NamedTuple):
    """Everything that one cgroup used, read in one go; `None` where it is not counted here."""

    cpu_stat: CpuStat
    memory_current: int | None = None
    memory_peak: int | None = None
    memory_swap_current: int | None = None
    memory_swap_peak: int | None = None
    memory_events: MemoryEvents | None = None
    memory_stat: MemoryStat | None = None
    memory_stalled: Stalled | None = None
    cpu_stalled: Stalled | None = None
    io_stalled: Stalled | None = None
    frozen_us: int | None = None  # Linux 6.18
    cpu_throttled_us: int | None = None  # by quotas of its own and from above; Linux 6.6
    io_stat: IoStat | None = None
    pids_current: int | None = None
    pids_peak: int | None = None
