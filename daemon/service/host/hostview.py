# SPDX-License-Identifier: Apache-2.0
"""The machine: memory, processors, pressure."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agentcg.cgroups import Cgroup, Psi
from agentcg.cgroups.parse import parse_psi
from agentcg.daemon.messages import Host
from agentcg.daemon.service.accounts.measure import pressure_of
from agentcg.daemon.service.registry import Registry

PROC_PRESSURE = Path("/proc/pressure")
PROC_MEMINFO = Path("/proc/meminfo")
_LINES = ("\nMemTotal:", "\nMemAvailable:", "\nSwapTotal:", "\nSwapFree:")


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of the machine in bytes (/proc/meminfo)."""

    total: int
    available: int
    swap_total: int
    swap_free: int

    @staticmethod
    @cache
    def total_bytes() -> int:
        """Memory of the machine; read once, it does not change."""
        return Memory.read().total

    @classmethod
    def read(cls) -> Memory:
        """As it is now. Read here, since psutil.swap_memory() adds up /proc/vmstat as well, which
        takes three times as long, and this is read at each look under pressure."""
        text = f"\n{PROC_MEMINFO.read_text('ascii')}"
        return cls(*(_bytes_of(text, line) for line in _LINES))


def _bytes_of(text: str, line: str) -> int:
    start = text.index(line) + len(line)
    return int(text[start : text.index(" kB", start)]) << 10


def host_pressure(resource: str) -> Psi | None:
    """Pressure on the whole machine; None where the kernel has no PSI (psi=1)."""
    try:
        return parse_psi((PROC_PRESSURE / resource).read_text())
    except (OSError, ValueError):
        return None


def host_view(
    root: Cgroup, registry: Registry, memory_max_bytes: int | None, calls_waiting: int
) -> Host:
    """The machine in the words of the API."""
    memory, used = Memory.read(), root.usage()
    return Host(
        hostname=platform.node(),
        kernel=platform.release(),
        cpus=len(os.sched_getaffinity(0)),
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        memory_max_bytes=memory_max_bytes,
        memory_current_bytes=used.memory_current,
        swap_total_bytes=memory.swap_total,
        swap_free_bytes=memory.swap_free,
        pressure=pressure_of(host_pressure),
        cgroup=str(root.path),
        sessions=len(registry.sessions),
        calls_running=registry.calls_running,
        calls_lingering=len(registry.calls) - registry.calls_running,
        calls_total=registry.calls_total,
        calls_waiting=calls_waiting,
    )
