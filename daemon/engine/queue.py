# SPDX-License-Identifier: Apache-2.0
"""The order of those that wait for room.

Priority goes before all. Within one: first those that a running call waits for, and those whose
deadline comes close. Then whose user holds least for its weight, so that nobody gets more room by
asking more often. Of one user those first that have waited so long that nobody may overtake them
any more, by arrival, and then the smaller (by byte-seconds expected), so that most wait little. A
call whose size is not known counts with what is expected of its kind.

So of a user's calls only finitely many go before any one of them, and among users whoever gets
room moves back. The bound on waiting ends it in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

from agentcg.daemon.messages import Priority

RANKS: dict[Priority, int] = {"high": 0, "normal": 1, "low": 2}
SLACK_S = 1.0
"""So long before a call has to begin for its deadline it goes before others."""

Order = tuple[int, bool, float, bool, float, int]


@dataclass(frozen=True, slots=True)
class Standing:
    """What its place in the queue follows from. Times are seconds on one clock."""

    priority: Priority
    number: int  # grows with arrival
    asked_at: float
    area: float = 0.0  # byte-seconds that it is expected to take
    begin_by: float | None = None  # for its deadline
    awaited: bool = False  # by a call that runs


def order(one: Standing, share: float, now: float, overtake_max_s: float) -> Order:
    """The smaller, the sooner. `share`: what its user holds for its weight."""
    due = now - one.asked_at >= overtake_max_s
    area = 0.0 if due else one.area
    return RANKS[one.priority], not is_pressing(one, now), share, not due, area, one.number


def is_pressing(one: Standing, now: float) -> bool:
    """Whether it goes before all of its priority."""
    return one.awaited or (one.begin_by is not None and now >= one.begin_by - SLACK_S)
