# SPDX-License-Identifier: Apache-2.0
"""What running calls will hold, for points of time ahead: the admission of Past-Future scheduling.

A sum of needs takes it that all calls reach their largest peaks at once. Here each call counts at
each point ahead with what it is expected to hold if it still runs, times how likely it still runs
then, given how long it has; what is left of the spread is added up as variances, and the sum is
to stay within what there is but for a stated risk. The sum of many is taken as normal, which it
is not for few: therefore nobody counts with less than it holds, and the one that could grow
most counts with its 99% peak beside what is expected of the others; nor do all together count with
more than their 99% peaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import sqrt
from statistics import NormalDist

from msgspec import Struct
from msgspec.structs import replace

from agentcg.daemon.engine.forecast import Forecast, Spread

POINTS_S = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0)
_LIKELY = 0.1
"""A call that runs with less chance than this does not count with its largest peak."""
_MASSES = (0.5, 0.4, 0.1)  # at the p50, p90 and p99: what is between counts as the upper one


class Occupant(Struct, frozen=True):
    """A call that runs or is to run. `since_s`: how long it has run; below 0: it begins in so
    many seconds. `peaks` in bytes, `walls` in seconds, of the whole call."""

    peaks: Spread
    walls: Spread
    since_s: float = 0.0
    held_bytes: int = 0


class Ahead(Struct, frozen=True):
    """What is expected at each of `POINTS_S`: mean and variance of the sum, in bytes, and the most
    by which a single one can exceed its mean, and the sum of their 99% peaks."""

    means: tuple[float, ...]
    variances: tuple[float, ...]
    excesses: tuple[float, ...]
    tops: tuple[float, ...]


def occupant(found: Forecast, *, since_s: float = 0.0, held_bytes: int = 0) -> Occupant:
    """A call as it was forecast when it began, `since_s` ago; it holds so much now."""
    return Occupant(found.peak_bytes, found.remaining_s, since_s, held_bytes)


def declared(one: Occupant, need_bytes: int, seconds: float | None) -> Occupant:
    """The same with what it declares, taken at its word; a time as the median."""
    walls = one.walls
    if seconds is not None:
        walls = Spread(seconds, max(walls.p90, seconds), max(walls.p99, seconds))
    return replace(one, peaks=Spread(need_bytes, need_bytes, need_bytes), walls=walls)


def still_runs(one: Occupant, in_s: float) -> float:
    """How likely it runs in so many seconds, given that it has run for `since_s`."""
    at = one.since_s + in_s
    if one.since_s < 0:
        return 0.0 if at < 0 else _survival(one.walls, at)
    return min(_survival(one.walls, at) / _survival(one.walls, one.since_s), 1.0)


def _survival(walls: Spread, at: float) -> float:
    """The share of such calls that take longer; a line between quantiles, 1/t beyond the last."""
    low_s, low = 0.0, 1.0
    for high_s, high in ((walls.p50, 0.5), (walls.p90, 0.1), (walls.p99, 0.01)):
        if at < high_s:
            return low - (low - high) * (at - low_s) / (high_s - low_s)
        low_s, low = high_s, high
    return low * low_s / at if at > 0 else low


def moments(one: Occupant) -> tuple[float, float, float]:
    """Mean and mean square of what it holds while it runs, and its 99% peak; never below what it
    holds."""
    levels = [max(peak, one.held_bytes) for peak in one.peaks]
    mean = sum(mass * level for mass, level in zip(_MASSES, levels, strict=True))
    square = sum(mass * level**2 for mass, level in zip(_MASSES, levels, strict=True))
    return mean, square, levels[2]


def ahead(occupants: Iterable[Occupant]) -> Ahead:
    """The sum over all of them; linear."""
    count = len(POINTS_S)
    means, variances = [0.0] * count, [0.0] * count
    excesses, tops = [0.0] * count, [0.0] * count
    for one in occupants:
        mean, square, most = moments(one)
        for number, in_s in enumerate(POINTS_S):
            runs = still_runs(one, in_s)
            if runs <= 0:
                continue
            expected = runs * mean
            means[number] += expected
            tops[number] += most
            variances[number] += runs * square - expected**2
            if runs >= _LIKELY:
                excesses[number] = max(excesses[number], most - expected)
    return Ahead(tuple(means), tuple(variances), tuple(excesses), tuple(tops))


def needs_bytes(with_it: Ahead, risk: float) -> list[float]:
    """What is to be had at each point for the sum to stay within it but for `risk` (0 to 0.5)."""
    z = _z(risk)
    return [
        min(mean + max(z * sqrt(max(variance, 0.0)), excess), max(top, mean))
        for mean, variance, excess, top in zip(
            with_it.means, with_it.variances, with_it.excesses, with_it.tops, strict=True
        )
    ]


def both(one: Ahead, other: Ahead) -> Ahead:
    """The sum of two sums."""
    return Ahead(
        tuple(a + b for a, b in zip(one.means, other.means, strict=True)),
        tuple(a + b for a, b in zip(one.variances, other.variances, strict=True)),
        tuple(max(a, b) for a, b in zip(one.excesses, other.excesses, strict=True)),
        tuple(a + b for a, b in zip(one.tops, other.tops, strict=True)),
    )


def without(whole: Ahead, part: Ahead) -> Ahead:
    """What is left of a sum without a part of it; the most by which one can exceed its mean is
    taken to be another's."""
    return Ahead(
        tuple(max(a - b, 0.0) for a, b in zip(whole.means, part.means, strict=True)),
        tuple(max(a - b, 0.0) for a, b in zip(whole.variances, part.variances, strict=True)),
        whole.excesses,
        tuple(max(a - b, 0.0) for a, b in zip(whole.tops, part.tops, strict=True)),
    )


def fits(running: Ahead, new: Occupant, room_bytes: int, risk: float) -> bool:
    """Whether `new` fits beside what runs, at each point ahead, into `room_bytes`: what calls can
    have, without what agents hold."""
    needed = needs_bytes(both(running, ahead((new,))), risk)
    return all(size <= room_bytes for size in needed)


def free_in_s(running: Ahead, new: Occupant, room_bytes: int, risk: float) -> float | None:
    """When `new` would fit, if nothing else began: the first of `POINTS_S`; None: later."""
    alone = max(needs_bytes(ahead((new,)), risk))
    needed = needs_bytes(running, risk)
    for number, in_s in enumerate(POINTS_S):
        if all(size + alone <= room_bytes for size in needed[number:]):
            return in_s
    return None


@lru_cache(maxsize=8)
def _z(risk: float) -> float:
    return NormalDist().inv_cdf(1.0 - min(max(risk, 1e-6), 0.5))


def area(one: Occupant) -> float:
    """Byte-seconds that it is expected to take: what the order of those that wait goes by."""
    mean, _, _ = moments(one)
    seconds: Sequence[float] = one.walls
    return mean * sum(mass * wall for mass, wall in zip(_MASSES, seconds, strict=True))
