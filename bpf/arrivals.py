# SPDX-License-Identifier: Apache-2.0
"""Tasks that came into sessions, or left them, with the wrong policy (sched_agents.h)."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64

from agentcg.bpf import libbpf
from agentcg.bpf.loader import Object
from agentcg.closing import Closing

PROGRAMS = ("agentcg_attached", "agentcg_forked")
NEEDED = ("ext_server_init",)
"""What keeps a part of each CPU for tasks of sched_ext beside the kernel's own class: Linux 7.0."""
SWITCH_PARTIAL = 8  # kernel/sched/ext: SCX_OPS_SWITCH_PARTIAL
_EVENTS_PER_READ = 64


class Arrivals(Closing):
    """What the kernel tells of them while the scheduler takes agents' tasks alone."""

    def __init__(self, opened: Object) -> None:
        """Attach; `opened` is the loaded scheduler's object."""
        self._lost = opened.map(".data.arrivals_lost", c_uint32, c_uint64)
        self._events = opened.map("arrivals", c_uint32, c_uint32)
        self._ring = libbpf.Ring(self._events.fd, _EVENTS_PER_READ)
        for program in PROGRAMS:
            opened.attach(program)

    def fileno(self) -> int:
        """A descriptor that is readable while there are some."""
        return self._ring.fileno()

    def read(self) -> list[int]:
        """Numbers of threads, oldest first, 64 at most. Each may be another's by now."""
        return [int.from_bytes(data, "little") for data in self._ring.read()]

    def lost(self) -> int:
        """How many there was no room for, since the scheduler was loaded."""
        value = self._lost.get(0)
        return 0 if value is None else int(value.value)

    def close(self) -> None:
        """Let go of the maps; the scheduler takes them with it."""
        self._ring.close()
        self._events.close()
        self._lost.close()
