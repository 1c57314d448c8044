# SPDX-License-Identifier: Apache-2.0
"""When to look at which intent again: one time for each, the latest that was said."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from itertools import count

from agentcg.daemon.service.state import LiveSession

_KEPT = 1024


class Due:
    """A heap of times. As many entries as intents, and as many again that count no more."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, LiveSession, str]] = []
        self._numbers = count()
        self._latest: dict[str, tuple[int, int]] = {}  # id of an intent -> its entry, and uid
        self._of: Counter[int] = Counter()
        self._most = _KEPT

    def __len__(self) -> int:
        """Entries, those that count no more included."""
        return len(self._heap)

    def at(self, when: float, session: LiveSession, intent_id: str) -> None:
        """Look at an intent then, and not when was said before."""
        self.never(intent_id)
        number = next(self._numbers)
        self._latest[intent_id] = (number, session.uid)
        self._of[session.uid] += 1
        heapq.heappush(self._heap, (when, number, session, intent_id))
        if len(self._heap) > self._most:
            for one in self._heap:
                if one[2].closed and self._counts(one):
                    self.never(one[3])
            self._heap = [one for one in self._heap if self._counts(one)]
            heapq.heapify(self._heap)
            self._most = max(_KEPT, 2 * len(self._heap))

    def never(self, intent_id: str) -> None:
        """Do not look at it any more."""
        known = self._latest.pop(intent_id, None)
        if known is not None:
            self._of[known[1]] -= 1
            if not self._of[known[1]]:
                del self._of[known[1]]

    def of(self, uid: int) -> int:
        """How many are due of sessions of a user."""
        return self._of[uid]

    def take(self, now: float, most: int) -> Iterator[tuple[LiveSession, str]]:
        """Intents whose time has come, each once; at most so many entries are looked at."""
        for _ in range(min(len(self._heap), most)):
            if self._heap[0][0] > now:
                break
            one = heapq.heappop(self._heap)
            if self._counts(one):
                self.never(one[3])
                yield one[2], one[3]

    def coming(self, now: float) -> Iterator[tuple[LiveSession, str]]:
        """Intents whose time is yet to come, in no order."""
        for one in self._heap:
            if one[0] > now and self._counts(one):
                yield one[2], one[3]

    def _counts(self, one: tuple[float, int, LiveSession, str]) -> bool:
        known = self._latest.get(one[3])
        return known is not None and known[0] == one[1]
