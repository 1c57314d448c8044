# SPDX-License-Identifier: Apache-2.0
"""Events: the latest of each session, and readers that follow at their own speed.

A reader has no queue of its own, only a position in the common order. So a slow one costs
nothing, and one that falls behind further than events are kept is told how much it missed,
exactly like one that comes back with an old Last-Event-ID. What one session or user floods
costs only its own readers something (see `kept`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from agentcg.daemon.messages import EVENTS_KEPT, Event, EventKind, Feedback, Foreseen
from agentcg.daemon.service.kept import Kept, Source

EVENTS_KEPT_IN_ALL = 4 * EVENTS_KEPT
"""Some 4 MiB."""
_LOSSES_KEPT = 4096

Sees = Callable[[Source], bool]


class Entry(NamedTuple):
    """An event and whose it is."""

    event: Event
    source: Source


class Bus:
    """Publishes events and lets readers follow them.

    Ids grow by one. They start at the time of start in microseconds, so that they go on
    growing over a restart of the daemon without being stored anywhere.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        kept: int = EVENTS_KEPT,
        total: int = EVENTS_KEPT_IN_ALL,
    ) -> None:
        self._clock = clock
        self._kept: Kept[int, Entry] = Kept(each=kept, total=total, dropped=self._dropped)
        self._readers: set[Reader] = set()
        self.last_id = int(clock() * 1e6)
        self._lost: dict[Source, int] = {}  # id of the latest event of it that was dropped
        self._lost_of_anybody = self.last_id  # what an earlier daemon told is not kept
        self._lost_last = self.last_id

    def publish(
        self,
        kind: EventKind,
        text: str = "",
        *,
        session: str | None = None,
        owner: int | None = None,
        call: str | None = None,
        feedback: Feedback | None = None,
        intent: str | None = None,
        foreseen: Foreseen | None = None,
    ) -> None:
        """Add an event and wake the readers."""
        self.last_id += 1
        event = Event(
            id=self.last_id,
            time=self._clock(),
            kind=kind,
            session=session,
            call=call,
            text=text,
            feedback=feedback,
            intent=intent,
            foreseen=foreseen,
        )
        entry = Entry(event, (owner, session))
        self._kept.add(entry.source, event.id, entry)
        for reader in self._readers:
            reader.offer(entry)

    def _dropped(self, source: Source, event_id: int) -> None:
        self._lost[source] = event_id
        self._lost_last = max(self._lost_last, event_id)
        if len(self._lost) > _LOSSES_KEPT:  # of the older half it is forgotten whose they were
            oldest_first = sorted(self._lost.items(), key=lambda item: item[1])
            for other, lost in oldest_first[: _LOSSES_KEPT // 2]:
                del self._lost[other]
                self._lost_of_anybody = max(self._lost_of_anybody, lost)

    @property
    def readers(self) -> int:
        """How many follow."""
        return len(self._readers)

    def after(self, position: int, sees: Sees) -> list[Event]:
        """What came after the event with id `position`, in order.

        Where something is not kept any more there is an `events.lost` with the last such id.
        """
        found = []
        for entry in reversed(self._kept):
            if entry.event.id <= position:
                break
            if sees(entry.source):
                found.append(entry.event)
        if position < self._lost_last:
            lost = max(
                [self._lost_of_anybody, *(i for source, i in self._lost.items() if sees(source))]
            )
            if position < lost:
                found.append(self._gap(lost))
        return sorted(found, key=lambda event: event.id)

    def _gap(self, last_lost: int) -> Event:
        return Event(
            id=last_lost,
            time=self._clock(),
            kind="events.lost",
            text=f"Events up to this id are lost: only the last {self._kept.each} of a session are "
            "kept. Read the present state again.",
        )

    def reader(self, sees: Sees, position: int | None = None) -> Reader:
        """A reader of events after `position` (default: from now on) that `sees` lets through."""
        return Reader(self, sees, self.last_id if position is None else position)

    def add(self, reader: Reader) -> None:
        """Wake `reader` from now on."""
        self._readers.add(reader)

    def discard(self, reader: Reader) -> None:
        """Do not wake `reader` any more."""
        self._readers.discard(reader)


class Reader:
    """One follower of the bus; a context manager."""

    def __init__(self, bus: Bus, sees: Sees, position: int) -> None:
        self._bus = bus
        self._sees = sees
        self._position = min(position, bus.last_id)  # beyond: an id of another host's daemon
        self.news = asyncio.Event()

    def __enter__(self) -> Reader:
        self._bus.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.discard(self)

    def offer(self, entry: Entry) -> None:
        """Wake up for `entry` if it may be seen; else pass over it without waking.

        So that one user's events cost nothing with another user's readers.
        """
        if self._sees(entry.source):
            self.news.set()
        elif not self.news.is_set():  # nothing before it is left to be taken
            self._position = entry.event.id

    def take(self) -> Iterator[Event]:
        """All events since the last time, without waiting."""
        self.news.clear()
        position, self._position = self._position, self._bus.last_id
        yield from self._bus.after(position, self._sees)

    async def wait(self, timeout_s: float) -> bool:
        """Whether there is news within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.news.wait()
        except TimeoutError:
            return False
        return True
