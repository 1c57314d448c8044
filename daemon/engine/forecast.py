# SPDX-License-Identifier: Apache-2.0
"""How long a call will still run and how much it will hold at most: quantiles, conditioned on how
long it has run and what it holds.

Earlier calls stand for what may come: those of the session's kind count most, the latest of them
more; then those of other sessions by client and category, with a fixed weight in all; then three
of no one, so that nothing is ever certain. Of these, only calls that took longer than this one
has, and held no less than it does, speak about the rest of it. Beyond all that was ever seen, a
call is expected to take, and to hold, as much again as it has (Lindy): half of those do.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from msgspec import Struct

from agentcg.daemon.engine.history import MIB, Kind
from agentcg.daemon.messages import Category

FADING = 0.9  # weight of a session's call against the next later one
POOL_WEIGHT = 2.0  # of all calls of other sessions together; one of the session's own has up to 1
POOL_KEPT = 128
POOLS_KEPT = 256
PRIOR_WEIGHT = 0.2
PRIOR_WALLS_S = (0.1, 5.0, 60.0)
PRIOR_PEAKS = (0.1, 0.5, 1.0)  # of what the policy assumes
PRIOR_BYTES = 64 * MIB  # where it assumes nothing
LINDY = ((2.0, 0.5), (10.0, 0.4), (100.0, 0.1))  # of the time so far, and with which weight
LINDY_WEIGHT = 0.05
WALL_MAX_S = 86400.0

_PRIOR = tuple(
    (wall_s, share, PRIOR_WEIGHT / len(PRIOR_WALLS_S))
    for wall_s, share in zip(PRIOR_WALLS_S, PRIOR_PEAKS, strict=True)
)
_SHARES = (0.5, 0.9, 0.99)
_value, _weight = itemgetter(0), itemgetter(1)


class Sample(NamedTuple):
    """A call that has ended. `peak_bytes`: None where memory was not counted."""

    wall_s: float
    peak_bytes: int | None


class Spread(NamedTuple):
    """Quantiles."""

    p50: float
    p90: float
    p99: float


class Forecast(Struct, frozen=True):
    """`remaining_s` from now on; `peak_bytes` of the whole call."""

    remaining_s: Spread
    peak_bytes: Spread
    own: int  # calls of the session's kind that it rests on
    pooled: int  # and of others


Pools = dict[tuple[str | None, Category], tuple[Sample, ...]]
"""The latest calls of all sessions by client (None: any) and category."""


def pool(pools: Pools, client: str | None, category: Category, sample: Sample) -> Pools:
    """`pools` with one more call; the key used last stands last, the first go beyond the bound."""
    kept = dict(pools)
    for key in {(client, category), (None, category)}:
        kept[key] = (*kept.pop(key, ()), sample)[-POOL_KEPT:]
    for key in [*kept][: max(len(kept) - POOLS_KEPT, 0)]:
        del kept[key]
    return kept


def pooled(pools: Pools, client: str | None, category: Category) -> tuple[Sample, ...]:
    """Calls of the category by this client, or by any where it has made few."""
    own = pools.get((client, category), ())
    return own if len(own) >= POOL_KEPT // 4 else pools.get((None, category), ())


def samples(kind: Kind | None) -> list[Sample]:
    """The calls of a session's kind, the oldest first."""
    if kind is None:
        return []
    pairs = zip(reversed(kind.walls_ms), reversed(kind.peaks_mib), strict=False)
    return [Sample(ms / 1000, mib * MIB) for ms, mib in pairs][::-1]


def forecast(
    own: Sequence[Sample],
    others: Sequence[Sample],
    assumed_bytes: int | None,
    *,
    elapsed_s: float = 0.0,
    held_bytes: int = 0,
) -> Forecast:
    """Of a call of the kind of `own`, whose category is that of `others`.

    `assumed_bytes`: need by the policy; `held_bytes`: the most that the call has held so far.
    """
    assumed = assumed_bytes or PRIOR_BYTES
    weighted = [(*sample, FADING**age) for age, sample in enumerate(reversed(own))]
    if others:
        each = POOL_WEIGHT / len(others)
        weighted += [(*sample, each) for sample in others]
    weighted += [(wall, int(assumed * share), weight) for wall, share, weight in _PRIOR]
    left = [one for one in weighted if one[0] > elapsed_s]
    walls = [(wall - elapsed_s, weight) for wall, _, weight in left]
    peaks: list[tuple[float, float]] = [
        (peak, weight) for _, peak, weight in left or weighted
        if peak is not None and peak >= held_bytes
    ]  # fmt: skip
    if elapsed_s > 0:
        walls += [
            (min(elapsed_s * (times - 1), WALL_MAX_S), LINDY_WEIGHT * weight)
            for times, weight in LINDY
        ]
        peaks += [(held_bytes * times, LINDY_WEIGHT * weight) for times, weight in LINDY]
    return Forecast(_spread(walls), _spread(peaks or [(held_bytes, 1.0)]), len(own), len(others))


def _spread(weighted: list[tuple[float, float]]) -> Spread:
    """The smallest values below or at which so much of the weight lies."""
    if not weighted:
        return Spread(0.0, 0.0, 0.0)
    ordered = sorted(weighted, key=_value)
    sums = [*accumulate(map(_weight, ordered))]
    last = len(sums) - 1
    p50, p90, p99 = (
        ordered[min(bisect_left(sums, share * sums[last]), last)][0] for share in _SHARES
    )
    return Spread(p50, p90, p99)
