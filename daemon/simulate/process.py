# SPDX-License-Identifier: Apache-2.0
"""A process on its way through its memory: the agent itself, or one call.

Between two events everything is even, or follows the kernel's penalty curve. CPU that is not to
be had makes all of a leg slower; a limit makes the charging slower, and frees are always at once.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from agentcg.daemon.simulate.kernel import SWAP_SAVES, grown, seconds_to, slowed_from
from agentcg.daemon.simulate.pool import Pool
from agentcg.daemon.simulate.program import Leg

if TYPE_CHECKING:
    from agentcg.daemon.simulate.session import LiveCall, Session

EPSILON_BYTES = 1.0


class Process:
    """Where one process is. `settle` brings it to a time, `outlook` says what comes next."""

    __slots__ = (
        "at", "call", "cores", "frozen", "high", "high_events", "left_s", "legs", "level", "max",
        "number", "peak", "pools", "rate", "session", "slope", "slowed",
        "slowed_s", "speed", "swapped", "version",
    )  # fmt: skip

    def __init__(
        self, session: Session, call: LiveCall | None, pools: tuple[Pool, ...], now: float
    ) -> None:
        self.session = session
        self.call = call
        self.pools = pools
        self.legs: tuple[Leg, ...] = ()
        self.number = 0
        self.level = 0.0  # bytes at `at`
        self.peak = 0.0
        self.swapped = 0.0  # of `level`, in swap
        self.at = now
        self.left_s = 0.0  # of the present leg, at full speed
        self.slope = 0.0  # bytes a second, at full speed
        self.cores = 0.0
        self.speed = 1.0  # share of full speed that the CPU allows
        self.high: float | None = None  # memory.high
        self.max: float | None = None  # memory.max
        self.frozen = False
        self.slowed = False  # meets `high`
        self.slowed_s = 0.0  # how long it has, in all
        self.high_events = 0
        self.rate = 0.0  # as the pools count it
        self.version = 0

    def go(self, legs: tuple[Leg, ...]) -> bool:
        """Begin with the first of `legs`; False if there are none."""
        self.legs, self.number = legs, 0
        return self._take()

    def go_on(self) -> bool:
        """Begin the next leg; False if that was the last."""
        self.number += 1
        return self._take()

    def _take(self) -> bool:
        if self.number >= len(self.legs):
            self.slope = self.cores = self.left_s = 0.0
            return False
        leg = self.legs[self.number]
        self.left_s = leg.duration_s
        self.slope = (leg.bytes - self.level) / leg.duration_s
        self.cores = leg.cores
        return True

    def settle(self, now: float) -> None:
        """Bring it to `now`, and the pools to what it really holds."""
        dt = now - self.at
        self.at = now
        if dt <= 0 or self.frozen or self.left_s <= 0:
            return
        level = self.level
        if self.slowed and self.slope > 0 and self.high is not None:
            self.slowed_s += dt
            free = level + self.slope * self.speed * dt
            new = max(level, min(free, grown(level, self.high, dt)))
            done_s = (new - level) / self.slope
        else:
            done_s = min(self.speed * dt, self.left_s)
            new = level + self.slope * done_s
        self.left_s = max(0.0, self.left_s - done_s)
        self.level = new
        if new > self.peak:  # noqa: PLR1730 - once an event; max() costs twice as much
            self.peak = new
        missed = new - level - self.rate * dt
        if missed > EPSILON_BYTES or missed < -EPSILON_BYTES:
            for pool in self.pools:
                pool.change(now, missed, 0.0)
        if self.swapped > new:  # it freed what it had in swap
            self.swap(new - self.swapped)

    def swap(self, by_bytes: float) -> None:
        """Put so much into swap or, below 0, take it back. `settle` first."""
        self.swapped += by_bytes
        self.session.host.swapped_bytes += by_bytes
        if self.high is not None:
            self.high += by_bytes  # memory.high does not count what is in swap
        for pool in self.pools:
            pool.change(self.at, -by_bytes * SWAP_SAVES, 0.0)

    @property
    def charged(self) -> float:
        """Bytes of the host that it takes: what is in swap counts as compressed."""
        return self.level - self.swapped * SWAP_SAVES

    def outlook(self) -> tuple[float, float]:
        """The rate at which its memory changes, and in how many seconds something is to be done."""
        if self.frozen or self.number >= len(self.legs):
            return 0.0, inf
        if self.left_s <= 0:
            return 0.0, 0.0
        slope = self.slope * self.speed
        end_s = self.left_s / self.speed
        if slope <= 0:
            return slope, end_s
        high, level = self.high, self.level
        if high is not None:
            bend = slowed_from(high)
            if level >= bend - EPSILON_BYTES:
                return self._creep(high)
            if level + self.slope * self.left_s > bend:
                end_s = (bend - level) / slope
        if self.max is not None and level + slope * end_s > self.max:
            end_s = max(0.0, (self.max - level) / slope)
        return slope, end_s

    def _creep(self, high: float) -> tuple[float, float]:
        """Beyond its limit: the pools learn of its growth as it is settled."""
        target = self.level + self.slope * self.left_s
        if self.max is not None:
            target = max(self.level, min(target, self.max))
        free_s = (target - self.level) / (self.slope * self.speed)
        return 0.0, max(free_s, seconds_to(self.level, high, target))

    @property
    def meets_high(self) -> bool:
        """Whether charging costs it sleep now."""
        return (
            self.high is not None
            and self.slope > 0
            and not self.frozen
            and self.left_s > 0
            and self.level >= slowed_from(self.high) - 2 * EPSILON_BYTES
        )

    @property
    def at_max(self) -> bool:
        """Whether the next page would exceed its own `memory.max`."""
        return self.max is not None and self.slope > 0 and self.level >= self.max - EPSILON_BYTES
