# SPDX-License-Identifier: Apache-2.0
"""Events: the last `EVENTS_KEPT` of them, and readers that follow at their own speed.

A reader has no queue of its own, only a position in the common ring. So a slow one costs
nothing, and one that falls behind further than the ring reaches is told how much it missed,
exactly like one that comes back with an old Last-Event-ID.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

from agentcg.daemon.messages import EVENTS_KEPT, Event, EventKind, Feedback


@dataclass(frozen=True, slots=True)
class Entry:
    """An event and whose it is: `owner` is the session's uid, None = everybody's."""

    event: Event
    owner: int | None


class Bus:
    """Publishes events and lets readers follow them.

    Ids grow by one. They start at the time of start in microseconds, so that they go on
    growing over a restart of the daemon without being stored anywhere.
    """

    def __init__(self, clock: Callable[[], float], *, kept: int = EVENTS_KEPT) -> None:
        self._clock = clock
        self._ring: deque[Entry] = deque(maxlen=kept)
        self._readers: set[Reader] = set()
        self.last_id = int(clock() * 1e6)

    def publish(
        self,
        kind: EventKind,
        text: str = "",
        *,
        session: str | None = None,
        owner: int | None = None,
        call: str | None = None,
        feedback: Feedback | None = None,
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
        )
        entry = Entry(event, owner)
        self._ring.append(entry)
        for reader in self._readers:
            reader.offer(entry)

    @property
    def readers(self) -> int:
        """How many follow."""
        return len(self._readers)

    def after(self, position: int) -> tuple[Event | None, list[Entry]]:
        """What came after the event with id `position`: a gap, if there is one, and the rest."""
        position = min(position, self.last_id)  # beyond: an id of another host's daemon
        missed = self.last_id - position
        if missed > len(self._ring):
            return self._gap(self.last_id - len(self._ring)), list(self._ring)
        return None, [*islice(reversed(self._ring), missed)][::-1]

    def _gap(self, last_lost: int) -> Event:
        return Event(
            id=last_lost,
            time=self._clock(),
            kind="events.lost",
            text=f"Events up to this id are lost: only the last {self._ring.maxlen} are kept. Read "
            "the present state again.",
        )

    def reader(self, sees: Callable[[Entry], bool], position: int | None = None) -> Reader:
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

    def __init__(self, bus: Bus, sees: Callable[[Entry], bool], position: int) -> None:
        self._bus = bus
        self._sees = sees
        self._position = position
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
        if self._sees(entry):
            self.news.set()
        elif not self.news.is_set():  # nothing before it is left to be taken
            self._position = entry.event.id

    def take(self) -> Iterator[Event]:
        """All events since the last time, without waiting."""
        self.news.clear()
        gap, entries = self._bus.after(self._position)
        self._position = self._bus.last_id
        if gap is not None:
            yield gap
        for entry in entries:
            if self._sees(entry):
                yield entry.event

    async def wait(self, timeout_s: float) -> bool:
        """Whether there is news within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.news.wait()
        except TimeoutError:
            return False
        return True
