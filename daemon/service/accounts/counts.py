# SPDX-License-Identifier: Apache-2.0
"""What the scheduler and memory delay count for cgroups, as it was at the latest look.

Looking costs a few system calls, so it is done with the regular look at a call (sampling.py) and
when the call ends; whoever asks between them gets what was seen. The counts live as long as what
counts: it may be loaded again (a CPU came or went), and then begins at 0. What had been seen
until then is added, so that only the last second is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, NamedTuple, TypeVar

from agentcg.bpf.budgets import Delays
from agentcg.bpf.scheduler import CpuUse
from agentcg.daemon.messages import Delayed, Scheduled

_T = TypeVar("_T", Scheduled, Delayed)
_LARGEST = ("longest_wait_us", "longest_us", "overshoot_bytes")


class Counted(NamedTuple):
    """Of a cgroup, or of several together; None where nothing counts."""

    scheduled: Scheduled | None = None
    delayed: Delayed | None = None

    def plus(self, other: Counted) -> Counted:
        """Both together."""
        return Counted(
            together(self.scheduled, other.scheduled), together(self.delayed, other.delayed)
        )


NOTHING = Counted()


def together(one: _T | None, other: _T | None) -> _T | None:
    """Sums and, of what is the longest or the most, the larger."""
    if one is None or other is None:
        return other if one is None else one
    return type(one)(
        **{
            name: max(getattr(one, name), getattr(other, name))
            if name in _LARGEST
            else getattr(one, name) + getattr(other, name)
            for name in one.__struct_fields__
        }
    )


def scheduled_of(use: CpuUse | None) -> Scheduled | None:
    """What the scheduler counts, in the words of the API."""
    if use is None:
        return None
    return Scheduled(
        run_us=use.run_ns // 1000,
        wait_us=use.wait_ns // 1000,
        waits=use.waits,
        longest_wait_us=use.longest_wait_ns // 1000,
        boosts=use.boosts,
    )


def delayed_of(delays: Delays | None) -> Delayed | None:
    """What a budget led to, in the words of the API."""
    if delays is None:
        return None
    return Delayed(
        count=delays.count,
        total_us=delays.total_ns // 1000,
        longest_us=delays.longest_ns // 1000,
        overshoot_bytes=delays.overshoot_bytes,
    )


class Tally(Generic[_T]):
    """One kind of counts, by id of the cgroup, from `start` to `stop` and over several of them."""

    def __init__(self) -> None:
        self._read: Callable[[int], _T | None] | None = None
        self._seen: dict[int, _T] = {}
        self._before: dict[int, _T] = {}

    def start(self, read: Callable[[int], _T | None]) -> None:
        """Ask `read` from now on; it counts from 0."""
        self._read = read

    def stop(self) -> None:
        """There is nobody to ask any more."""
        self._read = None
        self._before = dict(self._seen)

    def restart(self, cgroup_id: int) -> None:
        """The counts of one cgroup are about to begin at 0 again."""
        if (seen := self.look(cgroup_id)) is not None:
            self._before[cgroup_id] = seen

    def of(self, cgroup_id: int) -> _T | None:
        """As it was at the latest look; None: there was nothing."""
        return self._seen.get(cgroup_id)

    def look(self, cgroup_id: int) -> _T | None:
        """As it is now, or was when it could last be read."""
        now = None if self._read is None else self._read(cgroup_id)
        if now is None:
            return self._seen.get(cgroup_id)
        seen = together(now, self._before.get(cgroup_id))
        if seen is not None:
            self._seen[cgroup_id] = seen
        return seen

    def close(self, cgroup_id: int) -> _T | None:
        """The same for the last time: the cgroup goes."""
        last = self.look(cgroup_id)
        if last is not None:
            del self._seen[cgroup_id]
            self._before.pop(cgroup_id, None)
        return last


class Counts:
    """Both kinds."""

    def __init__(self) -> None:
        self.scheduled = Tally[Scheduled]()
        self.delayed = Tally[Delayed]()

    def of(self, cgroup_id: int) -> Counted:
        """As it was at the latest look."""
        return Counted(self.scheduled.of(cgroup_id), self.delayed.of(cgroup_id))

    def of_all(self, cgroup_ids: Iterable[int], more: Counted) -> Counted:
        """The same of several together, and `more`."""
        for cgroup_id in cgroup_ids:
            more = more.plus(self.of(cgroup_id))
        return more

    def look(self, cgroup_id: int) -> Counted:
        """As it is now."""
        return Counted(self.scheduled.look(cgroup_id), self.delayed.look(cgroup_id))

    def close(self, cgroup_id: int) -> Counted:
        """As it is now, for the last time."""
        return Counted(self.scheduled.close(cgroup_id), self.delayed.close(cgroup_id))
