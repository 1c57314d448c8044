# SPDX-License-Identifier: Apache-2.0
"""Memory budgets that the kernel answers with delays (budgets.h): the daemon's handle.

A task that charges memory over a budget waits where it returns to user mode, a little or up to
two seconds, by how far over it is; nothing else waits. Budgets hold while `heartbeat` is called.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from ctypes import c_uint32, c_uint64
from dataclasses import dataclass
from typing import ClassVar

from agentcg.bpf.loader import Object
from agentcg.bpf.scheduler_records import (
    BudgetRecord,
    BudgetSettingsRecord,
    ControlRecord,
    DelaysRecord,
)
from agentcg.errors import BpfError, InvalidInput

MAX_DELAY_NS = 2_000_000_000
PRIORITIES = {"low": 0, "normal": 1, "high": 2}
EXPIRY_NS = 10_000_000_000
"""For so long after the last heartbeat budgets hold."""
_MAX_BYTES = 1 << 62

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delays:
    """What a budget led to."""

    count: int
    total_ns: int
    longest_ns: int
    overshoot_bytes: int
    """The largest, when who charged was held up."""


def settle(opened: Object) -> None:
    """Give the programs what they need to know of this machine; before they are loaded."""
    opened.settle("budget_settings", BudgetSettingsRecord(os.sysconf("SC_PAGESIZE"), EXPIRY_NS))


class BudgetMaps:
    """Budgets of cgroups, by their ids. A cgroup that vanishes leaves its budget to be cleared."""

    MOST: ClassVar[int] = 16384

    def __init__(self, opened: Object) -> None:
        """The maps of a loaded object that has budgets.h in it."""
        self._budgets = opened.map("budgets", c_uint64, BudgetRecord)
        self._delays = opened.map("delays", c_uint64, DelaysRecord)
        self._control = opened.map(".data.control", c_uint32, ControlRecord)
        self._known: set[int] = set()
        self.heartbeat()

    def set(
        self,
        cgroup_id: int,
        soft_bytes: int,
        hard_bytes: int,
        priority: str,
        max_delay_ns: int = MAX_DELAY_NS,
    ) -> None:
        """Delay charges of this cgroup, and of those below it, that take it over `soft_bytes`.

        The delay grows with the square of the overshoot, up to `max_delay_ns` at `hard_bytes`;
        normal priority waits a quarter of it, high a sixteenth. A `hard_bytes` not above
        `soft_bytes`: always the longest. More than two seconds are taken as two, and the log says
        so. InvalidInput for values that make no sense, BpfError when there is no room for one more.
        """
        budget = _budget(soft_bytes, hard_bytes, priority, max_delay_ns)
        try:
            self._budgets.put(cgroup_id, budget)
            if cgroup_id not in self._known:
                self._delays.put(cgroup_id, DelaysRecord())
        except OSError as error:
            if cgroup_id not in self._known:
                self._budgets.remove(cgroup_id)
            full = error.errno in (errno.E2BIG, errno.ENOMEM)
            raise BpfError(
                f"no budget for cgroup {cgroup_id}: {error.strerror}",
                remedy=f"{self.MOST} budgets are the most" if full else "",
            ) from error
        self._known.add(cgroup_id)
        self.heartbeat()

    def clear(self, cgroup_id: int) -> Delays | None:
        """Drop a budget, and what it led to; None if there was none."""
        self._budgets.remove(cgroup_id)
        self._known.discard(cgroup_id)
        self.heartbeat()
        return _delays(self._delays.pop(cgroup_id))

    def delays(self, cgroup_id: int) -> Delays | None:
        """What the budget has led to so far; None if there is none."""
        return _delays(self._delays.get(cgroup_id))

    def heartbeat(self) -> None:
        """Say that somebody still answers for the budgets."""
        self._control.put(0, ControlRecord(time.monotonic_ns(), len(self._known), self._promised()))

    def close(self) -> None:
        """Let go of the maps; budgets end with the programs."""
        for one in (self._budgets, self._delays, self._control):
            one.close()

    def _promised(self) -> int:
        """How many cgroups are protected."""
        return 0


def _budget(soft_bytes: int, hard_bytes: int, priority: str, max_delay_ns: int) -> BudgetRecord:
    if not 0 < soft_bytes <= _MAX_BYTES:
        raise InvalidInput("soft_bytes", soft_bytes, f"1 to {_MAX_BYTES}")
    if not 0 <= hard_bytes <= _MAX_BYTES:
        raise InvalidInput("hard_bytes", hard_bytes, f"0 to {_MAX_BYTES}")
    if priority not in PRIORITIES:
        raise InvalidInput("priority", priority, f"one of {', '.join(PRIORITIES)}")
    if max_delay_ns < 0:
        raise InvalidInput("max_delay_ns", max_delay_ns, "0 or more")
    if max_delay_ns > MAX_DELAY_NS:
        log.warning("a delay of %g s is taken as %g s", max_delay_ns / 1e9, MAX_DELAY_NS / 1e9)
    return BudgetRecord(
        soft_bytes, hard_bytes, min(max_delay_ns, MAX_DELAY_NS), PRIORITIES[priority], 0
    )


def _delays(record: DelaysRecord | None) -> Delays | None:
    if record is None:
        return None
    return Delays(record.count, record.total_ns, record.longest_ns, record.overshoot_bytes)
