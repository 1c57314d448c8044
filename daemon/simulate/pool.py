# SPDX-License-Identifier: Apache-2.0
"""What processes hold together: a sum that changes evenly between two events."""

from __future__ import annotations

from math import inf


class Pool:
    """Memory of a host or of a session, in bytes; `limit` is its `memory.max`."""

    __slots__ = ("at", "level", "limit", "peak", "rate", "version")

    def __init__(self, limit: float = inf) -> None:
        self.limit = limit
        self.level = 0.0
        self.rate = 0.0  # bytes per second, from `at` on
        self.at = 0.0
        self.peak = 0.0
        self.version = 0  # of the event that tells when it is full

    def total(self, now: float) -> float:
        """Bytes held at `now`."""
        return self.level + self.rate * (now - self.at)

    def change(self, now: float, by_bytes: float, by_rate: float) -> None:
        """A process holds so much more at once, or grows so much faster from now on."""
        level = self.level + self.rate * (now - self.at)
        self.peak = max(self.peak, level)
        self.level = level + by_bytes
        self.rate += by_rate
        self.at = now
        self.peak = max(self.peak, self.level)

    def full_in_s(self) -> float:
        """Seconds from `at` until the limit is met if nothing changes."""
        if self.rate <= 0 or self.limit == inf:
            return inf
        return max(0.0, (self.limit - self.level) / self.rate)
