# SPDX-License-Identifier: Apache-2.0
"""What the scheduler traces (sched_trace.h): each turn of a session's tasks, and each delay."""

from __future__ import annotations

from ctypes import c_uint32, c_uint64
from dataclasses import dataclass

from agentcg.bpf import libbpf
from agentcg.bpf.loader import Object
from agentcg.bpf.masking import escape
from agentcg.bpf.scheduler_records import TurnEventRecord
from agentcg.closing import Closing

_EVENTS_PER_READ = 4096  # more than the ring holds


@dataclass(frozen=True)
class Turn:
    """One turn of a task, or one delay, when it is over."""

    cgroup_id: int
    """The traced cgroup's, or the one directly below it that the task is in."""
    pid: int
    """Of the thread."""
    comm: str
    cpu: int
    ended_ns: int
    """CLOCK_MONOTONIC."""
    waited_ns: int
    """For the CPU."""
    ran_ns: int
    delayed_ns: int
    """0: it is a turn."""
    boosted: bool


class Turns(Closing):
    """Traces the tasks of one cgroup, and of those below it, or nobody."""

    def __init__(self, opened: Object) -> None:
        """`opened` is the loaded scheduler's object."""
        self._traced = opened.map(".data.traced", c_uint32, c_uint64)
        self._events = opened.map("turn_events", c_uint32, c_uint32)
        self._ring = libbpf.Ring(self._events.fd, _EVENTS_PER_READ)

    def trace(self, cgroup_id: int | None) -> None:
        """Trace this cgroup from now on, and no other; None: nobody. What waits is dropped."""
        self._traced.put(0, c_uint64(cgroup_id or 0))
        self._ring.read()

    def read(self) -> list[Turn]:
        """What there is since the last time, oldest first."""
        return [_turn(TurnEventRecord.from_buffer_copy(data)) for data in self._ring.read()]

    def close(self) -> None:
        """Let go of the maps; the scheduler takes them with it."""
        self._ring.close()
        self._events.close()
        self._traced.close()


def _turn(event: TurnEventRecord) -> Turn:
    return Turn(
        cgroup_id=event.cgroup_id,
        pid=event.pid,
        comm=escape(event.comm.decode(errors="backslashreplace")),
        cpu=event.cpu,
        ended_ns=event.ended_ns,
        waited_ns=event.waited_ns,
        ran_ns=event.ran_ns,
        delayed_ns=event.delayed_ns,
        boosted=bool(event.boosted),
    )
