# SPDX-License-Identifier: Apache-2.0
"""Reading all of a cgroup's usage in few system calls.

This runs at the end of every call, so each file costs one open, one read and one close, and
of long files only the wanted keys are looked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agentcg.cgroups import knobs, parse
from agentcg.cgroups.knobs import Knob
from agentcg.cgroups.values import IoStat, MemoryStat, Usage
from agentcg.errors import CgroupGone

if TYPE_CHECKING:
    from agentcg.cgroups.cgroup import Cgroup

MEMORY_STAT: Final = Knob[MemoryStat]("memory.stat", parse.parse_memory_stat)
"""Of memory.stat only what accounts for a call; `knobs.MEMORY_STAT` is all of it."""
_IO_TOTAL = Knob[IoStat]("io.stat", parse.parse_io_total)


def read_usage(cgroup: Cgroup) -> Usage:
    """See `Cgroup.usage`."""
    cpu_stat = cgroup.get(knobs.CPU_STAT)
    if cpu_stat is None:  # it is in every cgroup, whatever controllers are enabled
        raise CgroupGone(str(cgroup.path), knobs.CPU_STAT.name, None, None)
    return Usage(
        memory_current=cgroup.get(knobs.MEMORY_CURRENT),
        memory_peak=cgroup.get(knobs.MEMORY_PEAK),
        memory_swap_current=cgroup.get(knobs.MEMORY_SWAP_CURRENT),
        memory_swap_peak=cgroup.get(knobs.MEMORY_SWAP_PEAK),
        memory_events=cgroup.get(knobs.MEMORY_EVENTS),
        memory_stat=cgroup.get(MEMORY_STAT),
        memory_pressure=cgroup.get(knobs.MEMORY_PRESSURE),
        cpu_stat=cpu_stat,
        io_stat=cgroup.get(_IO_TOTAL),
        pids_current=cgroup.get(knobs.PIDS_CURRENT),
        pids_peak=cgroup.get(knobs.PIDS_PEAK),
    )
