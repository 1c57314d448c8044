# SPDX-License-Identifier: Apache-2.0
"""The queue of calls that wait for room, in the order of `engine/queue.py`.

A call that the host has no room for holds its place against all behind it: what it needs counts
as taken for them. So a large call is not passed by small ones for ever. None waits longer
than its caller and the policy let it.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect, insort
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, takewhile
from math import inf

from agentcg.daemon.engine import queue
from agentcg.daemon.messages import Priority

_RECHECK_S = 1.0  # room also comes from outside: other processes of the host end
_RECHECKED_PER_S = 64  # of a long queue; each asks at a cost that grows with the queue


class Waiting:
    """Places in the queue, in order."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._numbers = count()
        self.clock: Callable[[], float] = time.monotonic
        self.overtake_max_s: Callable[[], float] = lambda: inf
        """How long smaller calls may go before one that waits; by the policy in force."""
        self.on_room: Callable[[], None] = lambda: None
        """Called, too, when there may be room again: for calls that run and wait to grow."""
        self.on_spare: Callable[[], None] = lambda: None
        """Called after it: for intents, which come after all calls that wait."""

    @contextmanager
    def place(
        self,
        priority: Priority,
        share: Callable[[], float] = lambda: 0.0,
        *,
        area: float = 0.0,
        deadline_s: float | None = None,
        awaited: bool = False,
    ) -> Iterator[Place]:
        """A place, until the end of the block. `share`: what the user has, by its weight; it is
        asked again whenever room has changed. The rest: `queue.Standing`, `deadline_s` for the
        begin and from now."""
        now = self.clock()
        standing = queue.Standing(
            priority, next(self._numbers), now, area,
            None if deadline_s is None else now + deadline_s, awaited,
        )  # fmt: skip
        place = Place(self, standing, share)
        insort(self._places, place, key=lambda one: one.order)
        try:
            yield place
        finally:
            if place.passes_on:
                self.wake_after(place)
            self._places.remove(place)

    def room_changed(self) -> None:
        """A call has ended, or what it left is gone: ask the first whether it can begin."""
        self.on_room()
        if len(self._places) > 1:
            for place in self._places:
                place.rank_anew()
            self._places.sort(key=lambda one: one.order)
        if self._places:
            self._places[0].wake()
        self.on_spare()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._places)

    def recheck_s(self) -> float:
        """After so long one that was not woken asks again; the longer, the more there are."""
        return _RECHECK_S * max(1.0, len(self._places) / _RECHECKED_PER_S)

    def needed_bytes(self) -> int:
        """What all of them wait for."""
        return sum(place.need_bytes for place in self._places)

    def wake_after(self, place: Place) -> None:
        """Ask whoever is next behind `place`."""
        behind = bisect(self._places, place.order, key=lambda one: one.order)
        if behind < len(self._places):
            self._places[behind].wake()

    def ahead_bytes(self, place: Place) -> int:
        """What those before `place` wait for."""
        return sum(one.need_bytes for one in takewhile(lambda one: one is not place, self._places))


class Place:
    """One call's place. `order`: as `queue.order` has it."""

    __slots__ = ("_queue", "_share", "_standing", "_woken", "need_bytes", "order")

    def __init__(
        self, waiting: Waiting, standing: queue.Standing, share: Callable[[], float]
    ) -> None:
        self._queue = waiting
        self._standing, self._share = standing, share
        self._woken = asyncio.Event()
        self.need_bytes = 0
        self.order = self._order()

    def rank_anew(self) -> None:
        """What its user has may be more or less by now, and time has passed."""
        self.order = self._order()

    def _order(self) -> queue.Order:
        most_s = self._queue.overtake_max_s()
        return queue.order(self._standing, self._share(), self._queue.clock(), most_s)

    @property
    def passes_on(self) -> bool:
        """Whether those behind it may begin once it is gone: it held them up, or was asked."""
        return self.need_bytes > 0 or self._woken.is_set()

    def ahead_bytes(self) -> int:
        """What is waited for by those before this one."""
        return self._queue.ahead_bytes(self)

    def needs(self, size_bytes: int) -> None:
        """It has to wait until the host has so much room; 0: its wait is no matter of the host.

        Then those behind it may be able to begin.
        """
        self.need_bytes = size_bytes
        if size_bytes == 0 and self._woken.is_set():
            self._queue.wake_after(self)
        self._woken.clear()

    def wake(self) -> None:
        """Let it ask again."""
        self._woken.set()

    async def wait(self, timeout_s: float) -> None:
        """Until it is woken, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        except TimeoutError:
            return
