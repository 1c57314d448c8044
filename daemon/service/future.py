# SPDX-License-Identifier: Apache-2.0
"""What calls will take: forecasts of those that begin, and the sum over those that run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from agentcg.daemon.engine import occupancy
from agentcg.daemon.engine.forecast import (
    Forecast,
    Pools,
    Sample,
    Spread,
    forecast,
    pool,
    pooled,
    samples,
)
from agentcg.daemon.messages import Category, Foreseen, Quantiles
from agentcg.daemon.service.registry import Registry
from agentcg.daemon.service.state import LiveCall, LiveSession

if TYPE_CHECKING:
    from agentcg.daemon.engine.occupancy import Ahead, Occupant

FRESH_S = 0.05
"""For so long a sum is taken to be right while no call begins or ends."""

COMING_FRESH_S = 0.5
"""The same of what is held only later, however often that changes: users can have much of it."""


class Future:
    """Forecasts from what ended calls of all sessions took."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self.pools: Pools = {}
        self.coming: Callable[[], Iterable[tuple[LiveSession, Occupant]]] = lambda: ()
        """What is granted to intents and held only later."""
        self._sum: tuple[float, int, Ahead, int] | None = None
        self._coming: tuple[float, Ahead, dict[LiveSession, list[Occupant]]] | None = None

    def learn(self, client: str | None, category: Category, sample: Sample) -> None:
        """A call has ended, in whatever session."""
        self.pools = pool(self.pools, client, category, sample)

    def forecast(
        self,
        session: LiveSession,
        tool: str,
        category: Category,
        assumed_bytes: int | None,
        *,
        client: str | None = None,
        elapsed_s: float = 0.0,
        held_bytes: int = 0,
    ) -> Forecast:
        """Of a call of this kind in `session`, that has run so long and held so much."""
        return forecast(
            samples(session.history.of(tool, category)),
            pooled(self.pools, client, category),
            assumed_bytes,
            elapsed_s=elapsed_s,
            held_bytes=held_bytes,
        )

    def ahead(self, session: LiveSession) -> tuple[Ahead, int]:
        """What all running calls will hold, and what is held for intents of others than `session`
        later on; and what the needs of those calls are. Linear in the number of calls, and of
        intents at times."""
        running, needs = self._running()
        coming, by_session = self._to_come()
        if not by_session:
            return running, needs
        own = by_session.get(session)
        if own is not None:
            coming = occupancy.without(coming, occupancy.ahead(own))
        return occupancy.both(running, coming), needs

    def _to_come(self) -> tuple[Ahead, dict[LiveSession, list[Occupant]]]:
        now, known = self._clock(), self._coming
        if known is None or not 0 <= now - known[0] < COMING_FRESH_S:
            by_session: dict[LiveSession, list[Occupant]] = {}
            for session, one in self.coming():
                by_session.setdefault(session, []).append(one)
            whole = occupancy.ahead(one for found in by_session.values() for one in found)
            known = self._coming = (now, whole, by_session)
        return known[1], known[2]

    def _running(self) -> tuple[Ahead, int]:
        now, version = self._clock(), self._registry.changes
        known = self._sum
        if known is None or known[1] != version or not 0 <= now - known[0] < FRESH_S:
            calls = list(self._registry.running())
            needs = sum(call.committed_bytes for call in calls)
            found = occupancy.ahead(occupant_of(call, now) for call in calls)
            known = self._sum = (now, version, found, needs)
        return known[2], known[3]


def occupant_of(call: LiveCall, now: float) -> Occupant:
    """A running call, as it was forecast when it began; by its grant where it was not."""
    grant, since_s = call.record.grant, max(now - call.record.begun_at, 0.0)
    foreseen, need = call.record.foreseen, grant.memory_need_bytes or 0
    if foreseen is None:  # begun under an older daemon
        found = Forecast(Spread(1.0, 10.0, 60.0), Spread(need, need, need), 0, 0)
    else:
        found = Forecast(_spread(foreseen.duration_s), _spread(foreseen.peak_bytes), 0, 0)
    one = occupancy.occupant(found, since_s=since_s, held_bytes=call.memory_bytes or 0)
    if grant.source in ("declared", "intent") and grant.memory_need_bytes is not None:
        one = occupancy.declared(one, grant.memory_need_bytes, grant.declared_s)
    return one


def _spread(found: Quantiles) -> Spread:
    return Spread(found.p50, found.p90, found.p99)


def quantiles(found: Spread) -> Quantiles:
    """In the words of the API: a microsecond and a byte are fine enough."""
    return Quantiles(p50=round(found.p50, 6), p90=round(found.p90, 6), p99=round(found.p99, 6))


def foreseen(found: Forecast) -> Foreseen:
    """What is expected of a call that begins, in the words of the API."""
    return Foreseen(
        duration_s=quantiles(found.remaining_s),
        peak_bytes=quantiles(found.peak_bytes),
        own_calls=found.own,
        other_calls=found.pooled,
    )
