# SPDX-License-Identifier: Apache-2.0
"""The order of those that wait, and that nobody waits for ever."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from agentcg.daemon.engine.queue import Standing, order
from agentcg.daemon.messages import Priority

PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
ONE = Standing("normal", 1, asked_at=0.0, area=10.0)


def key(one: Standing, *, share: float = 0.0, now: float = 1.0, most_s: float = 5.0) -> object:
    """Its place at `now`."""
    return order(one, share, now, most_s)


def test_of_one_user_the_smaller_goes_first_for_a_while() -> None:
    """A smaller one that came later overtakes for 5 s and no longer."""
    later = replace(ONE, number=2, asked_at=0.5, area=1.0)
    assert key(later) < key(ONE)  # type: ignore[operator]
    assert key(ONE, now=5.0) < key(later, now=5.0)  # type: ignore[operator]


def test_who_holds_less_goes_before_who_asks_more() -> None:
    """However long a user's calls have waited: another one that holds less goes first."""
    other = replace(ONE, number=9, asked_at=29.0, area=99.0)
    assert key(other, share=0.0, now=30.0) < key(ONE, share=1.0, now=30.0)  # type: ignore[operator]


def test_awaited_calls_and_close_deadlines_go_before_their_priority() -> None:
    """A child of a running call, and one that has to begin within a second; but not before a
    higher priority."""
    small = replace(ONE, number=2, area=0.0)
    child = replace(ONE, number=3, awaited=True)
    soon = replace(ONE, number=4, begin_by=1.9)
    early = replace(ONE, number=5, begin_by=60.0)
    high = replace(ONE, number=6, priority="high")
    found = sorted([small, child, soon, early, high], key=key)  # type: ignore[arg-type]
    assert [one.number for one in found] == [6, 3, 4, 2, 5]


standings = st.builds(
    Standing,
    st.sampled_from(PRIORITIES),
    st.integers(0, 1000),
    st.floats(0, 100),
    st.floats(0, 1e12),
    st.none() | st.floats(0, 200),
    st.booleans(),
)


@given(st.lists(standings, unique_by=lambda one: one.number, max_size=12), st.floats(100, 200))
def test_the_order_is_one_and_higher_priority_is_never_behind(
    some: list[Standing], now: float
) -> None:
    """Whoever asks in whichever order: the same places, no two alike, priorities in a row."""
    ranked = sorted(some, key=lambda one: order(one, 0.0, now, 5.0))
    turned = some[::-1]
    assert ranked == sorted(turned, key=lambda one: order(one, 0.0, now, 5.0))
    ranks = [PRIORITIES.index(one.priority) for one in ranked]
    assert ranks == sorted(ranks)


@given(st.lists(st.tuples(st.floats(0.01, 50), st.integers(1, 1000)), min_size=1, max_size=60))
def test_nobody_is_overtaken_for_ever(arrivals: list[tuple[float, int]]) -> None:
    """A call larger than all that come after it begins after those only that came within its time:
    one call begins each second, and smaller ones keep coming."""
    large = Standing("low", 0, asked_at=0.0, area=1e15)
    waiting, gone, now, number = [large], 0, 0.0, 0
    coming = sorted(arrivals)
    while large in waiting:
        now += 1.0
        while coming and coming[0][0] <= now:
            at, area = coming.pop(0)
            number += 1
            waiting.append(Standing("low", number, at, float(area)))
        waiting.sort(key=lambda one: order(one, 0.0, now, 5.0))
        gone += 1
        waiting.pop(0)
    assert gone <= 6
