# SPDX-License-Identifier: Apache-2.0
"""The daemon's handle on the accounting program."""

from __future__ import annotations

import errno
from ctypes import c_uint32, c_uint64
from pathlib import Path

from agentcg.bpf import libbpf, pins
from agentcg.bpf.curves import Curve, curve_of
from agentcg.bpf.events import (
    Counters,
    ExecEvent,
    ExitEvent,
    OomEvent,
    counters_of,
    event_of,
    seen,
)
from agentcg.bpf.pinned import Pinned, refused
from agentcg.bpf.records import AccountRecord, CurveRecord
from agentcg.bpf.tunables import Tunables

EVENTS_PER_POLL = 4096


class Accounting(Pinned):
    """Tracked leaves, their counters and events.

    Tracking, counters and unread events live in the kernel: they outlast `close`, the process
    and its death. One process at a time reads events. Not thread-safe.
    """

    WHAT, RING, LOST, SCOPE = "accounting", "events", "lost", "scope"
    PER_POLL = EVENTS_PER_POLL

    def __init__(self, directory: Path) -> None:
        """Open the set of pins in `directory`; `open` is the way to get one."""
        super().__init__(directory)
        self._accounts = self._map("accounts", c_uint64, AccountRecord)
        self._curves = self._map("curves", c_uint64, CurveRecord)
        self._scope_level = self._map("scope_level", c_uint32, c_uint32)
        self._sees = seen(link.name for link in directory.glob("link_*"))

    @classmethod
    def open(
        cls,
        pin_root: Path | str = pins.PIN_ROOT,
        timeout_s: float = 240.0,
        tunables: Tunables | None = None,
        scope: Path | None = None,
    ) -> Accounting:
        """Attach to the running program, or compile and start it; as `Pinned.attach`. With a
        `scope` that has all tracked leaves below it the rest of the host pays next to nothing."""
        return cls.attach(pin_root, timeout_s, tunables, scope)

    def track(self, cgroup_id: int, first_pid: int | None = None) -> None:
        """Count what happens in this cgroup from now on; counts of one already tracked go on.

        `first_pid`: its first process, where that is in it already and known. BpfError when the
        map is full: nothing is evicted for it.
        """
        try:
            nothing_yet = AccountRecord(first_pid=first_pid or 0)
            self._accounts.put(cgroup_id, nothing_yet, libbpf.NOEXIST)
        except OSError as error:
            if error.errno == errno.EEXIST:
                return
            remedy = "end calls that linger, or raise the size of the map"
            raise refused(cgroup_id, "tracked", error, remedy) from error

    def untrack(self, cgroup_id: int) -> Counters | None:
        """Stop counting, and forget the curve; the last counters, or None if the cgroup was not
        tracked."""
        return self.finish(cgroup_id)[0]

    def finish(self, cgroup_id: int) -> tuple[Counters | None, Curve | None]:
        """As `untrack`; the curve, too, as it was at the end."""
        counters = self._counters(self._accounts.pop(cgroup_id))
        record = self._curves.pop(cgroup_id)
        return counters, None if record is None else curve_of(record)

    def counters(self, cgroup_id: int) -> Counters | None:
        """Counters so far; None if the cgroup is not tracked."""
        return self._counters(self._accounts.get(cgroup_id))

    def curve(self, cgroup_id: int) -> Curve | None:
        """How its use went so far; None where it has had less than a tick of CPU time."""
        record = self._curves.get(cgroup_id)
        return None if record is None else curve_of(record)

    @property
    def draws_curves(self) -> bool:
        """Whether this kernel tells when to look (the tracepoint sched_stat_runtime)."""
        return self._sees.curves

    def tracked(self) -> set[int]:
        """Ids of all tracked cgroups, also those that an earlier daemon tracked."""
        return set(self._accounts.keys())

    def poll(self) -> list[ExecEvent | ExitEvent | OomEvent]:
        """Events that wait, oldest first, at most EVENTS_PER_POLL; never blocks."""
        events = map(event_of, self._read())
        return [event for event in events if event is not None]

    def unpin(self) -> None:
        """Detach the program and forget all counts (for uninstalling). Closes too."""
        self.close()
        pins.remove_all(self._directory.parent, timeout_s=10)

    def _limit_to(self, scope: Path | None) -> None:
        super()._limit_to(scope)
        self._scope_level.put(0, c_uint32(0 if scope is None else _level(scope)))

    def _counters(self, record: AccountRecord | None) -> Counters | None:
        return None if record is None else counters_of(record, self._sees)


def _level(cgroup: Path) -> int:
    """How many levels it is below what is mounted: in a cgroup namespace fewer than the kernel
    counts."""
    level = 0
    while not cgroup.is_mount():
        cgroup, level = cgroup.parent, level + 1
    return level
