# SPDX-License-Identifier: Apache-2.0
"""The latest of many: bounded for each source and in all, and what is dropped is fair.

One source's flood costs that source its oldest items and no other source anything: when there
are too many in all, users are cut to equal shares, and within a user his sessions.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Generic, TypeVar

Source = tuple[int | None, str | None]
"""Owner and session; (None, None) is the host."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_SLACK = 16  # of so many items one is dropped beyond the bound, so that cutting is rare


class Kept(Generic[K, V]):
    """Items by key, in the order in which they were added.

    At most `each` of one source and `total` in all. `dropped` is told of every item that goes.
    """

    def __init__(
        self, *, each: int, total: int, dropped: Callable[[Source, K], None] = lambda _s, _k: None
    ) -> None:
        self.each = each
        self._total = total
        self._dropped = dropped
        self._items: dict[K, V] = {}
        self._sources: dict[Source, deque[K]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __reversed__(self) -> Iterator[V]:
        """The items, the latest first."""
        return reversed(self._items.values())

    def get(self, key: K) -> V | None:
        """The item with this key, if it is still kept."""
        return self._items.get(key)

    def add(self, source: Source, key: K, item: V) -> None:
        """Keep an item; old ones go where the bounds are met."""
        self._items[key] = item
        keys = self._sources.get(source)
        if keys is None:
            keys = self._sources[source] = deque()
        keys.append(key)
        if len(keys) > self.each:
            self._drop(source, self.each)
        if len(self._items) > self._total:
            self._cut()

    def _cut(self) -> None:
        """Make room, at the cost of whoever has most."""
        by_owner: dict[int | None, dict[Source, int]] = defaultdict(dict)
        for source, keys in self._sources.items():
            by_owner[source[0]][source] = len(keys)
        sums = {owner: sum(sizes.values()) for owner, sizes in by_owner.items()}
        for owner, share in shares(sums, self._total - self._total // _SLACK).items():
            if share < sums[owner]:
                for source, size in shares(by_owner[owner], share).items():
                    self._drop(source, size)

    def _drop(self, source: Source, size: int) -> None:
        """Drop the oldest of `source` until `size` are left."""
        keys = self._sources[source]
        while len(keys) > size:
            key = keys.popleft()
            del self._items[key]
            self._dropped(source, key)
        if not keys:
            del self._sources[source]


S = TypeVar("S", bound=Hashable)


def shares(sizes: Mapping[S, int], total: int) -> dict[S, int]:
    """How much of `total` each gets: what it has, but nobody more than an equal share while
    another has less than it wants."""
    given: dict[S, int] = {}
    for place, (who, size) in enumerate(sorted(sizes.items(), key=lambda item: item[1])):
        given[who] = min(size, total // (len(sizes) - place))
        total -= given[who]
    return given
