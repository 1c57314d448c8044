# SPDX-License-Identifier: Apache-2.0
"""The kernel's interface files, one constant each: name, and how its text becomes a value.

`Cgroup.get(MEMORY_MAX)` and `Cgroup.set(MEMORY_MAX, 1 << 30)` are typed by these constants.
Source: Documentation/admin-guide/cgroup-v2.rst, section "Controllers" and "Core Interface
Files". Where a file came later than Linux 5.7 (the first with `CLONE_INTO_CGROUP` and user
extended attributes), `since` says when.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from agentcg.cgroups import formatting, parse
from agentcg.cgroups.values import (
    CgroupEvents,
    CpuMax,
    CpuStat,
    IoMax,
    IoStat,
    IoWeight,
    Limit,
    MemoryEvents,
    Psi,
)

T = TypeVar("T")


@dataclass(frozen=True)
class Knob(Generic[T]):
    """A file in a cgroup directory; `format` is `None` where it is not written as a value."""

    name: str
    parse: Callable[[str], T]
    format: Callable[[T, str], str] | None = None
    since: str = ""  # the release that brought it


def _word(text: str) -> str:
    return text.strip()


MEMORY_CURRENT: Final = Knob("memory.current", parse.parse_uint)
MEMORY_PEAK: Final = Knob("memory.peak", parse.parse_uint, since="5.19")
MEMORY_MIN: Final = Knob[Limit]("memory.min", parse.parse_limit, formatting.format_bytes)
MEMORY_LOW: Final = Knob[Limit]("memory.low", parse.parse_limit, formatting.format_bytes)
MEMORY_HIGH: Final = Knob[Limit]("memory.high", parse.parse_limit, formatting.format_bytes)
MEMORY_MAX: Final = Knob[Limit]("memory.max", parse.parse_limit, formatting.format_bytes)
MEMORY_SWAP_CURRENT: Final = Knob("memory.swap.current", parse.parse_uint)
MEMORY_SWAP_PEAK: Final = Knob("memory.swap.peak", parse.parse_uint, since="6.5")
MEMORY_SWAP_MAX: Final = Knob[Limit]("memory.swap.max", parse.parse_limit, formatting.format_bytes)
MEMORY_OOM_GROUP: Final = Knob("memory.oom.group", parse.parse_flag, formatting.format_flag)
MEMORY_EVENTS: Final = Knob[MemoryEvents]("memory.events", parse.parse_memory_events)
MEMORY_EVENTS_LOCAL: Final = Knob[MemoryEvents]("memory.events.local", parse.parse_memory_events)
MEMORY_STAT: Final = Knob("memory.stat", parse.parse_flat)
MEMORY_PRESSURE: Final = Knob[Psi]("memory.pressure", parse.parse_psi)

CPU_WEIGHT: Final = Knob("cpu.weight", parse.parse_uint, formatting.format_weight)
CPU_WEIGHT_NICE: Final = Knob("cpu.weight.nice", parse.parse_int, formatting.format_nice)
CPU_MAX: Final = Knob[CpuMax]("cpu.max", parse.parse_cpu_max, formatting.format_cpu_max)
CPU_STAT: Final = Knob[CpuStat]("cpu.stat", parse.parse_cpu_stat)
CPU_STAT_LOCAL: Final = Knob[int | None]("cpu.stat.local", parse.parse_throttled, since="6.6")
CPU_PRESSURE: Final = Knob[Psi]("cpu.pressure", parse.parse_psi)

IO_WEIGHT: Final = Knob[IoWeight]("io.weight", parse.parse_io_weight)
IO_STAT: Final = Knob[dict[str, IoStat]]("io.stat", parse.parse_io_stat)
IO_MAX: Final = Knob[dict[str, IoMax]]("io.max", parse.parse_io_max)
IO_PRESSURE: Final = Knob[Psi]("io.pressure", parse.parse_psi)

PIDS_CURRENT: Final = Knob("pids.current", parse.parse_uint)
PIDS_PEAK: Final = Knob("pids.peak", parse.parse_uint, since="6.6")
PIDS_MAX: Final = Knob[Limit]("pids.max", parse.parse_limit, formatting.format_pids)
PIDS_EVENTS: Final = Knob("pids.events", parse.parse_flat)

CGROUP_PROCS: Final = Knob("cgroup.procs", parse.parse_pids)
CGROUP_THREADS: Final = Knob("cgroup.threads", parse.parse_pids)
CGROUP_CONTROLLERS: Final = Knob("cgroup.controllers", parse.parse_words)
CGROUP_SUBTREE_CONTROL: Final = Knob("cgroup.subtree_control", parse.parse_words)
CGROUP_EVENTS: Final = Knob[CgroupEvents]("cgroup.events", parse.parse_cgroup_events)
CGROUP_FREEZE: Final = Knob("cgroup.freeze", parse.parse_flag, formatting.format_flag)
CGROUP_STAT: Final = Knob("cgroup.stat", parse.parse_flat)
CGROUP_STAT_LOCAL: Final = Knob("cgroup.stat.local", parse.parse_frozen, since="6.18")
CGROUP_TYPE: Final = Knob("cgroup.type", _word)
CGROUP_MAX_DEPTH: Final = Knob[Limit](
    "cgroup.max.depth", parse.parse_limit, formatting.format_count
)
CGROUP_MAX_DESCENDANTS: Final = Knob[Limit](
    "cgroup.max.descendants", parse.parse_limit, formatting.format_count
)
CGROUP_PRESSURE: Final = Knob(
    "cgroup.pressure", parse.parse_flag, formatting.format_flag, since="6.1"
)

# Written only, and not as a value of their own: Cgroup.kill() and Cgroup.reclaim().
CGROUP_KILL: Final = "cgroup.kill"  # Linux 5.14
MEMORY_RECLAIM: Final = "memory.reclaim"  # Linux 5.19; swappiness= 6.9

SINCE: Final[dict[str, str]] = {CGROUP_KILL: "5.14", MEMORY_RECLAIM: "5.19"} | {
    knob.name: knob.since
    for knob in list(globals().values())
    if isinstance(knob, Knob) and knob.since
}
"""Release that brought a file, for error messages."""

LIMIT_KNOBS: Final[dict[str, Knob[Any]]] = {
    # Upper bounds before protections: no moment in which only a protection holds.
    "memory_swap_max": MEMORY_SWAP_MAX,
    "memory_high": MEMORY_HIGH,
    "memory_max": MEMORY_MAX,
    "memory_oom_group": MEMORY_OOM_GROUP,
    "memory_low": MEMORY_LOW,
    "memory_min": MEMORY_MIN,
    "cpu_weight": CPU_WEIGHT,
    "cpu_max": CPU_MAX,
    "io_weight": Knob[Any]("io.weight", lambda text: parse.parse_io_weight(text).default,
                           formatting.format_io_weight),
    "pids_max": PIDS_MAX,
}  # fmt: skip
"""Field of `Limits` -> its file, in the order in which they are written."""
