# SPDX-License-Identifier: Apache-2.0
"""Memory delay by the scheduler (sched_delay.h): budgets, and each delay as an event."""

from __future__ import annotations

from ctypes import c_uint32
from dataclasses import dataclass

from agentcg.bpf import btf, libbpf
from agentcg.bpf.budgets import BudgetMaps
from agentcg.bpf.loader import Object
from agentcg.bpf.scheduler_records import DelayEventRecord

PROGRAM = "agentcg_charge"
SWEEP_NS = 10_000_000
"""So long at most until a delay ends whose reason is gone, or whose task is killed."""
TO_STOP = ("bpf_task_work_schedule_resume", "bpf_local_irq_save", "scx_bpf_dsq_move_vtime")
"""Kernel functions by which a task is stopped at its return to user mode: Linux 7.0."""
NEEDED = ("page_counter_try_charge", *TO_STOP)
_EVENTS_PER_POLL = 4096


@dataclass(frozen=True)
class DelayEvent:
    """One delay, over. Times are readings of CLOCK_MONOTONIC."""

    cgroup_id: int
    pid: int
    noticed_ns: int
    waited_ns: int
    """For a CPU, between the two: others had theirs before the task could be stopped."""
    stopped_ns: int
    until_ns: int
    released_ns: int
    over_bytes: int


def absence() -> str:
    """Why a kernel with sched_ext cannot delay charges, or "" if nothing speaks against it."""
    return lacking(NEEDED)


def cannot_stop() -> str:
    """The same of cpu.max, which needs less."""
    return lacking(TO_STOP)


def lacking(names: tuple[str, ...]) -> str:
    """Which of these kernel functions, of Linux 7.0, are missing, or ""."""
    try:
        with btf.Btf.vmlinux() as kernel:
            missing = [name for name in names if not kernel.has_function(name)]
    except OSError as error:
        return f"{error.filename}: {error.strerror}; CONFIG_DEBUG_INFO_BTF=y is needed"
    return f"this kernel lacks {', '.join(missing)} (Linux 7.0 has them)" if missing else ""


class MemoryDelay(BudgetMaps):
    """Budgets that the scheduler answers with delays."""

    def __init__(self, opened: Object) -> None:
        """`opened` is the loaded scheduler's object, with `PROGRAM` attached."""
        super().__init__(opened)
        self._events = opened.map("delay_events", c_uint32, c_uint32)
        self._ring = libbpf.Ring(self._events.fd, _EVENTS_PER_POLL)

    def trace(self, cgroup_id: int, on: bool) -> None:
        """Have each delay by this budget reported by `events`, or not any more."""
        record = self._delays.get(cgroup_id)
        if record is not None:
            record.trace = int(on)
            self._delays.put(cgroup_id, record)

    def events(self) -> list[DelayEvent]:
        """Traced delays that are over, oldest first; at most 4096."""
        found = (DelayEventRecord.from_buffer_copy(data) for data in self._ring.read())
        names = DelayEvent.__dataclass_fields__
        return [DelayEvent(**{name: int(getattr(one, name)) for name in names}) for one in found]

    def close(self) -> None:
        """Let go of the maps; budgets end with the scheduler."""
        self._ring.close()
        self._events.close()
        super().close()
