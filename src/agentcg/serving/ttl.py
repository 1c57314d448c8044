# SPDX-License-Identifier: Apache-2.0
"""The time-to-live of a program's KV cache while its tool call runs, in the way of Continuum.

Keeping the cache costs what others could do with that memory; dropping it costs prefilling again,
and a turn in the queue. With T the time until the call is over, a cache that is kept for t costs

    hold * E[min(T, t)]  +  miss * P(T > t)

in seconds of the engine. T follows the quantiles of a forecast (`GET /v1/forecast`), evenly between
them, and up to twice the last one beyond it. Between two quantiles the cost is concave in t, so
that the best t is one of them, 0, or all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

_SHARES = (0.5, 0.9, 0.99)


class Quantiles(NamedTuple):
    """Seconds until the call is over."""

    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What keeping and dropping cost; all of it is the engine's operator's to say.

    `tokens`: of the program's context; `prefill_tokens_per_s`: of the engine; `queue_s`: wait for
    a turn after a miss; `cache_share`: of the KV memory that the context takes, 0 to 1; `pressure`:
    0 to 1, how much of the time others wait for KV memory: what is not wanted costs nothing.
    """

    tokens: int
    prefill_tokens_per_s: float
    queue_s: float = 0.0
    cache_share: float = 0.01
    pressure: float = 1.0

    @property
    def miss_s(self) -> float:
        """Seconds that a dropped cache costs."""
        return self.tokens / self.prefill_tokens_per_s + self.queue_s

    @property
    def hold(self) -> float:
        """Seconds that a second of keeping costs."""
        return self.cache_share * self.pressure


def time_to_live(rest: Quantiles, costs: Costs) -> float:
    """Seconds to keep the cache from now on; 0: drop it."""
    ends = (0.0, *rest, 2 * rest.p99)
    return min(ends, key=lambda keep_s: (expected_cost(rest, costs, keep_s), keep_s))


def expected_cost(rest: Quantiles, costs: Costs, keep_s: float) -> float:
    """Seconds of the engine that keeping for `keep_s` is expected to cost."""
    held_s, low_s, low = 0.0, 0.0, 0.0
    over = 1.0
    for high_s, high in (*zip(rest, _SHARES, strict=True), (2 * rest.p99, 1.0)):
        end_s = min(high_s, keep_s)
        if end_s > low_s:
            part = (end_s - low_s) / (high_s - low_s)
            reached = low + (high - low) * part
            held_s += (end_s - low_s) * (1 - (low + reached) / 2)
            over = 1 - reached
        elif high_s <= keep_s:
            over = 1 - high  # two quantiles at the same time
        low_s, low = max(high_s, low_s), high
    return costs.hold * held_s + costs.miss_s * over


def quantiles_of(found: Mapping[str, Any]) -> Quantiles:
    """Of an answer of `GET /v1/forecast` (`remaining_s`) or of `foreseen` of an event
    (`duration_s`). Raises KeyError, TypeError or ValueError for anything else."""
    given = found["remaining_s"] if "remaining_s" in found else found["duration_s"]
    p50, p90, p99 = (float(given[name]) for name in ("p50", "p90", "p99"))
    return Quantiles(p50, max(p90, p50), max(p99, p90, p50))
