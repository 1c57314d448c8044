# SPDX-License-Identifier: Apache-2.0
"""Reading all of a cgroup's usage in few system calls.

This runs at the end of every call, so each file costs one open, one read and one close, and
of long files only the wanted keys are looked for.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from agentcg.cgroups import knobs, parse
from agentcg.cgroups.knobs import Knob
from agentcg.cgroups.values import IoStat, MemoryStat, Stalled, Usage
from agentcg.errors import CgroupGone

if TYPE_CHECKING:
    from agentcg.cgroups.cgroup import Cgroup

MEMORY_STAT: Final = Knob[MemoryStat]("memory.stat", parse.parse_memory_stat)
"""Of memory.stat only what accounts for a call; `knobs.MEMORY_STAT` is all of it."""
_FILES: Final[dict[str, Knob[Any]]] = {
    "memory_current": knobs.MEMORY_CURRENT,
    "memory_peak": knobs.MEMORY_PEAK,
    "memory_swap_current": knobs.MEMORY_SWAP_CURRENT,
    "memory_swap_peak": knobs.MEMORY_SWAP_PEAK,
    "memory_events": knobs.MEMORY_EVENTS,
    "memory_stat": MEMORY_STAT,
    "memory_stalled": Knob[Stalled]("memory.pressure", parse.parse_stalled),
    "cpu_stalled": Knob[Stalled]("cpu.pressure", parse.parse_stalled),
    "io_stalled": Knob[Stalled]("io.pressure", parse.parse_stalled),
    "frozen_us": knobs.CGROUP_STAT_LOCAL,
    "cpu_throttled_us": knobs.CPU_STAT_LOCAL,
    "io_stat": Knob[IoStat]("io.stat", parse.parse_io_total),
    "pids_current": knobs.PIDS_CURRENT,
    "pids_peak": knobs.PIDS_PEAK,
}
"""Field of `Usage` -> its file; `cpu_stat` aside, which every cgroup has."""


def read_usage(cgroup: Cgroup, controllers: AbstractSet[str] | None = None) -> Usage:
    """See `Cgroup.usage`."""
    cpu_stat = cgroup.get(knobs.CPU_STAT)
    if cpu_stat is None:  # it is in every cgroup, whatever controllers are enabled
        raise CgroupGone(str(cgroup.path), knobs.CPU_STAT.name, None, None)
    files = _FILES if controllers is None else _files_of(frozenset(controllers))
    return Usage(cpu_stat, **{field: cgroup.get(knob) for field, knob in files.items()})


@lru_cache(maxsize=8)
def _files_of(controllers: frozenset[str]) -> dict[str, Knob[Any]]:
    """The files that there can be with `controllers`: pressure is accounted without them."""
    return {
        field: knob
        for field, knob in _FILES.items()
        if knob.name.partition(".")[0] in controllers | {"cgroup"}
        or knob.name.endswith(".pressure")
    }
